"""What is evaluated: a bundle, or a checkpoint in PyTorch, loaded anew in every process that needs it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runtime.networks import Networks


@dataclass(frozen=True)
class EvaluatedModel:
    """A bundle by name or folder; or a checkpoint and the configuration it belongs to.

    device: where it runs.  threads: of one process on the CPU; None: all cores.  variant: of the bundle's graphs;
    None: the best that the device runs.
    """

    bundle: str | None
    checkpoint: Path | None
    model: str | None
    device: str
    threads: int | None
    variant: str | None = None

    def identity(self) -> dict[str, str]:
        """What tells this model from another: hashes, not names of files.

        Raises:
            BundleError, ValueError, OSError, ImportError: there is no such model, or it cannot run here.
        """
        from ..graphs.bundle import Bundle, file_identity
        from ..graphs.manifest import MANIFEST

        if self.checkpoint is None:
            bundle = Bundle.open(self.bundle or "")
            known = {"model": bundle.manifest.model, "manifest_sha256": file_identity(bundle.root / MANIFEST).sha256}
            return known | ({} if self.variant is None else {"variant": self.variant})
        import torch  # noqa: F401  (its absence is said before any process starts)

        from ..config import config_named

        assert self.model is not None
        config_named(self.model)
        if not self.checkpoint.is_file():
            raise FileNotFoundError(f"there is no checkpoint at {self.checkpoint}")
        return {"model": self.model, "checkpoint_sha256": file_identity(self.checkpoint).sha256}

    def networks(self) -> Networks:
        """The loaded networks."""
        from ..runtime.networks import Networks

        if self.checkpoint is None:
            return Networks.open(self.bundle or "", self.device, threads=self.threads, variant=self.variant)
        import torch

        from ..model import load_checkpoint
        from ..torch_backend import torch_networks

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        assert self.model is not None
        if self.device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"PyTorch sees no device {self.device} here")
        return torch_networks(load_checkpoint(self.model, self.checkpoint).to(self.device))


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The positional BUNDLE and what may stand in its place."""
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="a bundle's name or folder")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="run these weights in PyTorch instead of a bundle"
    )
    model.add_argument("--model", metavar="NAME", help="the configuration the weights belong to, such as etam-nano")
    model.add_argument("--variant", metavar="NAME", help="of the bundle's graphs (default: the device's best)")
    model.add_argument("--device", default="cpu", help="cpu, cuda, or coreml on macOS (default: cpu)")
    model.add_argument("--threads", type=int, metavar="N", help="threads of each process (default: its share of cores)")


def chosen_model(options: argparse.Namespace) -> EvaluatedModel:
    """The model that the options name.

    Raises:
        ValueError: none, two, or half of one.
    """
    if (options.bundle is None) == (options.checkpoint is None):
        raise ValueError("name either a BUNDLE or --checkpoint FILE with --model NAME")
    if (options.checkpoint is None) != (options.model is None):
        raise ValueError("--checkpoint FILE and --model NAME belong together")
    if options.variant is not None and options.bundle is None:
        raise ValueError("--variant chooses among the graphs of a BUNDLE, and --checkpoint has none")
    for option, value in (("--threads", options.threads), ("--workers", options.workers)):
        if value is not None and value < 1:
            raise ValueError(f"{option} should be at least 1, found {value}")
    return EvaluatedModel(
        options.bundle,
        options.checkpoint,
        options.model,
        options.device,
        _threads(options.threads, options.workers),
        options.variant,
    )


def _threads(wanted: int | None, workers: int) -> int | None:
    """Threads of each process: as asked for, else the cores shared out among the workers."""
    import os

    if wanted is not None or workers == 1:
        return wanted
    return max(1, (os.cpu_count() or 1) // workers)
