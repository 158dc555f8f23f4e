"""What is installed: the packages named, the files that travel with them, and a wheel that imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOT_FOLDERS = ("graphs", "runtime", "conversion")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def packages_on_disk() -> dict[str, Path]:
    """Import name -> real folder of every folder with an `__init__.py`."""
    packages = {}
    for top in ("etam_onnx", *ROOT_FOLDERS):
        for marker in (ROOT / top).rglob("__init__.py"):
            folder = marker.parent
            if folder.resolve() != folder:
                continue
            parts = folder.relative_to(ROOT).parts
            packages[".".join(parts if top == "etam_onnx" else ("etam_onnx", *parts))] = folder
    return packages


def packaged_files() -> set[str]:
    """Paths inside a wheel of every Python file and every file that pyproject.toml declares as data."""
    patterns = SETUPTOOLS["package-data"]
    files = set()
    for package, folder in packages_on_disk().items():
        found = [path for pattern in ("*.py", *patterns.get(package, ())) for path in folder.glob(pattern)]
        files |= {f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}" for path in found}
    return files


def test_every_package_is_named() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_on_disk())


def test_package_folders_are_the_real_ones() -> None:
    for package, folder in SETUPTOOLS["package-dir"].items():
        assert packages_on_disk()[package] == ROOT / folder


def test_all_python_files_lie_in_a_package() -> None:
    folders = set(packages_on_disk().values())
    stray = [
        path
        for top in ("etam_onnx", *ROOT_FOLDERS)
        for path in (ROOT / top).rglob("*.py")
        if path.parent.resolve() not in folders
    ]
    assert stray == []


def test_the_shipped_bundle_is_declared_as_data() -> None:
    declared = {name for name in packaged_files() if name.startswith("etam_onnx/graphs/shipped/")}
    on_disk = {
        f"etam_onnx/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "graphs" / "shipped").rglob("*")
        if path.is_file()
    }
    assert declared == on_disk
    inside = {name.removeprefix("etam_onnx/graphs/shipped/etam-nano/") for name in declared}
    assert {"manifest.json", "portable/weights.bin"} <= inside


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel built from the tree, an sdist, and a wheel built from that sdist, all outside the checkout."""
    work = tmp_path_factory.mktemp("packaging")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "venv", "*.mp4")
    shutil.copytree(ROOT, work / "tree", symlinks=True, ignore=ignored)
    build = [sys.executable, "-m", "build", "--no-isolation", str(work / "tree")]
    for options in (["--wheel", "--outdir", str(work / "direct")], ["--outdir", str(work / "through")]):
        done = subprocess.run([*build, *options], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (work / "direct").glob("*.whl")
    (sdist,) = (work / "through").glob("*.tar.gz")
    (wheel_from_sdist,) = (work / "through").glob("*.whl")
    return {"wheel": wheel, "sdist": sdist, "wheel_from_sdist": wheel_from_sdist}


@pytest.mark.parametrize("kind", ["wheel", "wheel_from_sdist"])
def test_a_wheel_holds_every_file_and_nothing_else(built: dict[str, Path], kind: str) -> None:
    with zipfile.ZipFile(built[kind]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert names == packaged_files()


def test_the_sdist_holds_what_the_wheel_needs(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers() if "/" in member.name}
    wanted = set()
    for name in packaged_files():
        inner = name.removeprefix("etam_onnx/")
        wanted.add(inner if inner.split("/")[0] in ROOT_FOLDERS else name)
    assert wanted | {"LICENSE", "README.md", "pyproject.toml"} <= names


@pytest.mark.parametrize("kind", ["wheel", "wheel_from_sdist"])
def test_an_installed_wheel_imports_from_where_it_was_put(built: dict[str, Path], kind: str, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target)]
    done = subprocess.run([*install, str(built[kind])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = sorted(SETUPTOOLS["packages"])
    code = (
        "import importlib; from pathlib import Path\n"
        f"for name in {names}: print(Path(importlib.import_module(name).__file__).parent)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(target.joinpath(*name.split("."))) for name in names]
