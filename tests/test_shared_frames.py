"""A video read by two threads: every frame right, decoded once, one reader at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from painted_video import encode, number_in, numbered_frames

from etam_onnx.cli.shared_frames import KEPT, SharedFrames
from etam_onnx.runtime.frames import open_video
from etam_onnx.runtime.video import Frame, Video, VideoError

COUNT = 40


class CountingVideo(Video):
    """Frames that say their number, and how often and by how many threads at once they were read."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.busy = 0
        self.most_busy = 0
        self.frames = numbered_frames(COUNT)

    @property
    def size(self) -> tuple[int, int]:
        return 160, 120

    def __len__(self) -> int:
        return COUNT

    def _read(self, index: int) -> Frame:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        self.read.append(index)
        frame = self.frames[index].copy()
        self.busy -= 1
        return frame


def test_a_second_reader_shortly_behind_reads_nothing_again() -> None:
    video = CountingVideo()
    shared = SharedFrames(video)
    for index in range(COUNT):
        assert number_in(shared[index]) == index
        if index >= KEPT - 1:
            assert shared[index - KEPT + 1] is shared[index - KEPT + 1]
            assert number_in(shared[index - KEPT + 1]) == index - KEPT + 1
    assert video.read == list(range(COUNT))


def test_frames_cannot_be_changed_under_the_other_reader() -> None:
    shared = SharedFrames(CountingVideo())
    with pytest.raises(ValueError, match="read-only"):
        shared[3][0] = 0


def test_what_is_no_longer_kept_is_read_again() -> None:
    shared = SharedFrames(open_video(numbered_frames(COUNT)))
    assert [number_in(shared[index]) for index in (30, 2, 29, 3, 28, 4, 27, 30)] == [30, 2, 29, 3, 28, 4, 27, 30]


def test_two_threads_read_a_file_from_different_places(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", numbered_frames(COUNT))
    expected = [frame.copy() for frame in open_video(path)]
    shared = SharedFrames(open_video(path))
    wrong: list[int] = []

    def read(order: range) -> None:
        for index in order:
            if not np.array_equal(shared[index], expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(o,)) for o in (range(COUNT), range(COUNT - 1, -1, -1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_is_the_video_to_everyone_else() -> None:
    video = open_video(numbered_frames(3))
    shared = SharedFrames(video)
    assert (len(shared), shared.size, shared.fps, shared.notes) == (3, (160, 120), None, ())
    with pytest.raises(IndexError, match="outside the video of 3 frames"):
        shared[3]
    shared.close()
    with pytest.raises(VideoError, match="the video is closed"):
        shared[0]
    assert number_in(video[2]) == 2
