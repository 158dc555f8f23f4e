"""What the kinds of `evaluate` share: their options, and where their results go."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import check_parent, finished_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..evaluation.layouts import Dataset

FORMATS = ("folders", "davis", "mose", "lvos", "youtube-vos", "sa-v")
RECORD_VERSION = 2


def add_kind(kinds: Any, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    """A kind of evaluation with an example in its help, and `--json`."""
    parser: argparse.ArgumentParser = kinds.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the scores, in percent, to this file")
    return parser


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Which annotated videos, and which of their frames count."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of annotated sequences")
    data.add_argument("--format", choices=FORMATS, help="layout of DIR (default: recognised)")
    data.add_argument("--sequences", nargs="+", metavar="NAME", help="only these sequences")
    data.add_argument("--list", type=Path, metavar="FILE", help="only the sequences that this file names, one per line")
    data.add_argument("--all-frames", action="store_true", help="score every frame, whatever the format says")


def add_run_options(parser: argparse.ArgumentParser, unit: str) -> None:
    """How the work is spread, and where its results go."""
    run = parser.add_argument_group("run")
    run.add_argument("--workers", type=int, default=1, metavar="N", help=f"processes, each on a {unit} (default: 1)")
    run.add_argument(
        "--output", type=Path, metavar="DIR", help=f"keep the result of each {unit} here; run again, it goes on"
    )
    run.add_argument("--pictures", type=Path, metavar="DIR", help="draw the results here (default: OUTPUT/pictures)")


def read_videos(options: argparse.Namespace) -> Dataset:
    """The data set that the options name."""
    from ..evaluation.layouts import read_dataset

    return read_dataset(options.data, options.format, options.sequences, options.list)


def data_key(options: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """What results depend on beside the model and the protocol."""
    return {
        "data": str(options.data.resolve()),
        "format": dataset.format,
        "device": options.device,
        "all_frames": options.all_frames,
        "record_version": RECORD_VERSION,
    }


def check_outputs(options: argparse.Namespace) -> None:
    """Before any work: an error unless everything that is asked for has a folder to go into."""
    for name in ("json", "output", "pictures", "predictions"):
        path = getattr(options, name, None)
        if path is not None:
            check_parent(path)
    if options.json is not None and options.json.is_dir():
        raise IsADirectoryError(f"{options.json} is a folder; name a file to write")
    pictures = getattr(options, "pictures", None)
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise NotADirectoryError(f"{pictures} is a file; name a folder to write into")


def write_report(options: argparse.Namespace, report: Mapping[str, Any], table: str) -> None:
    """Print the table; write the report where `--json` says, and both into `--output`."""
    targets = [options.json]
    output = getattr(options, "output", None)
    if output is not None:
        targets.append(output / "scores.json")
        with finished_file(output / "table.txt") as part:
            part.write_text(table + "\n", encoding="utf-8")
    for path in targets:
        if path is not None:
            with finished_file(path) as part:
                part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table)


def picture_folder(options: argparse.Namespace) -> Path | None:
    """Where pictures go, if anywhere; made if absent."""
    folder: Path | None = options.pictures
    if folder is None and options.output is not None:
        folder = options.output / "pictures"
    if folder is not None:
        folder.mkdir(exist_ok=True)
    return folder


def save_picture(picture: Image, path: Path) -> None:
    """Write a picture as PNG, finished or not at all."""
    with finished_file(path) as part:
        picture.save(part, format="PNG")
