"""YouTube-VOS's overall score: categories that training has seen and those it has not, each with the same weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .layouts import read_meta
from .report import SequenceScores
from .scores import mean_score
from .sequences import AnnotatedSequence


def seen_categories(root: Path, meta: Path | None = None) -> frozenset[str] | None:
    """The categories of the training videos.

    Args:
        root: folder of the split that is evaluated; the training split is looked for beside it.
        meta: the training split's meta.json, where it lies elsewhere.

    Returns:
        None when there is no such file and none was named.

    Raises:
        FileNotFoundError, ValueError: the file that was named is missing or is none.
    """
    beside = root.resolve().parent / "train" / "meta.json"
    path = meta or (beside if beside.is_file() else None)
    if path is None:
        return None
    objects = (fact for facts in read_meta(path).values() for fact in facts.values())
    return frozenset(str(fact["category"]) for fact in objects if "category" in fact)


def overall_score(
    scores: SequenceScores, sequences: Iterable[AnnotatedSequence], seen: frozenset[str]
) -> Mapping[str, float]:
    """`J_seen`, `F_seen`, `J_unseen`, `F_unseen` and their mean `G`, in percent; each a mean over objects.

    A part of which no object was scored is left out, of the mean as well.
    """
    parts = {}
    for part, wanted in (("seen", True), ("unseen", False)):
        chosen = [
            score
            for sequence in sequences
            for object_id, score in scores.get(sequence.name, {}).items()
            if object_id in sequence.categories and (sequence.categories[object_id] in seen) is wanted
        ]
        if chosen:
            mean = mean_score(chosen)
            parts[f"J_{part}"], parts[f"F_{part}"] = mean.j, mean.f
    return parts | {"G": sum(parts.values()) / len(parts)} if parts else {}
