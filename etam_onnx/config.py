"""The model configurations: the eight published ones and the small default of this project.

A configuration is plain data.  It fixes every width, depth and rule that the parameter names alone do not give.
It knows nothing about how the network is written or exported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

CrossAttention = Literal[
    "full", "pooled_score_bias", "pooled_key_constant", "pooled_plain", "pooled_all", "local_windows", "linear"
]
"""How memory tokens are read.

``full``: every memory token is a key.
``pooled_score_bias``: 2x2 averaged keys and values, log 4 added to their scores (paper, equation 5).
``pooled_key_constant``: the same pooling, log 4 added to each channel of the pooled keys (paper, equation 6).
``pooled_plain``: the same pooling and no constant (the paper's Linformer variant).
``pooled_all``: pointer tokens are pooled as the spatial ones are (paper, table 7).
``local_windows``: a query reads its own part of each memory frame, and all pointers (paper, table 8).
``linear``: a kernel in place of the softmax, at a cost that grows with the tokens instead of their square.

All have identical tensors, so a checkpoint cannot tell them apart.  Published models use the first three.
"""
POOLED = ("pooled_score_bias", "pooled_key_constant", "pooled_plain", "pooled_all")
"""The kinds that average windows of memory tokens."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the function a checkpoint computes.  Sizes in pixels refer to the square model
    input.

    `pool_window` is the side of the windows that pooled cross-attentions average, in tokens; `local_windows` the number
    of windows along each side of the grid for ``local_windows``; without `object_pointers` memory attention reads
    spatial tokens only.  These three and `cross_attention` add no parameters.
    """

    name: str
    image_size: int
    cross_attention: CrossAttention
    vit_width: int
    vit_depth: int
    vit_heads: int
    vit_global_blocks: tuple[int, ...]
    vit_window: int
    width: int = 256
    memory_width: int = 64
    memory_layers: int = 4
    memory_mlp_width: int = 2048
    decoder_mlp_width: int = 2048
    mask_channels: tuple[int, int, int] = (4, 16, 64)
    fuser_mlp_width: int = 1024
    decoder_heads: int = 8
    stride: int = 16
    recent_memories: int = 6
    recent_pointers: int = 15
    pool_window: int = 2
    local_windows: int = 2
    object_pointers: bool = True

    def __post_init__(self) -> None:
        if self.cross_attention not in get_args(CrossAttention):
            raise ValueError(
                f"unknown cross_attention {self.cross_attention!r}, expected one of {get_args(CrossAttention)}"
            )
        if self.image_size % (2 * self.stride):
            raise ValueError(f"image_size {self.image_size} is not a multiple of {2 * self.stride}")
        for field in ("pool_window", "local_windows"):
            value = getattr(self, field)
            if value < 1 or self.grid % value:
                raise ValueError(f"{field} {value} does not divide the {self.grid}x{self.grid} feature grid")

    @property
    def grid(self) -> int:
        """Side of the square feature map, in tokens."""
        return self.image_size // self.stride

    @property
    def pointer_tokens(self) -> int:
        """Memory-wide tokens that one object pointer is cut into."""
        return self.width // self.memory_width


def _published(name: str, image_size: int, cross_attention: CrossAttention) -> ModelConfig:
    small = name.startswith("efficienttam_s")
    return ModelConfig(
        name=name,
        image_size=image_size,
        cross_attention=cross_attention,
        vit_width=384 if small else 192,
        vit_depth=12,
        vit_heads=6 if small else 3,
        vit_global_blocks=(2, 5, 8, 11),
        vit_window=14,
    )


_NANO = ModelConfig(
    name="etam-nano",
    image_size=384,
    cross_attention="pooled_score_bias",
    vit_width=192,
    vit_depth=6,
    vit_heads=3,
    vit_global_blocks=(1, 3, 5),
    vit_window=8,
    width=128,
    memory_layers=2,
    memory_mlp_width=512,
    decoder_mlp_width=512,
    fuser_mlp_width=512,
    decoder_heads=4,
)

CONFIGS: dict[str, ModelConfig] = {
    config.name: config
    for config in (
        *(
            _published(f"efficienttam_{size}{suffix}", image_size, cross_attention)
            for size in ("s", "ti")
            for suffix, image_size, cross_attention in (
                ("", 1024, "full"),
                ("_512x512", 512, "full"),
                ("_1", 1024, "pooled_score_bias"),
                ("_2", 1024, "pooled_key_constant"),
            )
        ),
        _NANO,
    )
}


def config_named(name: str, *, image_size: int | None = None) -> ModelConfig:
    """Return the configuration `name`, optionally at another square input size in pixels.

    Raises:
        ValueError: the name is not one of `CONFIGS`.
    """
    if name not in CONFIGS:
        raise ValueError(f"unknown model {name!r}, expected one of: {', '.join(CONFIGS)}")
    config = CONFIGS[name]
    return config if image_size is None else replace(config, image_size=image_size)
