"""`etam-onnx evaluate interactive`: someone watches the result and clicks where it is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
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
from .evaluate_records import Record, RunFolder
from .evaluate_workers import Handler, run_all

if TYPE_CHECKING:
    from ..evaluation.conventions import Convention
    from ..evaluation.interactive import Interaction, Mode
    from ..evaluation.sequences import AnnotatedSequence

EXAMPLE = """examples:
  etam-onnx evaluate interactive etam-nano --data DAVIS --json scores.json
  etam-onnx evaluate interactive etam-nano --data DAVIS --mode online --frames 4 --workers 2 --output run

Three clicks on an object's first frame, then three on each further frame, up to 8 frames. Offline the frame is the
one with the lowest IoU of the whole video, which is then segmented again; online it is the first one with an IoU
below 0.75, and the video goes on from there. The layouts of DIR are those of `evaluate vos`.
"""


def add_interactive(kinds: Any) -> None:
    """Add `evaluate interactive` to the command line."""
    parser = add_kind(kinds, "interactive", "correct each object with clicks, frame by frame, and score it", EXAMPLE)
    add_model_options(parser)
    add_video_options(parser)
    parser.add_argument("--mode", choices=["offline", "online", "both"], default="both", help="default: both")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames that are clicked on (default: 8)")
    add_run_options(parser, "video")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class InteractiveTask:
    """Correct the objects of one video."""

    model: EvaluatedModel
    convention: Convention
    modes: tuple[Mode, ...]
    frames: int

    def open(self) -> Handler:
        """Load the model."""
        from tqdm import tqdm

        from .. import VideoPredictor
        from ..evaluation.interactive import interact

        predictor = VideoPredictor(self.model.networks())

        def handle(sequence: AnnotatedSequence, progress: bool) -> Record:
            record: Record = {}
            for mode in self.modes:
                runs = interact(predictor, sequence, self.convention, mode, self.frames)
                shown = tqdm(runs, f"{sequence.name} ({mode})", leave=False, unit="object", disable=not progress)
                record[mode] = {str(number): _as_json(found) for number, found in shown}
            return record

        return handle


def run(options: argparse.Namespace) -> int:
    """Run `evaluate interactive`."""
    from ..evaluation.interactive import MODES
    from ..evaluation.report import runs_as_json, runs_as_table

    check_outputs(options)
    if options.frames < 1:
        raise ValueError(f"--frames should be at least 1, found {options.frames}")
    model = chosen_model(options)
    dataset = read_videos(options)
    convention = dataset.convention.with_all_frames() if options.all_frames else dataset.convention
    modes = MODES if options.mode == "both" else (options.mode,)
    identity = model.identity()
    key = {"protocol": "interactive", "modes": modes, "frames": options.frames, **identity}
    folder = RunFolder(options.output, key | data_key(options, dataset)) if options.output else None
    records = run_all(
        InteractiveTask(model, convention, modes, options.frames),
        {sequence.name: sequence for sequence in dataset.sequences},
        workers=options.workers,
        folder=folder,
    )
    by_mode = {mode: _runs(records, mode) for mode in modes}
    if not any(by_mode.values()):
        raise ValueError(f"no video in {options.data} has annotations to score beside its first frame")
    report = {mode: runs_as_json(runs) for mode, runs in by_mode.items()}
    table = runs_as_table(by_mode)
    write_report(options, report | {"format": dataset.format, "model": identity}, table)
    pictures = picture_folder(options)
    if pictures is not None:
        from ..evaluation.interactive import mean_by_frames
        from ..evaluation.sheets import frames_chart

        means = {
            mode: mean_by_frames([found for objects in runs.values() for found in objects.values()])
            for mode, runs in by_mode.items()
        }
        save_picture(frames_chart(means), pictures / "_frames_clicked_on.png")
    return 0


def _as_json(found: Interaction) -> Record:
    return {
        "frames": found.frames,
        "clicks": found.clicks,
        "scores": [[score.j, score.f] for score in found.scores],
    }


def _runs(records: Mapping[str, Record], mode: Mode) -> dict[str, dict[int, Interaction]]:
    """Video -> object id -> run of one mode; without videos that could not be scored."""
    from ..evaluation.interactive import Interaction
    from ..evaluation.scores import Score

    return {
        name: {
            int(number): Interaction(
                tuple(found["frames"]), tuple(found["clicks"]), tuple(Score(j, f) for j, f in found["scores"])
            )
            for number, found in record[mode].items()
        }
        for name, record in records.items()
        if record[mode]
    }
