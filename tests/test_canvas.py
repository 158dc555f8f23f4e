"""Drawing on frames as video stores them: the same picture as in RGB, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from etam_onnx.cli.canvas import PlanarCanvas, RgbCanvas, Stamp, planar
from etam_onnx.cli.overlay import COLOURS, Marks, Overlay, colour_of

WIDTH, HEIGHT = SIZE = 320, 240
REFORMATTER = VideoReformatter()


def stored(pixels: np.ndarray) -> VideoFrame:
    """RGB -> BT.709, limited range, by FFmpeg."""
    rgb = VideoFrame.from_ndarray(pixels, format="rgb24")
    return REFORMATTER.reformat(
        rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )


def planes(frame: VideoFrame) -> tuple[np.ndarray, np.ndarray]:
    """Luma (height, width) and both colour differences (2, height / 2, width / 2)."""
    packed = frame.to_ndarray()
    chroma = packed[frame.height :].reshape(2, frame.height // 2, frame.width // 2)
    return packed[: frame.height].astype(int), chroma.astype(int)


def scene() -> np.ndarray:
    """(HEIGHT, WIDTH, 3): a smooth picture of many colours."""
    coarse = np.random.default_rng(4).integers(30, 220, (4, 5, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC))


def ellipse(x0: float, y0: float, across: float, down: float) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((x - x0) / across) ** 2 + ((y - y0) / down) ** 2 < 1


@pytest.mark.parametrize("colour", [*COLOURS, (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_colours_are_those_of_bt709(colour: tuple[int, int, int]) -> None:
    luma, chroma = planes(stored(np.full((16, 16, 3), colour, np.uint8)))
    expected = [luma[8, 8], *chroma[:, 4, 4]]
    assert np.abs(planar(np.array(colour)).astype(int) - expected).max() <= 1


def test_a_tint_mixes_luma_per_pixel_and_colour_per_cell() -> None:
    frame = stored(scene())
    cover = np.random.default_rng(1).integers(0, 256, (60, 80), np.uint8)
    canvas = PlanarCanvas(frame)
    canvas.tint(cover, colour_of(2), 40, 20)
    before, after = planes(frame), planes(canvas.frame)
    y, blue, red = planar(np.array(colour_of(2))).astype(float)
    expected = [plane.astype(float) for plane in before]
    part, share = expected[0][20:80, 40:120], cover / 255
    part += (y - part) * share
    half = share.reshape(30, 2, 40, 2).mean((1, 3))
    for plane, value in zip(expected[1], (blue, red), strict=True):
        part = plane[10:40, 20:60]
        part += (value - part) * half
    assert np.abs(after[0] - expected[0]).max() <= 1
    assert np.abs(after[1] - expected[1]).max() <= 1


@pytest.mark.parametrize("left", [30, 31])
@pytest.mark.parametrize("top", [50, 51])
def test_a_stamp_at_any_pixel(left: int, top: int) -> None:
    rng = np.random.default_rng(left + top)
    picture = np.concatenate(
        (np.full((11, 17, 3), (251, 110, 40), np.uint8), rng.integers(0, 256, (11, 17, 1), np.uint8)), -1
    )
    stamp = Stamp(Image.fromarray(picture))
    frame = stored(scene())
    canvas = PlanarCanvas(frame)
    canvas.stamp(stamp, left, top)
    before, after = planes(frame), planes(canvas.frame)
    share = np.zeros((HEIGHT, WIDTH))
    share[top : top + 11, left : left + 17] = picture[..., 3] / 255
    half = share.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3))
    y, *differences = planar(np.array((251, 110, 40))).astype(float)
    assert np.abs(after[0] - (before[0] + (y - before[0]) * share)).max() <= 1
    for found, old, value in zip(after[1], before[1], differences, strict=True):
        assert np.abs(found - (old + (value - old) * half)).max() <= 1


@pytest.mark.parametrize("size", [(2, 4), (6, 8), (854, 480), (34, 500)])
@pytest.mark.parametrize("corner", [(0, 0), (1, 1), (3, 1)])
def test_what_reaches_beyond_the_frame_is_left_out(size: tuple[int, int], corner: tuple[int, int]) -> None:
    width, height = size
    grey = np.full((height, width, 3), 160, np.uint8)
    stamp = Stamp(Image.new("RGBA", (40, 30), (200, 60, 60, 255)))
    canvas, rgb = PlanarCanvas(stored(grey)), RgbCanvas(grey)
    for each in (canvas, rgb):
        each.stamp(stamp, *corner)
    covered = (rgb.pixels == (200, 60, 60)).all(-1)
    y = int(planar(np.array((200, 60, 60)))[0])
    np.testing.assert_array_equal(planes(canvas.frame)[0] == y, covered)
    assert (grey == 160).all()


def test_all_of_it_looks_as_in_rgb() -> None:
    frame, overlay = stored(scene()), Overlay(SIZE)
    pixels = REFORMATTER.reformat(frame, format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray()
    masks = {1: ellipse(120, 110, 61, 45), 2: ellipse(205, 131, 40, 70), 7: ellipse(310, 0, 33, 27)}
    masks[12] = np.zeros_like(masks[1])
    marks = {1: Marks([(121, 110), (5, 5)], [1, 0], (59.5, 60, 181, 155))}
    drawn = overlay.draw(frame, masks, marks)
    assert isinstance(drawn, VideoFrame)
    found = REFORMATTER.reformat(drawn, format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray().astype(int)
    there = stored(overlay.draw(pixels, masks, marks))
    expected = REFORMATTER.reformat(there, format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray().astype(int)
    difference = np.abs(found - expected)
    print(f"mean {difference.mean():.2f}, {(difference.max(-1) > 12).mean():.2%} of the pixels off by more than 12")
    # Two conversions more round some levels; only colour at sharp edges, shared by four pixels, differs by more.
    assert difference.mean() < 2.5
    assert (difference.max(-1) > 12).mean() < 0.06


def test_nothing_else_changes() -> None:
    frame, overlay = stored(scene()), Overlay(SIZE)
    original = frame.to_ndarray().copy()
    mask = ellipse(160, 150, 50, 30)
    luma, chroma = planes(overlay.draw(frame, {1: mask}))
    np.testing.assert_array_equal(frame.to_ndarray(), original)
    before = planes(frame)
    changed = luma != before[0]
    assert changed[mask].mean() > 0.9
    assert not changed[190:].any()
    assert not changed[:100, :130].any()
    assert not (chroma != before[1])[:, 95:].any()
    np.testing.assert_array_equal(overlay.draw(frame, {}).to_ndarray(), original)
