"""Writing a video that plays everywhere: H.264, 8-bit 4:2:0, BT.709, in an mp4 or mov file."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from ..runtime.video import Frame, VideoError, check_frame
from .atomic import finished_file
from .canvas import PLANAR

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}
BT709 = 1  # ISO/IEC 23091-2 code for matrix, primaries and transfer
LIMITED = 1  # AVCOL_RANGE_MPEG
# x264's fastest preset with a constant quantiser, which is close to indistinguishable at 18 to 20.  A rate factor of 19
# would look at each frame twice: a quarter more time for files of the same size, or larger, that are not told apart.
# "veryfast" gives half to a third of the size for four times the time.
QUANTISER = "19"
SPEED = "ultrafast"


class VideoWriter:
    """Frames in, packets out, into an open file; see `video_writer`."""

    def __init__(self, container: OutputContainer, fps: Fraction, size: tuple[int, int]) -> None:
        self.frames = 0
        self.frame_size = size
        self.size = even_size(size)
        self._container = container
        self._time_base = 1 / fps
        self._reformatter = VideoReformatter()
        stream = container.add_stream("libx264", rate=fps, options={"qp": QUANTISER, "preset": SPEED})
        stream.width, stream.height = self.size
        stream.pix_fmt = PLANAR
        stream.time_base = self._time_base
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        container.start_encoding()  # creates the file, so that a folder that cannot be written is noticed now
        self._stream = stream

    def write(self, frame: Frame | VideoFrame) -> None:
        """Append one frame of the declared size.

        Args:
            frame: uint8 RGB (height, width, 3), or what `Overlay.draw` made of a stored frame: it is encoded as it is
                and gets the time at which it is shown here.
        """
        yuv = self._checked(frame) if isinstance(frame, VideoFrame) else self._converted(frame)
        yuv.pts, yuv.time_base = self.frames, self._time_base
        self._container.mux(self._stream.encode(yuv))
        self.frames += 1

    def _checked(self, frame: VideoFrame) -> VideoFrame:
        found = f"{frame.width}x{frame.height} in {frame.format.name}"
        wanted = f"{self.size[0]}x{self.size[1]} in {PLANAR}"
        if found != wanted:
            raise VideoError(f"frame {self.frames} to write is {found}, and should be {wanted}")
        return frame

    def _converted(self, frame: Frame) -> VideoFrame:
        width, height = self.frame_size
        check_frame(frame, f"frame {self.frames} to write", self.frame_size)
        if self.size != self.frame_size:
            frame = np.pad(frame, ((0, self.size[1] - height), (0, self.size[0] - width), (0, 0)), mode="edge")
        rgb = VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24")  # not copied
        return self._reformatter.reformat(
            rgb, format=PLANAR, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode())


@contextmanager
def video_writer(path: str | Path, fps: Fraction | float, size: tuple[int, int]) -> Iterator[VideoWriter]:
    """A writer of frames of `size` (width, height) at `fps` frames per second, kept exactly as a fraction.

    The file is complete when the block ends; when the block is left early, by an error or Ctrl-C, there is
    none and whatever stood at `path` before is untouched.

    Raises ValueError for another ending than .mp4, .m4v or .mov, for a rate that is not positive, and for a
    block that wrote no frame; FileNotFoundError when the folder to write into does not exist.
    """
    path = Path(path)
    container_format = check_name(path)
    rate = Fraction(fps).limit_denominator(100_000)
    if rate <= 0:
        raise ValueError(f"the rate must be above 0 frames per second, found {fps}")
    with finished_file(path) as part:
        options = {"movflags": "+faststart"}
        with closing(av.open(str(part), "w", format=container_format, container_options=options)) as container:
            writer = VideoWriter(container, rate, size)
            yield writer
            if writer.frames == 0:
                raise ValueError(f"no frame was written to {path}")
            writer.finish()


def check_name(path: Path) -> str:
    """The container format that the ending of `path` stands for; ValueError for others."""
    if path.suffix.lower() not in CONTAINERS:
        raise ValueError(f"{path} should end in {', '.join(CONTAINERS)}")
    return CONTAINERS[path.suffix.lower()]


def even_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) rounded up to even numbers.

    4:2:0 video, the only kind that all players and phones show, has even sides, so an odd side gains one
    column or row that repeats the edge.
    """
    return size[0] + size[0] % 2, size[1] + size[1] % 2
