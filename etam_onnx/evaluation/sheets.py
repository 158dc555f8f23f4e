"""The pictures of a run: J over time per object, and the worst frames with the truth beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from .annotated_images import AnnotatedImage
from .chart import Line, line_chart
from .comparison import captioned, compared, grid, legend
from .interactive import Mode
from .prompts import Click
from .scores import ObjectScore, Score
from .sequences import AnnotatedSequence
from .worst_frames import WorstFrame

WIDTH = 960
MOST_CHARTS = 24
MOST_FRAMES = 12


def j_over_time(name: str, objects: Mapping[int, ObjectScore], size: tuple[int, int] = (WIDTH, 270)) -> Image.Image:
    """A line per object over frame numbers; the dot is the frame on which an object appears."""
    lines = [
        Line(f"object {number}: J {scored.score.j:.1f}", scored.frames, scored.j, colour)
        for colour, (number, scored) in enumerate(objects.items())
    ]
    return line_chart(name, lines, "frame", "J %", size)


def sequence_sheet(
    sequence: AnnotatedSequence, objects: Mapping[int, ObjectScore], worst: Sequence[WorstFrame]
) -> Image.Image:
    """J over time, and below it the worst frame of each third of the video."""
    parts = [j_over_time(sequence.name, objects)]
    if worst:
        pictures = [_worst_frame(sequence, found, (WIDTH - 16) // 3) for found in worst]
        parts += [legend(WIDTH), grid(pictures, 3)]
    return _stacked(parts)


def run_overview(objects: Mapping[str, Mapping[int, ObjectScore]]) -> Image.Image:
    """J over time of every sequence of a run, worst first, at most as many as fit a page."""
    order = sorted(objects, key=lambda name: (_mean_j(objects[name]), name))[:MOST_CHARTS]
    return grid([j_over_time(name, objects[name], (640, 220)) for name in order], 2 if len(order) > 1 else 1)


def worst_of_run(found: Sequence[tuple[AnnotatedSequence, WorstFrame]]) -> Image.Image:
    """The worst frames of a whole run, worst first, at most two of a sequence."""
    chosen: list[tuple[AnnotatedSequence, WorstFrame]] = []
    for sequence, worst in sorted(found, key=lambda pair: (pair[1].j, pair[0].name)):
        if sum(other is sequence for other, _ in chosen) < 2 and len(chosen) < MOST_FRAMES:
            chosen.append((sequence, worst))
    pictures = [_worst_frame(sequence, worst, 420, sequence.name) for sequence, worst in chosen]
    sheet = grid(pictures, min(3, len(pictures)))
    return _stacked([legend(max(sheet.width, 420)), sheet])


def frames_chart(by_mode: Mapping[Mode, Sequence[Score]]) -> Image.Image:
    """J&F over the number of frames that were clicked on, a line per mode."""
    lines = [
        Line(mode, range(1, len(scores) + 1), [score.j_and_f for score in scores], colour, dots=True)
        for colour, (mode, scores) in enumerate(by_mode.items())
    ]
    return line_chart("three clicks per frame", lines, "frames clicked on", "J&F %", (640, 360))


def clicks_chart(by_clicks: Sequence[float], oracle: float) -> Image.Image:
    """mIoU over the number of clicks; the single dot is the best of three masks after the first click."""
    lines = [
        Line("mask taken", range(1, len(by_clicks) + 1), by_clicks, 0, dots=True),
        Line("best of three", [1], [oracle], 1, dots=True),
    ]
    return line_chart("mean IoU over objects", lines, "clicks", "IoU %", (640, 360))


def worst_pictures(found: Sequence[tuple[AnnotatedImage, int, float, WorstFrame, Click]]) -> Image.Image:
    """Pictures with what one click gave for their worst object: (picture, object number, IoU, masks, click)."""
    panels = []
    for image, number, iou, worst, click in sorted(found, key=lambda entry: (entry[2], entry[0].name))[:MOST_FRAMES]:
        frame = image.read()
        truth = image.annotation((frame.shape[0], frame.shape[1])).masks
        panel = compared(frame, worst.masks, {number: truth[number]}, 300, [click])
        panels.append(captioned(panel, f"IoU {iou:.1f}  {image.name[:26]} #{number}"))
    sheet = grid(panels, min(4, len(panels)))
    return _stacked([legend(max(sheet.width, 420)), sheet])


def _worst_frame(sequence: AnnotatedSequence, worst: WorstFrame, width: int, name: str = "") -> Image.Image:
    truth = sequence.annotation(worst.frame).masks
    picture = compared(sequence.frames[worst.frame], worst.masks, truth, width)
    return captioned(picture, f"{name} frame {sequence.frame_names[worst.frame]}  J {worst.j:.1f}".strip())


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    return grid(parts, 1)


def _mean_j(objects: Mapping[int, ObjectScore]) -> float:
    return sum(scored.score.j for scored in objects.values()) / max(1, len(objects))
