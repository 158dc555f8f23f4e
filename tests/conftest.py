"""What every test may ask for: the versions in the header, and the data shared beside the repository."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
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
    """Small models by their cross-attention as bundles of the usual variants, with vectors, each exported once.

    All have the same weights, so that the graphs without memory attention are the same, and are traced once.
    """
    pytest.importorskip("torch", reason="torch is not installed")
    from small_model import small_model, varied
    from traced_graphs import read_all_but

    from etam_onnx.conversion.bundle_writer import DEFAULT_VARIANTS, export_bundle

    folder, first = tmp_path_factory.mktemp("export"), "pooled_score_bias"
    facts = {"source": {"checkpoint_sha256": "0" * 64}, "card": {"licence": "none"}}

    def bundle(kind: str) -> Path:
        path, counts = folder / kind, None
        if not path.exists():
            with pytest.MonkeyPatch.context() as patch:
                if kind != first:
                    counts = ()  # few graphs will do for the others
                    read_all_but(("memory_attention", "memory_keys", "frame_attention"), bundle(first), patch)
                model = varied(small_model(kind))  # type: ignore[arg-type]
                export_bundle(model, path, variants=DEFAULT_VARIANTS, memory_counts=counts, **facts)  # type: ignore[arg-type]
        return path

    return bundle


@pytest.fixture(scope="session")
def small_bundle(small_bundles: Callable[[str], Path]) -> Path:
    """The small model as a bundle of the usual variants, with vectors."""
    return small_bundles("pooled_score_bias")


@pytest.fixture(scope="session")
def every_precision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as a bundle of every variant that ONNX Runtime runs, with vectors and few numbers of memories."""
    pytest.importorskip("torch", reason="torch is not installed")
    from small_model import small_model, varied

    from etam_onnx.conversion.bundle_writer import export_bundle
    from etam_onnx.graphs.variants import VARIANTS, system_of

    path = tmp_path_factory.mktemp("precisions") / "bundle"
    variants = tuple(name for name in VARIANTS if not system_of(name))
    export_bundle(varied(small_model()), path, variants=variants, memory_counts=())
    return path


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The small model as a bundle of nothing but Core ML packages for iOS 18, with vectors; the steps of making it."""
    pytest.importorskip("coremltools", reason="coremltools is not installed")
    from small_model import CARD, small_model, varied

    from etam_onnx.conversion.bundle_writer import export_bundle

    path, steps = tmp_path_factory.mktemp("packages") / "bundle", list[str]()
    export_bundle(varied(small_model()), path, variants=("coreml-ios18",), card=CARD, progress=steps.append)
    return path, steps


@pytest.fixture(scope="session")
def small_packages(
    small_bundle: Path, packages: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small model as a bundle of graphs in ONNX (`small_bundle`), packages for iOS 18 (`packages`) and vectors."""
    from etam_onnx import Bundle

    path = shutil.copytree(small_bundle, tmp_path_factory.mktemp("both") / "bundle")
    shutil.copytree(packages[0] / "coreml", path / "coreml")
    graphs, packaged = (Bundle.open(root).manifest for root in (small_bundle, packages[0]))
    manifest = replace(
        graphs,
        variants=graphs.variants | packaged.variants,
        programs=packaged.programs,
        parity=graphs.parity | packaged.parity,
        files=packaged.files | graphs.files,
    )
    (path / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return path


def _shared_folder(name: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"needs the shared data, and ../shared/{name} beside the repository does not exist")
    return folder
