"""What is timed: a bundle on ONNX Runtime, the model it was made from in PyTorch, or plain matrix products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..graphs.bundle import Bundle, file_identity
from ..runtime.networks import Networks
from ..runtime.onnxruntime_backend import OnnxRuntimeBackend

if TYPE_CHECKING:
    from ..model import EfficientTAM
    from ..runtime.backend import Runner

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
"""Where the checkpoints lie that come with a checkout."""
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Contender:
    """One way to run the same work; plain values, so that it can be sent to a process.

    backend: ``products`` is float32 matrix products in ONNX Runtime, which need neither bundle nor networks.  bundle:
    name or folder.  variant: of the bundle, None for the device's best.  checkpoint: the weights for PyTorch.
    threads: of one operator on the CPU.  compiled: PyTorch compiles the parts of the model.  precision: of PyTorch's
    matrix products; that of ONNX Runtime is the variant's.  mkl_fast: MKL is told to take its fast path.
    """

    name: str
    backend: Literal["onnxruntime", "torch", "products"]
    bundle: str
    variant: str | None
    checkpoint: str | None
    device: str
    threads: int
    compiled: bool = False
    precision: Precision = "fp32"
    mkl_fast: bool = False

    def as_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Contender:
        """What `as_json` gave, restored."""
        return cls(**data)


def packaged_checkpoint(bundle: Bundle) -> Path:
    """The checkpoint that comes with a checkout and is the one the bundle was made from.

    Raises:
        FileNotFoundError: there is none.
    """
    wanted = bundle.manifest.source.get("checkpoint_sha256")
    path = WEIGHTS / f"{bundle.manifest.model}.pt"
    if wanted is None or not path.is_file() or file_identity(path).sha256 != wanted:
        raise FileNotFoundError(
            f"the checkpoint from which the bundle {bundle.root} was made does not come with this installation: "
            "name it with --checkpoint FILE"
        )
    return path


def best_variant(bundle: Bundle, device: str) -> str | None:
    """The variant that `Networks.open` takes when none is named; None if the device runs none of them.

    Raises:
        DeviceError: the device is not to be had.
    """
    return next((name for name in OnnxRuntimeBackend(device).variants if name in bundle.manifest.variants), None)


def open_networks(contender: Contender) -> Networks:
    """Load a contender.

    Raises:
        BundleError, DeviceError, ValueError, OSError, ImportError: it cannot run here.
    """
    if contender.backend == "onnxruntime":
        return Networks.open(contender.bundle, contender.device, threads=contender.threads, variant=contender.variant)
    import torch

    from ..torch_backend import torch_networks

    torch.set_num_threads(contender.threads)
    if contender.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"PyTorch sees no device {contender.device} here")
    manifest = Bundle.open(contender.bundle).manifest
    model = torch_model(contender).to(contender.device)
    if contender.compiled:
        for part in (model.image_encoder, model.memory_attention, model.sam_mask_decoder, model.memory_encoder):
            part.compile()
    networks = torch_networks(model, manifest.geometry)
    if contender.precision == "bf16":
        return replace(networks, runners=_in_bf16(networks.runners, contender.device))
    return networks


def torch_model(contender: Contender) -> EfficientTAM:
    """The model of the contender's bundle with the weights of its checkpoint."""
    from ..config import ModelConfig, config_named
    from ..model import EfficientTAM
    from ..model.checkpoint import load_weights, read_state

    bundle = Bundle.open(contender.bundle)
    stated = bundle.manifest.source.get("config")
    if isinstance(stated, dict) and set(stated) <= {field.name for field in fields(ModelConfig)}:
        config = ModelConfig(**{name: _hashable(value) for name, value in stated.items()})
    else:
        config = config_named(bundle.manifest.model, image_size=bundle.manifest.geometry.image_size)
    model = EfficientTAM(config)
    assert contender.checkpoint is not None
    load_weights(model, read_state(contender.checkpoint), contender.checkpoint)
    return model.eval()


def waiting(contender: Contender) -> Callable[[], None] | None:
    """A function that waits until the contender's device has finished; None where calls return finished."""
    if contender.backend == "torch" and contender.device != "cpu":
        import torch

        return partial(torch.cuda.synchronize, contender.device)
    return None


def _in_bf16(runners: Any, device: str) -> dict[str, Runner]:
    import torch

    def in_bf16(run: Runner) -> Runner:
        def runner(**inputs: Any) -> dict[str, Any]:
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                return run(**inputs)

        return runner

    return {name: in_bf16(run) for name, run in runners.items()}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
