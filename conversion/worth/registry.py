"""Every rewriting that can be measured, in the order of the table."""

from __future__ import annotations

from collections.abc import Collection

from . import attention, decoder, encoder, integers, memory, whole_graphs
from .rewriting import Rewriting

REWRITINGS: tuple[Rewriting, ...] = (
    *encoder.REWRITINGS,
    *attention.REWRITINGS,
    *decoder.REWRITINGS,
    *memory.REWRITINGS,
    *integers.REWRITINGS,
    *whole_graphs.REWRITINGS,
)


def named(names: Collection[str]) -> tuple[Rewriting, ...]:
    """The rewritings of these names in the order of the table; all of them for no name.

    Raises:
        ValueError: there is none of such a name.
    """
    known = [rewriting.name for rewriting in REWRITINGS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no rewriting {unknown[0]!r}, there are {', '.join(known)}")
    return tuple(rewriting for rewriting in REWRITINGS if not names or rewriting.name in names)
