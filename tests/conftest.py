"""What every test may ask for: the versions in the header, and the data shared beside the repository."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHOWN_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "onnx", "coremltools")


def pytest_report_header() -> list[str]:
    """Versions and execution providers, without which a failing parity test says little."""
    versions = []
    for package in SHOWN_PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    lines = ["versions: " + ", ".join(versions)]
    try:
        import onnxruntime
    except ImportError:
        return [*lines, "onnxruntime: not installed"]
    return [*lines, "onnxruntime providers: " + ", ".join(onnxruntime.get_available_providers())]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference values and evaluation data that are not part of the repository."""
    return _shared_folder("")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Reference values of the original implementation."""
    return _shared_folder("reference")


@pytest.fixture(scope="session")
def eval_video_dir() -> Path:
    """Real sequences with a mask on every frame."""
    return _shared_folder("data/eval_video")


def _shared_folder(name: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"needs the shared data, and ../shared/{name} beside the repository does not exist")
    return folder
