"""`etam-onnx clips`: a contact sheet of the clips that training would see."""

from __future__ import annotations

import argparse
from pathlib import Path

from .atomic import check_parent, finished_file

EXAMPLE = """examples:
  synthetic clips of a folder of photographs with index.csv, images/ and masks/:
    etam-onnx clips --data train_images -o sheet.png
  three objects per clip over a long time, from DAVIS:
    etam-onnx clips --data DAVIS -o sheet.png --objects 3 --frames 10 --step 4
"""
LARGEST_SHEET = 200_000_000  # pixels


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `clips` to the command line."""
    parser = subparsers.add_parser(
        "clips",
        help="draw training clips with their masks (needs the [train] extra)",
        description="Draw a row per clip and a column per frame, with the objects outlined: the first in red. "
        "The folder holds photographs with index.csv, or SA-1B, SA-V, DAVIS, YouTube-VOS or MOSE as published.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, action="append", required=True, metavar="DIR", help="a data folder; several are mixed"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SHEET.png", help="the picture to write")
    parser.add_argument("--split", choices=["train", "val"], default="train", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the first clip (default: %(default)s)")
    parser.add_argument("--count", type=int, default=8, help="clips, which are rows (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=8, help="frames per clip (default: %(default)s)")
    parser.add_argument("--step", type=int, default=2, help="frame times from one to the next (default: %(default)s)")
    parser.add_argument("--size", type=int, default=192, help="side of a frame in pixels (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=3, help="at most so many per clip (default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `clips`."""
    check(options)
    from PIL import Image
    from tqdm import tqdm

    from ..training.data import Mixture, open_source
    from ..training.sheet import contact_sheet

    source = Mixture([(open_source(folder, options.split), 1.0) for folder in options.data])
    times = range(0, options.frames * options.step, options.step)
    seeds = tqdm(range(options.seed, options.seed + options.count), unit="clip", disable=None, leave=False)
    clips = [source.make([seed], options.size, times, options.objects) for seed in seeds]
    with finished_file(options.output) as path:
        Image.fromarray(contact_sheet(clips)).save(path, format="PNG")
    skipped = f"; {source.skipped} items could not be used" if source.skipped else ""
    print(f"{options.output}: {len(clips)} clips of {options.frames} frames{skipped}")
    return 0


def check(options: argparse.Namespace) -> None:
    """ValueError or OSError, in a sentence, for what cannot work."""
    for name, least in (("seed", 0), ("count", 1), ("frames", 1), ("step", 1), ("size", 16), ("objects", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"--{name} must be at least {least}, not {getattr(options, name)}")
    if options.output.suffix.lower() != ".png":
        raise ValueError(f"the contact sheet is a PNG file; {options.output.name} does not end in .png")
    if options.count * options.frames * options.size**2 > LARGEST_SHEET:
        raise ValueError("so many clips of that size make a picture of over 200 megapixels; ask for fewer")
    check_parent(options.output)
