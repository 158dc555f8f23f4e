"""What every test may ask for: the versions in the header, and the data shared beside the repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, so that sums do not depend on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder of painted photographs with masks, as training reads it."""
    from painted_images import write_painted_images

    return write_painted_images(tmp_path_factory.mktemp("painted") / "set")


@pytest.fixture(scope="session")
def small_bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Small models by their cross-attention as bundles of the usual variants, with vectors, each exported once."""
    from small_model import small_model

    from etam_onnx.conversion.bundle_writer import DEFAULT_VARIANTS, export_bundle

    folder = tmp_path_factory.mktemp("export")
    facts = {"source": {"checkpoint_sha256": "0" * 64}, "card": {"licence": "none"}}

    def bundle(kind: str) -> Path:
        path = folder / kind
        if not path.exists():
            counts = None if kind == "pooled_score_bias" else ()  # few graphs will do for the others
            export_bundle(small_model(kind), path, variants=DEFAULT_VARIANTS, memory_counts=counts, **facts)  # type: ignore[arg-type]
        return path

    return bundle


@pytest.fixture(scope="session")
def small_bundle(small_bundles: Callable[[str], Path]) -> Path:
    """The small model as a bundle of the usual variants, with vectors."""
    return small_bundles("pooled_score_bias")


def _shared_folder(name: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"needs the shared data, and ../shared/{name} beside the repository does not exist")
    return folder
