"""`etam-onnx evaluate masks`: score predictions that someone has already made."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .evaluate_options import FORMATS, add_kind, check_outputs, write_report

if TYPE_CHECKING:
    from ..evaluation.scores import Score

EXAMPLE = """examples:
  etam-onnx evaluate masks DAVIS/Annotations/480p predictions --json scores.json

  etam-onnx evaluate masks sav_val/Annotations_6fps predictions --format sa-v

Both folders hold <sequence>/NNNNN.png or <sequence>/masks/NNNNN.png, label maps with the object's id as the pixel;
those of SA-V <sequence>/<object>/NNNNN.png, non-zero inside.
"""


def add_masks(kinds: Any) -> None:
    """Add `evaluate masks` to the command line."""
    parser = add_kind(kinds, "masks", "score palette PNG predictions", EXAMPLE)
    parser.add_argument("truth", type=Path, metavar="GT", help="folder of annotated sequences")
    parser.add_argument("predictions", type=Path, metavar="PRED", help="folder of predicted sequences")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these sequences")
    parser.add_argument(
        "--format",
        choices=[name for name in FORMATS if name != "lvos"],
        default="folders",
        help="whose rule says which frames count (default: folders, all but the first and the last)",
    )
    parser.add_argument("--all-frames", action="store_true", help="score every frame, whatever the format says")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `evaluate masks`."""
    from tqdm import tqdm

    from ..evaluation.report import scores_as_json, scores_as_table

    check_outputs(options)
    score = _object_folders(options) if options.format == "sa-v" else _label_maps(options)
    scores = {name: found() for name, found in tqdm(score.items(), desc="sequences", unit="sequence")}
    report = scores_as_json(scores) | {"format": options.format, "all_frames": options.all_frames}
    write_report(options, report, scores_as_table({"": scores}))
    return 0


def _label_maps(options: argparse.Namespace) -> dict[str, Callable[[], dict[int, Score]]]:
    """What scores each sequence of label maps."""
    from ..evaluation.conventions import CONVENTIONS
    from ..evaluation.prediction_folders import find_mask_folders, read_mask_pairs
    from ..evaluation.scores import score_sequence

    truth = find_mask_folders(options.truth, options.sequences)
    predictions = find_mask_folders(options.predictions, list(truth))

    def score(name: str) -> dict[int, Score]:
        pairs = read_mask_pairs(name, predictions[name], truth[name])
        convention = CONVENTIONS[options.format]
        return score_sequence(name, pairs, all_frames=options.all_frames, convention=convention)

    return {name: partial(score, name) for name in truth}


def _object_folders(options: argparse.Namespace) -> dict[str, Callable[[], dict[int, Score]]]:
    """What scores each sequence of SA-V."""
    from ..evaluation.prediction_folders import find_object_folders, score_object_folders

    truth = find_object_folders(options.truth, options.sequences)
    predictions = find_object_folders(options.predictions, list(truth))
    return {
        name: partial(score_object_folders, name, predictions[name], folders, options.all_frames)
        for name, folders in truth.items()
    }
