"""Overall scores in which what training has seen and what it has not have the same weight: categories of objects in
YouTube-VOS, videos in LVOS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .layouts import read_list, read_meta
from .report import SequenceScores
from .scores import Score, mean_score
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
    return _overall(
        (sequence.categories[object_id] in seen, score)
        for sequence in sequences
        for object_id, score in scores.get(sequence.name, {}).items()
        if object_id in sequence.categories
    )


def unseen_videos(root: Path) -> frozenset[str] | None:
    """LVOS: the videos that `unseen_videos.txt` of its evaluator names; None where `root` has no such file."""
    path = root / "unseen_videos.txt"
    return frozenset(read_list(path)) if path.is_file() else None


def overall_of_videos(scores: SequenceScores, unseen: frozenset[str]) -> Mapping[str, float]:
    """As `overall_score`, by whether an object's video is unseen."""
    return _overall((name not in unseen, score) for name, objects in scores.items() for score in objects.values())


def _overall(scores: Iterable[tuple[bool, Score]]) -> Mapping[str, float]:
    """From (whether it was seen, score) of each object."""
    found = list(scores)
    parts = {}
    for part, wanted in (("seen", True), ("unseen", False)):
        chosen = [score for was_seen, score in found if was_seen is wanted]
        if chosen:
            mean = mean_score(chosen)
            parts[f"J_{part}"], parts[f"F_{part}"] = mean.j, mean.f
    return parts | {"G": sum(parts.values()) / len(parts)} if parts else {}
