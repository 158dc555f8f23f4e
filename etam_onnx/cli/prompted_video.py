"""The video, the prompts and the frames that a command is asked for: options, and what they come to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .prompts import add_prompt_options

if TYPE_CHECKING:
    from ..runtime.video import Video
    from .prompts import ObjectPrompt
    from .tracked_video import Plan


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """VIDEO or --demo, and prompts."""
    parser.add_argument("video", nargs="?", metavar="VIDEO", help="a video file, or a folder of JPEG or PNG frames")
    parser.add_argument(
        "--demo", action="store_true", help="take a clip that is made on the spot, with a box around what to follow"
    )
    add_prompt_options(parser, masks=True)


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Which frames are tracked."""
    which = parser.add_argument_group("which frames")
    which.add_argument(
        "--start", type=int, default=0, metavar="FRAME", help="the frame that the prompts are on (default: 0)"
    )
    which.add_argument("--reverse", action="store_true", help="track backwards from --start to frame 0")
    which.add_argument(
        "--max-frames",
        type=int,
        metavar="N",
        help="track at most N frames, and write only these to a video; by default other frames are written as they are",
    )


def check_video(options: argparse.Namespace) -> None:
    """ValueError, before any work, unless there is one video to track."""
    if options.demo:
        if options.video is not None or options.prompts or options.start:
            raise ValueError("--demo brings its own video and box; leave out VIDEO, prompts and --start")
    elif options.video is None:
        raise ValueError("name a video to track, or try --demo")


@contextmanager
def prompted_video(options: argparse.Namespace) -> Iterator[tuple[Video, dict[int, ObjectPrompt], Plan]]:
    """The opened video, the prompts by object and the frames to track.

    Raises:
        ValueError: in one sentence, prompts or frames do not fit the video.
        OSError: the video or a mask cannot be read.
    """
    from ..runtime.frames import open_video
    from .demo_clip import DemoClip
    from .prompts import Given, read_prompts
    from .tracked_video import Plan

    with DemoClip() if options.demo else open_video(options.video) as video:
        for note in video.notes:
            print(f"note: {note}", file=sys.stderr)
        given = options.prompts
        if isinstance(video, DemoClip):
            given = [Given("--box", None, ",".join(str(side) for side in video.box))]
        prompts = read_prompts(given, video.size)
        yield video, prompts, Plan(len(video), options.start, options.reverse, options.max_frames)
