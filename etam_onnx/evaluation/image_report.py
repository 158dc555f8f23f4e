"""What an evaluation on pictures found, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .table import aligned_table


@dataclass(frozen=True)
class PictureScores:
    """IoU in percent of a picture's objects: by object number after 1, 2, ... clicks, and the best of three masks
    after one.  group: what it is also averaged over.
    """

    group: str
    iou: Mapping[int, Sequence[float]]
    oracle: Mapping[int, float]


def pictures_as_json(pictures: Mapping[str, PictureScores]) -> dict[str, Any]:
    """`{"images": {name: {object: {"1-click", "5-click", "oracle"}}}, "mean": {...}, "groups": {...}}` in percent.

    Means are over objects, each counting once; `by_clicks` holds them after every click.
    """
    groups = sorted({scores.group for scores in pictures.values() if scores.group})
    return {
        "images": {
            name: {
                str(number): {"1-click": iou[0], f"{len(iou)}-click": iou[-1], "oracle": scores.oracle[number]}
                for number, iou in scores.iou.items()
            }
            for name, scores in pictures.items()
        },
        "mean": mean_over_objects(pictures),
        "groups": {group: mean_over_objects(_of_group(pictures, group)) for group in groups},
    }


def pictures_as_table(pictures: Mapping[str, PictureScores]) -> str:
    """One row per group and a last one for the mean over objects; mIoU in percent."""
    groups = sorted({scores.group for scores in pictures.values() if scores.group})
    rows: list[list[str | float]] = []
    for group in [*groups, ""]:
        chosen = _of_group(pictures, group) if group else dict(pictures)
        mean = mean_over_objects(chosen)
        objects = sum(len(scores.iou) for scores in chosen.values())
        clicks = mean["by_clicks"]
        rows.append([group or "mean", str(len(chosen)), str(objects), mean["1-click"], mean["oracle"], clicks[-1]])
    return aligned_table(["mIoU", "pictures", "objects", "1 click", "best of 3", f"{len(clicks)} clicks"], rows)


def mean_over_objects(pictures: Mapping[str, PictureScores]) -> dict[str, Any]:
    """Mean IoU over all objects, percent.

    Raises:
        ValueError: there is no object at all.
    """
    iou = [values for scores in pictures.values() for values in scores.iou.values()]
    if not iou:
        raise ValueError("none of the pictures has an object to click on")
    by_clicks = [float(mean) for mean in np.mean(iou, axis=0)]
    oracle = float(np.mean([value for scores in pictures.values() for value in scores.oracle.values()]))
    return {
        "1-click": by_clicks[0],
        f"{len(by_clicks)}-click": by_clicks[-1],
        "oracle": oracle,
        "by_clicks": by_clicks,
    }


def _of_group(pictures: Mapping[str, PictureScores], group: str) -> dict[str, PictureScores]:
    return {name: scores for name, scores in pictures.items() if scores.group == group}
