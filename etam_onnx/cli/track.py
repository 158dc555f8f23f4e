"""`etam-onnx track`: follow objects through a video and write it with their masks drawn on it."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from .prompted_video import add_frame_options, add_video_options, check_video, prompted_video

if TYPE_CHECKING:
    from ..runtime.video import Video
    from .prompts import ObjectPrompt
    from .tracked_video import FoundFrame, Plan, Predictor

FOLDER_RATE = Fraction(24)
EXAMPLES = """examples:
  one click on the dog in the first frame:
    etam-onnx track dog.mp4 --point 640,400 -o tracked.mp4
  two objects, the second given by a box:
    etam-onnx track street.mp4 --point 320,200 --box 500,100,620,380 -o tracked.mp4
  one object, two clicks on it and one beside it:
    etam-onnx track dog.mp4 --point 1:640,400 --point 1:600,450 --not-point 1:700,300 -o tracked.mp4
  no video at hand:
    etam-onnx track --demo -o demo.mp4
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `track` to the command line."""
    parser = subparsers.add_parser(
        "track",
        help="follow objects through a video",
        description="Follow objects through a video and write it with their masks drawn on it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_video_options(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.mp4",
        help="the video to write (H.264; .mp4, .m4v or .mov); one that exists is replaced once the new one "
        "is finished; an odd width or height gains a column or row, as players need even sides",
    )
    output.add_argument(
        "--masks",
        type=Path,
        metavar="DIR",
        help="also write NNNNN.png for each tracked frame: a palette PNG whose values are object numbers",
    )
    output.add_argument("--fps", metavar="RATE", help="frames per second of the output (default: the video's, or 24)")
    add_frame_options(parser)
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="etam-nano", metavar="NAME_OR_DIR", help="a bundle (default: etam-nano)")
    model.add_argument("--device", default="cpu", help="cpu, cuda, or coreml on macOS (default: cpu)")
    model.add_argument("--variant", metavar="NAME", help="of the bundle's graphs (default: the device's best)")
    model.add_argument(
        "--fill-holes",
        type=int,
        default=0,
        metavar="AREA",
        help="fill holes of up to AREA pixels of the model's mask, a quarter of its input size",
    )
    model.add_argument("--non-overlap", action="store_true", help="give each pixel to one object at most")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `track`. Everything that can be wrong with the request is found before the model is loaded."""
    check_video(options)
    check_outputs(options)
    with prompted_video(options) as (video, prompts, plan):
        rate = output_rate(options.fps, video)
        check_masks(options, plan, prompts)
        predictor = load_predictor(options)
        print(follow(predictor, video, prompts, plan, rate, options.output, options.masks))
    return 0


def follow(
    predictor: Predictor,
    video: Video,
    prompts: dict[int, ObjectPrompt],
    plan: Plan,
    rate: Fraction,
    output: Path | None,
    masks: Path | None,
) -> str:
    """Track, write, and sum up in one line."""
    import time

    from tqdm import tqdm

    from ..evaluation.region import region_similarity
    from .demo_clip import DemoClip
    from .mask_folder import mask_folder
    from .shared_frames import SharedFrames
    from .tracked_video import found_frames, write_video
    from .video_writer import video_writer

    overlaps: list[float] = []
    frames = SharedFrames(video)

    def seen(frame: FoundFrame) -> None:
        if isinstance(video, DemoClip):
            with frames.turn:
                truth = video.truth(frame.index)
            overlaps.append(region_similarity(frame.masks[1], truth))

    began = time.perf_counter()
    with ExitStack() as outputs:
        writer = None if output is None else outputs.enter_context(video_writer(output, rate, video.size))
        folder = None if masks is None else outputs.enter_context(mask_folder(masks))
        found = found_frames(predictor, frames, prompts, plan, labelled=masks is not None)
        progress = outputs.enter_context(
            tqdm(found, total=len(plan.tracked), desc="tracking", unit=" frames", disable=None)
        )
        write_video(iter(progress), frames, plan, prompts, writer, folder, seen)
    speed = len(plan.tracked) / (time.perf_counter() - began)
    parts = [f"tracked {counted(len(prompts), 'object')} through {counted(len(plan.tracked), 'frame')}"]
    parts.append(f"{speed:.1f} frames/s")
    if overlaps:
        parts.append(f"mean IoU {sum(overlaps) / len(overlaps):.3f} with the true mask")
    return ", ".join(parts) + ": " + " and ".join(str(path) for path in (output, masks) if path is not None)


def load_predictor(options: argparse.Namespace) -> Predictor:
    """The predictor that the options ask for."""
    from ..runtime.video_predictor import VideoPredictor

    return VideoPredictor(
        options.model,
        device=options.device,
        variant=options.variant,
        fill_hole_area=options.fill_holes,
        non_overlap_masks=options.non_overlap,
        release_passed_frames=True,
    )


def check_outputs(options: argparse.Namespace) -> None:
    """ValueError or OSError, before any work, unless there is somewhere to write to that is not the input."""
    from .atomic import check_parent
    from .video_writer import check_name

    if options.output is None and options.masks is None:
        raise ValueError("nothing to write: give -o OUT.mp4, --masks DIR or both")
    if options.fill_holes < 0:
        raise ValueError(f"--fill-holes must not be negative, found {options.fill_holes}")
    if options.output is not None:
        check_name(options.output)
        check_parent(options.output)
        if options.output.is_dir():
            raise IsADirectoryError(f"{options.output} is a folder; name a file to write")
        if options.video is not None and options.output.exists() and options.output.samefile(options.video):
            raise ValueError(f"{options.output} is the video itself; write to another file")


def check_masks(options: argparse.Namespace, plan: Plan, prompts: dict[int, ObjectPrompt]) -> None:
    """ValueError or OSError, before any work, unless the masks can go where they should."""
    from .mask_folder import check_folder, check_ids

    if options.masks is None:
        return
    check_ids(prompts)
    check_folder(options.masks, plan.tracked)
    if options.video is not None and options.masks.exists() and options.masks.samefile(options.video):
        raise ValueError(f"{options.masks} holds the video's own frames; write the masks to another folder")


def output_rate(asked: str | None, video: Video) -> Fraction:
    """Frames per second of the output."""
    if asked is None:
        return FOLDER_RATE if video.fps is None else video.fps
    try:
        rate = Fraction(asked)
        if rate <= 0:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"--fps takes a rate above 0, such as 24 or 30000/1001, found {asked!r}") from None
    return rate


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
