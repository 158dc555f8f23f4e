"""`etam-onnx evaluate vos`: every object is prompted once, on its first frame, and tracked through the video."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .evaluate_model import EvaluatedModel, add_model_options, chosen_model
from .evaluate_options import (
    add_kind,
    add_run_options,
    add_video_options,
    check_outputs,
    data_key,
    picture_folder,
    read_videos,
    save_picture,
    write_report,
)
from .evaluate_predictions import check_predictions, content_of, written
from .evaluate_records import Record, RunFolder
from .evaluate_workers import Handler, run_all

if TYPE_CHECKING:
    from ..evaluation.conventions import Convention
    from ..evaluation.layouts import Dataset
    from ..evaluation.prompts import Prompt
    from ..evaluation.scores import ObjectScore, Score
    from ..evaluation.sequences import AnnotatedSequence
    from ..evaluation.tracked import TrackedSequence

METHODS = ("model", "copy", "flow")
PROMPTS = ("mask", "box", "click", "clicks3", "clicks5")
EXAMPLE = """examples:
  etam-onnx evaluate vos etam-nano --data DAVIS --baselines --json scores.json
  etam-onnx evaluate vos etam-nano --data sav_val --workers 4 --output run
  etam-onnx evaluate vos etam-nano --data MOSE/valid --predictions submission
  etam-onnx evaluate vos --checkpoint etam-nano.pt --model etam-nano --data DAVIS --prompt clicks3

DIR is in one of these layouts, which are recognised:
  folders      <video>/images/*.jpg            <video>/masks/*.png
  davis        JPEGImages/480p/<video>/        Annotations/480p/<video>/
  mose         JPEGImages/<video>/             Annotations/<video>/
  lvos         as mose, with frame ranges in meta.json
  youtube-vos  as mose, with categories in meta.json; G needs the training split's meta.json (--seen)
  sa-v         JPEGImages_24fps/<video>/       Annotations_6fps/<video>/<object>/
"""


def add_vos(kinds: Any) -> None:
    """Add `evaluate vos` to the command line."""
    parser = add_kind(kinds, "vos", "track each sequence from its first masks, boxes or clicks and score it", EXAMPLE)
    add_model_options(parser)
    add_video_options(parser)
    parser.add_argument("--prompt", choices=PROMPTS, default="mask", help="on an object's first frame (default: mask)")
    parser.add_argument("--baselines", action="store_true", help="also score a copied mask and optical flow")
    parser.add_argument("--predictions", type=Path, metavar="DIR", help="write the predicted masks here")
    parser.add_argument("--seen", type=Path, metavar="META", help="YouTube-VOS: meta.json of the training split")
    add_run_options(parser, "video")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class VosTask:
    """Track and score one video."""

    model: EvaluatedModel
    convention: Convention
    prompt: Prompt
    baselines: bool
    predictions: Path | None

    def open(self) -> Handler:
        """Load the model."""
        from .. import VideoPredictor
        from ..evaluation.baselines import copy_first_mask, warp_by_flow
        from ..evaluation.semi_supervised import track_sequence
        from ..evaluation.tracked import score_tracked

        # Nothing is asked of frames that have passed, so that a long video does not fill the memory.
        predictor = VideoPredictor(self.model.networks(), release_passed_frames=True)

        def handle(sequence: AnnotatedSequence, progress: bool) -> Record:
            masks = track_sequence(predictor, sequence, self.prompt)
            if self.predictions is not None:
                masks = written(masks, sequence, self.predictions)
            runs = {"model": masks}
            if self.baselines:
                runs |= {"copy": copy_first_mask(sequence), "flow": warp_by_flow(sequence)}
            record: Record = {
                method: tracked_as_json(
                    score_tracked(sequence, _with_progress(found, sequence, method, progress), self.convention)
                )
                for method, found in runs.items()
            }
            if self.predictions is not None:
                record["predictions"] = content_of(self.predictions / sequence.name)
            return record

        return handle


def run(options: argparse.Namespace) -> int:
    """Run `evaluate vos`."""
    from ..evaluation.categories import overall_of_videos, overall_score, seen_categories, unseen_videos
    from ..evaluation.report import scores_as_json, scores_as_table

    check_outputs(options)
    model = chosen_model(options)
    dataset = read_videos(options)
    seen = seen_categories(options.data, options.seen) if dataset.format == "youtube-vos" else None
    unseen = unseen_videos(options.data) if dataset.format == "lvos" else None
    convention = dataset.convention.with_all_frames() if options.all_frames else dataset.convention
    identity = model.identity()
    key = {"protocol": "vos", "prompt": options.prompt, "baselines": options.baselines, **identity}
    folder = RunFolder(options.output, key | data_key(options, dataset)) if options.output else None
    check_predictions(options.predictions, dataset.sequences)
    task = VosTask(model, convention, options.prompt, options.baselines, options.predictions)
    records = run_all(
        task,
        {sequence.name: sequence for sequence in dataset.sequences},
        workers=options.workers,
        folder=folder,
        stale=partial(_predictions_differ, options.predictions),
    )
    methods = METHODS if options.baselines else METHODS[:1]
    by_method = {method: _scores(records, method) for method in methods}
    unscored = [name for name in records if name not in by_method["model"]]
    if not by_method["model"]:
        if options.predictions is None:
            raise ValueError(
                f"no video in {options.data} has annotations to score beside its prompts; --predictions DIR "
                "writes the masks for the benchmark's server"
            )
        print(f"{options.predictions}: masks of {len(records)} videos; nothing is annotated to score them with")
        return 0
    report = scores_as_json(by_method["model"])
    table = scores_as_table(by_method)
    overall: Mapping[str, float] = {}
    if seen is not None:
        overall = overall_score(by_method["model"], dataset.sequences, seen)
    elif unseen is not None:
        overall = overall_of_videos(by_method["model"], unseen)
    if overall:
        report["mean"] |= overall
        table += "\n" + "  ".join(f"{name} {value:.1f}" for name, value in overall.items())
    report |= {
        "baselines": {method: scores_as_json(by_method[method]) for method in methods[1:]},
        "prompt": options.prompt,
        "format": dataset.format,
        "all_frames": options.all_frames,
        "model": identity,
        "not_scored": unscored,
    }
    if dataset.format == "youtube-vos" and seen is None:
        table += "\nno G: which categories are seen stands in the training split's meta.json (--seen)"
    if dataset.listed is not None:
        table += f"\nthe sequences are those of {dataset.listed}"
    if unscored:
        table += f"\nnot scored for want of annotations: {len(unscored)} videos"
    write_report(options, report, table)
    _draw(options, dataset, records)
    return 0


def _predictions_differ(root: Path | None, name: str, record: Record) -> bool:
    """Whether masks are wanted and those that lie there are not the ones of this record."""
    if root is None:
        return False
    content = content_of(root / name)
    return content is None or content != record.get("predictions")


def tracked_as_json(tracked: TrackedSequence) -> Record:
    """What is kept of one method on one video; percent."""
    return {
        "objects": {
            str(number): {
                "J": scored.score.j,
                "F": scored.score.f,
                "frames": scored.frames,
                "J_by_frame": scored.j,
                "F_by_frame": scored.f,
                "counted": scored.counted,
            }
            for number, scored in tracked.objects.items()
        },
        "worst": [found.as_json() for found in tracked.worst],
    }


def objects_from_json(record: Record) -> dict[int, ObjectScore]:
    """Object id -> score of one method's record."""
    from ..evaluation.scores import ObjectScore, Score

    return {
        int(number): ObjectScore(
            Score(found["J"], found["F"]),
            tuple(found["frames"]),
            tuple(found["J_by_frame"]),
            tuple(found["F_by_frame"]),
            tuple(found["counted"]),
        )
        for number, found in record["objects"].items()
    }


def _scores(records: Mapping[str, Record], method: str) -> dict[str, dict[int, Score]]:
    """Video -> object id -> score of one method; without videos that could not be scored."""
    return {
        name: {number: scored.score for number, scored in objects_from_json(record[method]).items()}
        for name, record in records.items()
        if record[method]["objects"]
    }


def _draw(options: argparse.Namespace, dataset: Dataset, records: Mapping[str, Record]) -> None:
    """A sheet per video, J over time of all, and the worst frames of all."""
    from ..evaluation.sheets import run_overview, sequence_sheet, worst_of_run
    from ..evaluation.worst_frames import WorstFrame

    folder = picture_folder(options)
    if folder is None:
        return
    everything, worst_frames = {}, []
    for sequence in dataset.sequences:
        record = records[sequence.name]["model"]
        objects = objects_from_json(record)
        if not objects:
            continue
        worst = [WorstFrame.from_json(entry) for entry in record["worst"]]
        everything[sequence.name] = objects
        worst_frames += [(sequence, found) for found in worst]
        save_picture(sequence_sheet(sequence, objects, worst), folder / f"{sequence.name}.png")
    save_picture(run_overview(everything), folder / "_j_over_time.png")
    if worst_frames:
        save_picture(worst_of_run(worst_frames), folder / "_worst_frames.png")


def _with_progress(masks: Iterator[Any], sequence: AnnotatedSequence, method: str, show: bool) -> Iterator[Any]:
    from tqdm import tqdm

    count = len(sequence.frame_names)
    return iter(tqdm(masks, f"{sequence.name} ({method})", count, leave=False, unit="frame", disable=not show))
