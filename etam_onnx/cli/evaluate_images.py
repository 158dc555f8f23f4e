"""`etam-onnx evaluate images`: clicks on the objects of pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .evaluate_model import EvaluatedModel, add_model_options, chosen_model
from .evaluate_options import (
    RECORD_VERSION,
    add_kind,
    add_run_options,
    check_outputs,
    picture_folder,
    save_picture,
    write_report,
)
from .evaluate_records import Record, RunFolder
from .evaluate_workers import Handler, run_all

if TYPE_CHECKING:
    from ..evaluation.annotated_images import AnnotatedImage
    from ..evaluation.segment_anything import ClickedObject

EXAMPLE = """examples:
  etam-onnx evaluate images etam-nano --data train_images --split val --json scores.json
  etam-onnx evaluate images etam-nano --data sa_000000 --limit 500 --workers 4 --output run

DIR holds images/, masks/ (palette PNG, 255 is left out) and index.csv with the columns name and split; or pictures
with a JSON file beside each, as SA-1B. The first click goes deep inside the object, each further one corrects.
"""


def add_images(kinds: Any) -> None:
    """Add `evaluate images` to the command line."""
    parser = add_kind(kinds, "images", "click on the objects of pictures: mIoU after 1 and after 5 clicks", EXAMPLE)
    add_model_options(parser)
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of annotated pictures")
    data.add_argument("--split", metavar="NAME", help="only pictures of this split, by index.csv")
    data.add_argument("--images", nargs="+", metavar="NAME", help="only these pictures")
    data.add_argument("--limit", type=int, metavar="N", help="only the first N pictures by name")
    add_run_options(parser, "picture")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class ImagesTask:
    """Click on the objects of one picture."""

    model: EvaluatedModel

    def open(self) -> Handler:
        """Load the model."""
        from .. import ImagePredictor
        from ..evaluation.segment_anything import click_picture

        predictor = ImagePredictor(self.model.networks())

        def handle(image: AnnotatedImage, progress: bool) -> Record:
            picture = image.read()
            annotation = image.annotation((picture.shape[0], picture.shape[1]))
            found = dict(click_picture(predictor, picture, annotation)) if annotation.masks else {}
            return _as_json(image.group, found)

        return handle


def run(options: argparse.Namespace) -> int:
    """Run `evaluate images`."""
    from ..evaluation.annotated_images import read_images
    from ..evaluation.image_report import pictures_as_json, pictures_as_table

    check_outputs(options)
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit should be at least 1, found {options.limit}")
    model = chosen_model(options)
    images = read_images(options.data, options.split, options.images)[: options.limit]
    identity = model.identity()
    key = {
        "protocol": "images",
        "data": str(options.data.resolve()),
        "device": options.device,
        "record_version": RECORD_VERSION,
        **identity,
    }
    folder = RunFolder(options.output, key) if options.output else None
    items = {image.name: image for image in images}
    records = run_all(ImagesTask(model), items, workers=options.workers, folder=folder, unit="picture")
    scores = _scores(records)
    report = pictures_as_json(scores) | {"split": options.split, "model": identity}
    table = pictures_as_table(scores)
    write_report(options, report, table)
    _draw(options, items, records, report["mean"])
    return 0


def _as_json(group: str, found: Mapping[int, ClickedObject]) -> Record:
    """What is kept of one picture, with the first mask of its worst object."""
    from ..evaluation.worst_frames import WorstFrame

    record: Record = {
        "group": group,
        "objects": {
            str(number): {"iou": clicked.iou, "oracle": clicked.oracle, "clicks": clicked.clicks}
            for number, clicked in found.items()
        },
    }
    if found:
        number = min(found, key=lambda number: (found[number].iou[0], number))
        worst = WorstFrame(number, found[number].iou[0], {number: found[number].first})
        record["worst"] = worst.as_json()
    return record


def _scores(records: Mapping[str, Record]) -> dict[str, Any]:
    from ..evaluation.image_report import PictureScores

    return {
        name: PictureScores(
            record["group"],
            {int(number): found["iou"] for number, found in record["objects"].items()},
            {int(number): found["oracle"] for number, found in record["objects"].items()},
        )
        for name, record in records.items()
    }


def _draw(
    options: argparse.Namespace,
    images: Mapping[str, AnnotatedImage],
    records: Mapping[str, Record],
    mean: Mapping[str, Any],
) -> None:
    """mIoU over clicks, and the worst objects of all pictures after one click."""
    from ..evaluation.prompts import Click
    from ..evaluation.sheets import clicks_chart, worst_pictures
    from ..evaluation.worst_frames import WorstFrame

    folder = picture_folder(options)
    if folder is None:
        return
    save_picture(clicks_chart(mean["by_clicks"], mean["oracle"]), folder / "_clicks.png")
    found = []
    for name, record in records.items():
        if "worst" in record:
            worst = WorstFrame.from_json(record["worst"])
            click = Click(*record["objects"][str(worst.frame)]["clicks"][0])
            found.append((images[name], worst.frame, worst.j, worst, click))
    save_picture(worst_pictures(found), folder / "_worst_objects.png")
