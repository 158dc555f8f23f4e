"""The variants of a configuration along the paper's axes.  A variant is a configuration, and one checkpoint fits all.

Section and table numbers are those of arXiv 2411.18933.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from ..config import POOLED, CrossAttention, ModelConfig

BASE = "base"
AXES = {
    "pointers": "object pointers or none (section 4.3, table 6)",
    "tokens": "pooling spatial tokens only, or pointer tokens too (section 4.3, table 7)",
    "window": "pooling windows of 1, 2 and 4 tokens a side (section 4.3)",
    "attention": "full, equations 5 and 6, without the constant, local windows, linear (section 4.3, tables 4 and 8)",
    "resolution": "side of the input (section 4.3, table 5)",
}
"""What each axis varies."""

_EQUATION_5: dict[str, Any] = {"cross_attention": "pooled_score_bias", "pool_window": 2}
_CHANGES: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    ("no-pointers", ("pointers",), {"object_pointers": False}),
    ("full", ("window", "attention"), {"cross_attention": "full"}),
    ("window-1", ("window",), {**_EQUATION_5, "pool_window": 1}),
    ("equation-5", ("tokens", "window", "attention"), _EQUATION_5),
    ("pool-all", ("tokens",), {**_EQUATION_5, "cross_attention": "pooled_all"}),
    ("window-4", ("window",), {**_EQUATION_5, "pool_window": 4}),
    ("equation-6", ("attention",), {**_EQUATION_5, "cross_attention": "pooled_key_constant"}),
    ("no-constant", ("attention",), {**_EQUATION_5, "cross_attention": "pooled_plain"}),
    ("local-windows", ("attention",), {"cross_attention": "local_windows"}),
    ("linear", ("attention",), {"cross_attention": "linear"}),
)
SIZE = "size-"
"""Every variant's name, besides ``size-PIXELS``."""


@dataclass(frozen=True)
class Variant:
    """One configuration under study.  names: what it is called, the first also names its files; several where axes
    meet, such as ``base`` and ``equation-5``.
    """

    names: tuple[str, ...]
    config: ModelConfig

    @property
    def key(self) -> str:
        """The first name."""
        return self.names[0]

    @property
    def label(self) -> str:
        """All names, for tables."""
        return " = ".join(self.names)


def plain_form(config: ModelConfig) -> ModelConfig:
    """The same function written without fields that do not matter: windows of 1 are no windows."""
    pooled = config.cross_attention in POOLED
    if pooled and config.pool_window == 1:
        config, pooled = replace(config, cross_attention="full"), False
    defaults: dict[str, Any] = {"pool_window": 2, "local_windows": 2}
    if pooled:
        del defaults["pool_window"]
    if config.cross_attention == "local_windows":
        del defaults["local_windows"]
    return replace(config, **defaults)


def half_size(config: ModelConfig) -> int:
    """About half the input side in pixels, as the paper's 512 of 1024; windows of 4 fit the grid where possible."""
    for unit in (4 * config.stride, 2 * config.stride):
        if config.image_size // 2 >= unit:
            return config.image_size // 2 // unit * unit
    return config.image_size


def variants_of(
    base: ModelConfig,
    axes: Sequence[str] = tuple(AXES),
    names: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
) -> list[Variant]:
    """The configuration itself and its variants, each function once.

    Args:
        base: the configuration that is varied.
        axes: along which axes.
        names: only these, of any axis; see `_CHANGES`, and ``size-PIXELS``.
        sizes: sides of the input in pixels for the axis ``resolution``; by default half of the base's.

    Raises:
        ValueError: an axis or a name that does not exist, or a variant that the input size has no room for.
    """
    _require_known("axis", axes, tuple(AXES))
    wanted = list(axes if names is None else AXES)
    changes = [(BASE, (), {}), *(row for row in _CHANGES if set(row[1]) & set(wanted))]
    if "resolution" in wanted:
        named = [int(name.removeprefix(SIZE)) for name in names or () if _is_size(name)]
        for size in dict.fromkeys([*(sizes or [half_size(base)]), *named]):
            changes.append((f"{SIZE}{size}", ("resolution",), {"image_size": size}))
    if names is not None:
        _require_known("variant", names, tuple(name for name, _, _ in changes))
        changes = [row for row in changes if row[0] in names]
    found: dict[ModelConfig, list[str]] = {}
    for name, _, change in changes:
        try:
            config = plain_form(replace(base, **change))
        except ValueError as error:
            raise ValueError(f"the variant {name} is impossible: {error}") from error
        found.setdefault(config, []).append(name)
    return [Variant(tuple(labels), config) for config, labels in found.items()]


def surrogates() -> dict[str, tuple[CrossAttention, int]]:
    """Name -> (kind, pooling window) of every cross-attention but the full one."""
    kinds = {
        name: (change["cross_attention"], change.get("pool_window", 2))
        for name, _, change in _CHANGES
        if "cross_attention" in change and name not in ("full", "window-1")
    }
    assert all(kind in get_args(CrossAttention) for kind, _ in kinds.values())
    return kinds


def _is_size(name: str) -> bool:
    return name.startswith(SIZE) and name.removeprefix(SIZE).isdecimal()


def _require_known(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        found = f"there is no {what} {unknown[0]!r}" if unknown else f"no {what} is chosen"
        raise ValueError(f"{found}; there are: {', '.join(known)}")
