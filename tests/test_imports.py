"""Who may import whom, read from the source of every file and tried out in fresh interpreters."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOT_FOLDERS = ("graphs", "runtime", "conversion")

# Folder -> the other folders of the project it may import.
MAY_IMPORT = {
    "graphs": set(),
    "runtime": {"graphs"},
    "model": {"graphs"},
    "training": {"graphs", "runtime", "model"},
    "conversion": {"graphs", "runtime", "model", "training"},
    "evaluation": {"graphs", "runtime"},
    "ablation": {"graphs", "runtime", "model", "training", "evaluation"},
    "benchmark": {"graphs", "runtime", "model", "cli"},
    "cli": {"graphs", "runtime", "model", "training", "conversion", "evaluation", "ablation", "benchmark"},
}
# Folder -> the packages from elsewhere it may import.
THIRD_PARTY = {
    "graphs": {"numpy"},
    "runtime": {"numpy", "PIL", "av", "tqdm", "onnxruntime", "coremltools"},
}
HEAVY = ("torch", "onnx", "cv2", "scipy", "onnxscript")


def source_files() -> list[Path]:
    """Every Python file of the four folders, each once and under its real path."""
    found = [path for folder in ("etam_onnx", *ROOT_FOLDERS) for path in (ROOT / folder).rglob("*.py")]
    return sorted({path.resolve() for path in found})


def module_name(path: Path) -> str:
    """Dotted import name of a source file; the folders at the root live inside `etam_onnx`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "etam_onnx" else ("etam_onnx", *parts))


def imported_names(path: Path) -> Iterator[tuple[str, bool]]:
    """(absolute dotted name, whether written relatively) of everything a file imports, anywhere in it."""
    package = module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) - node.level + 1] if node.level else []
            base = [*origin, *(node.module.split(".") if node.module else [])]
            yield ".".join(base), node.level > 0
            if base == ["etam_onnx"]:
                yield from ((f"etam_onnx.{alias.name}", node.level > 0) for alias in node.names)


def folder_of(name: str) -> str | None:
    """The project's folder a dotted name lies in; None elsewhere, at the top, and for entry points."""
    parts = name.split(".")
    if parts[-1] == "__main__":
        return None
    return parts[1] if parts[0] == "etam_onnx" and len(parts) > 1 and parts[1] in MAY_IMPORT else None


def test_every_source_file_is_looked_at() -> None:
    assert {folder_of(module_name(path)) for path in source_files()} >= set(MAY_IMPORT)


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_folders_import_only_what_they_may(path: Path) -> None:
    folder = folder_of(module_name(path))
    if folder is None:
        return
    names = {name for name, _ in imported_names(path)}
    other_folders = {folder_of(name) for name in names} - {folder, None}
    assert other_folders <= MAY_IMPORT[folder]
    if folder in THIRD_PARTY:
        tops = {name.split(".")[0] for name in names} - {"etam_onnx"} - set(sys.stdlib_module_names)
        assert tops <= THIRD_PARTY[folder]
    if module_name(path) == "etam_onnx.graphs.contract":
        assert tops == set()


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_the_project_is_imported_relatively_from_within(path: Path) -> None:
    absolute = {name for name, relative in imported_names(path) if not relative}
    assert {name for name in absolute if name.split(".")[0] in ("etam_onnx", *ROOT_FOLDERS)} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_tests_use_the_import_names(path: Path) -> None:
    assert {name.split(".")[0] for name, _ in imported_names(path)} & set(ROOT_FOLDERS) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import etam_onnx",
        "from etam_onnx import Tracker, VideoPredictor, ImagePredictor, MaskGenerator, Bundle",
        "import etam_onnx.graphs, etam_onnx.runtime",
        "import etam_onnx.cli.main",
    ],
)
def test_running_needs_nothing_of_what_builds(statement: str) -> None:
    code = f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(code) == "[]"


@pytest.mark.parametrize("folder", ROOT_FOLDERS)
def test_a_bare_checkout_works_through_the_links(folder: str, tmp_path: Path) -> None:
    link = ROOT / "etam_onnx" / folder
    assert link.is_symlink() and link.resolve() == ROOT / folder
    code = f"import etam_onnx.{folder} as found; print(found.__file__)"
    # -S leaves out site-packages and with it the editable installation.
    packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    shown = run_python(code, "-S", cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(ROOT), packages]))
    assert shown == str(link / "__init__.py")


def run_python(code: str, *options: str, cwd: Path = ROOT, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
