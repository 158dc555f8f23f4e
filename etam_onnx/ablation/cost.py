"""What one tracked frame of one object costs: parameters, floating point operations, time.

The frame is in the middle of a video, with every memory in place: the prompted one and all recent ones, and as many
object pointers as the configuration remembers (seven memories and 15 pointers in the published models).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..config import ModelConfig
from ..model import EfficientTAM

PARTS = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")


@dataclass(frozen=True)
class Cost:
    """parameters: numbers in the model.  flops: of one frame per part, in operations; one multiply-add is two.  Only
    matrix products and convolutions are counted, norms and activations are not.  milliseconds: median time of one
    frame, None where it was not measured.
    """

    parameters: int
    flops: dict[str, int]
    milliseconds: float | None

    @property
    def gigaflops(self) -> float:
        """Operations of a whole frame, in 1e9."""
        return sum(self.flops.values()) / 1e9


def frame_parts(model: EfficientTAM, device: torch.device) -> dict[str, Callable[[], object]]:
    """The four parts of a tracked frame as functions without arguments, on made-up input that lies ready."""
    config = model.config
    grid, size = config.grid, config.image_size
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    image = noise(1, 3, size, size)
    features = noise(1, config.width, grid, grid)
    rows = list(range(config.recent_memories + 1))
    memories = [noise(1, grid * grid, config.memory_width) for _ in rows]
    pointers = noise(1, config.recent_pointers, config.width)
    mask = noise(1, 1, size // 4, size // 4)
    return {
        "image_encoder": lambda: model.encode_image(image),
        "memory_attention": lambda: model.attend(features, memories, rows, pointers),
        "mask_decoder": lambda: model.decode(features),
        "memory_encoder": lambda: model.encode_memory(features, mask, False),
    }


def count_flops(config: ModelConfig) -> dict[str, int]:
    """Operations of one frame per part; nothing is computed, the shapes are enough."""
    meta = torch.device("meta")
    with meta:
        model = EfficientTAM(config).eval().requires_grad_(False)
    counted = {}
    # The unfused form of attention is the one whose products the counter sees on every device.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        for name, part in frame_parts(model, meta).items():
            with FlopCounterMode(display=False) as counter:
                part()
            counted[name] = int(counter.get_total_flops())
    return counted


def time_frame(model: EfficientTAM, repeats: int) -> float:
    """Median milliseconds of a frame on the model's device, after one that warms up.

    Raises:
        ValueError: `repeats` is not positive.
    """
    if repeats < 1:
        raise ValueError(f"a frame must be timed at least once, not {repeats} times")
    device = next(model.parameters()).device
    parts = frame_parts(model, device)
    spent = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            _settle(device)
            begun = time.perf_counter()
            for part in parts.values():
                part()
            _settle(device)
            spent.append(1000 * (time.perf_counter() - begun))
    return median(spent[1:])


def cost_of(model: EfficientTAM, repeats: int = 0) -> Cost:
    """Parameters and operations of a model, and the time of a frame if `repeats` is positive."""
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=count_flops(model.config),
        milliseconds=time_frame(model, repeats) if repeats else None,
    )


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
