"""`etam-onnx compare`: what a precision, an operator set or a device changes in the masks of one's own video."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .prompted_video import add_frame_options, add_video_options, check_video, prompted_video

if TYPE_CHECKING:
    from ..comparison import Comparison
    from ..graphs.bundle import Bundle
    from ..runtime.video import Video
    from ..runtime.video_predictor import VideoPredictor
    from .prompts import ObjectPrompt
    from .tracked_video import Plan

EXAMPLES = """examples:
  what 8-bit integers change on a clip:
    etam-onnx compare dog.mp4 --point 640,400 --variants ort-int8
  Core ML packages, interpreted, against ONNX Runtime, frame by frame:
    etam-onnx compare --demo --model my-bundle --variants coreml-ios18 coreml-ios18-int8 --frames
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `compare` to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="track a video with several variants of a bundle and compare the masks",
        description="Track a video with several variants of a bundle, frame by frame side by side, and compare their "
        "masks with those of a reference: intersection over union (IoU) per object and frame.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_video_options(parser)
    add_frame_options(parser)
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="etam-nano", metavar="NAME_OR_DIR", help="a bundle (default: etam-nano)")
    model.add_argument(
        "--variants", nargs="+", metavar="NAME", help="what to compare (default: all others of the bundle)"
    )
    model.add_argument(
        "--reference", default="portable", metavar="NAME", help="what to compare with (default: portable)"
    )
    model.add_argument(
        "--device",
        default="cpu",
        help="cpu, cuda or coreml; Core ML packages are interpreted, operator by operator, unless it is coreml "
        "(default: cpu)",
    )
    parser.add_argument("--frames", action="store_true", help="also list the worst IoU of every frame")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `compare`."""
    from ..graphs.bundle import Bundle
    from ..graphs.variants import VARIANTS

    check_video(options)
    bundle = Bundle.open(options.model)
    variants = options.variants or [v for v in VARIANTS if v in bundle.manifest.variants and v != options.reference]
    if not variants:
        raise ValueError(f"the bundle {bundle.root} has nothing but {options.reference}, which is the reference")
    with prompted_video(options) as (video, prompts, plan):
        predictors = [load(bundle, variant, options.device) for variant in (options.reference, *variants)]
        comparisons = compared(predictors, variants, video, prompts, plan)
    objects = f"{len(prompts)} object{'s' * (len(prompts) > 1)}"
    print(f"{len(plan.tracked)} frames, {objects}, {bundle.manifest.model}, against {options.reference}:")
    print("\n".join(summary(comparisons)))
    if options.frames:
        print()
        print("\n".join(frame_table(comparisons)))
    return 0


def load(bundle: Bundle, variant: str, device: str) -> VideoPredictor:
    """A predictor that runs one variant."""
    from ..comparison import open_variant
    from ..runtime.video_predictor import VideoPredictor

    return VideoPredictor(open_variant(bundle, variant, device), release_passed_frames=True)


def compared(
    predictors: Sequence[VideoPredictor],
    variants: Sequence[str],
    video: Video,
    prompts: dict[int, ObjectPrompt],
    plan: Plan,
) -> tuple[Comparison, ...]:
    """Track with all predictors at once, the reference first, a frame at a time."""
    from tqdm import tqdm

    from ..comparison import compare
    from .shared_frames import SharedFrames
    from .tracked_video import found_frames

    frames = SharedFrames(video)
    tracked = zip(*(found_frames(one, frames, prompts, plan, labelled=False) for one in predictors), strict=True)
    bar = tqdm(tracked, total=len(plan.tracked), desc="tracking", unit=" frames", leave=False, disable=None)
    return compare(((found[0].index, [frame.masks for frame in found]) for found in bar), variants)


def summary(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A row for each variant."""
    width = max(len("variant"), *(len(comparison.variant) for comparison in comparisons))
    yield f"{'variant':<{width}}  mean IoU  worst IoU  on frame  seen by one only"
    for comparison in comparisons:
        worst = comparison.worst
        yield (
            f"{comparison.variant:<{width}}  {comparison.mean:>8.4f}  {worst.iou:>9.4f}  {worst.frame:>8}  "
            f"{comparison.alone:>16}"
        )


def frame_table(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A row for each frame: the IoU of its worst object, by variant."""
    widths = [max(6, len(comparison.variant)) for comparison in comparisons]
    heads = (f"{c.variant:>{width}}" for c, width in zip(comparisons, widths, strict=True))
    yield "  ".join(("frame", *heads))
    by_frame = [comparison.by_frame() for comparison in comparisons]
    for frame in sorted(by_frame[0]):
        cells = (f"{found[frame]:>{width}.4f}" for found, width in zip(by_frame, widths, strict=True))
        yield "  ".join((f"{frame:>5}", *cells))
