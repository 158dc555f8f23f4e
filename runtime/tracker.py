"""The streaming tracker: frames come one by one and memory stays constant."""

from __future__ import annotations

import warnings
from pathlib import Path

from numpy.typing import ArrayLike

from ..graphs.bundle import DEFAULT, SHIPPED, Bundle
from .errors import PromptError, StateError
from .frame_result import FrameResult, frame_result
from .memory import MemoryBank
from .networks import Networks
from .object_track import ObjectTrack
from .pipeline import Features
from .preprocess import Frame, check_frame, video_input
from .prompts import read_mask, read_object_id, read_points
from .segmenter import Segmenter
from .side_by_side import SideBySide
from .tracker_file import SavedTracker, read_tracker, write_tracker


class Tracker:
    """Tracks objects through a stream of frames.

    `step` advances by one frame; `prompt` adds or corrects an object on the current frame.  The memory of a frame
    is written when the next one arrives, so prompts on a frame may be refined until then.  At the bundle's capacity
    of prompted frames the first and the latest stay, with one warning.

    Args:
        bundle: name or folder of a bundle, or loaded networks.
        device: ``cpu`` or ``cuda``.
        variant: of the bundle's graphs, by default the best that the device runs.
        fill_hole_area: background components of at most this many pixels of the low-resolution mask are filled.
        non_overlap_masks: at each pixel only the highest object may be foreground in results.

    Raises:
        BundleError, DeviceError: see `Networks.open`.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle | Networks = DEFAULT,
        device: str = "cpu",
        *,
        variant: str | None = None,
        fill_hole_area: int = 0,
        non_overlap_masks: bool = False,
    ) -> None:
        self.segmenter = Segmenter(Networks.open(bundle, device, variant=variant))
        self.fill_hole_area = fill_hole_area
        self.non_overlap_masks = non_overlap_masks
        self._rules = self.segmenter.memory_rules()
        self._objects = SideBySide(self.segmenter.networks.workers)
        self._tracks: dict[int, ObjectTrack] = {}
        self._index = -1
        self._frame: Frame | None = None
        self._features: Features | None = None
        self._warned = False

    @property
    def object_ids(self) -> list[int]:
        """Ids of the tracked objects in the order of their first prompt."""
        return list(self._tracks)

    @property
    def frame_index(self) -> int:
        """Number of the current frame, from 0; -1 before the first."""
        return self._index

    def step(self, frame: Frame) -> FrameResult:
        """Advance by one frame and find all objects on it.

        Args:
            frame: uint8 RGB (H, W, 3), of the same size as the frames before.

        Raises:
            FrameError: another shape or dtype.
        """
        check_frame(frame, None if self._frame is None else self._frame.shape)
        features = self.segmenter.encode(video_input(frame, self.segmenter.size))
        self._remember()
        self._index += 1
        self._frame, self._features = frame.copy(), features
        self._objects.each(
            lambda track: track.track(self.segmenter, features, self._index), list(self._tracks.values())
        )
        return self._result()

    def prompt(
        self,
        object_id: int,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> FrameResult:
        """Add an object on the current frame, or correct it there; replaces its points on this frame.

        Args:
            object_id: any integer.
            points: (T, 2) pixels (x, y).
            labels: (T,): 1 on the object, 0 off it.
            box: (4,) as x0, y0, x1, y1 in pixels.
            mask: (H, W), non-zero inside; instead of points and box.

        Raises:
            StateError: there is no current frame yet.
            PromptError: the prompt is malformed or outside the frame.
        """
        if self._frame is None or self._features is None:
            raise StateError("there is no frame to prompt on yet: call step(frame) first")
        object_id = read_object_id(object_id)
        height, width, _ = self._frame.shape
        track = self._tracks.get(object_id) or ObjectTrack(MemoryBank(self._rules), self.fill_hole_area)
        if mask is not None:
            if points is not None or labels is not None or box is not None:
                raise PromptError("a mask cannot be combined with points or a box")
            square = read_mask(mask, width, height, self.segmenter.size)
            track.paint(self.segmenter, self._features, self._index, square)
        else:
            prompt = read_points(points, labels, box, width, height, self.segmenter.size)
            if not len(prompt):
                raise PromptError("a prompt needs points with labels, a box, or a mask")
            track.click(self.segmenter, self._features, self._index, prompt)
        self._tracks[object_id] = track
        return self._result()

    def remove(self, object_id: int) -> None:
        """Forget an object; the others are untouched.

        Raises:
            StateError: there is no such object.
        """
        object_id = read_object_id(object_id)
        if object_id not in self._tracks:
            raise StateError(f"there is no object {object_id}, the objects are {self.object_ids}")
        del self._tracks[object_id]

    def reset(self) -> None:
        """Forget all objects and frames."""
        self._tracks.clear()
        self._index, self._frame, self._features = -1, None, None
        self._warned = False

    def save(self, path: str | Path) -> None:
        """Write the state to a file, so that `restore` goes on exactly here.

        Raises:
            StateError: the networks did not come from a bundle on disk.
            OSError: the file cannot be written.
        """
        networks = self.segmenter.networks
        root = Path(networks.source).resolve()
        if not networks.source or not root.is_dir():
            raise StateError("only a tracker that was opened from a bundle can be saved")
        bundle = root.name if root.parent == SHIPPED else str(root)
        options = {"fill_hole_area": int(self.fill_hole_area), "non_overlap_masks": bool(self.non_overlap_masks)}
        model = networks.manifest.model
        saved = SavedTracker(bundle, model, options, self._index, self._frame, self._tracks)
        write_tracker(Path(path), saved, self.segmenter.pipeline.memory_tokens)

    @classmethod
    def restore(
        cls,
        path: str | Path,
        device: str = "cpu",
        *,
        bundle: str | Path | Bundle | Networks | None = None,
        variant: str | None = None,
    ) -> Tracker:
        """Continue from a file written by `save`, with the bundle it names or `bundle` where that has moved;
        `variant` as in the constructor.

        Raises:
            FileNotFoundError, ValueError: the file cannot be used, or not with this bundle.
            BundleError, DeviceError: see `Networks.open`.
        """
        saved = read_tracker(Path(path))
        tracker = cls(bundle or saved.bundle, device, variant=variant, **saved.options)
        manifest = tracker.segmenter.networks.manifest
        if saved.model != manifest.model:
            raise ValueError(f"{path} was saved with the model {saved.model}, this bundle holds {manifest.model}")
        try:
            saved.attach(tracker._rules, manifest.geometry, tracker.segmenter.pipeline.memory_of)
        except ValueError as error:
            raise ValueError(f"{path} does not fit this bundle: {error}") from error
        tracker._index, tracker._frame, tracker._tracks = saved.index, saved.frame, saved.tracks
        if saved.frame is not None:
            tracker._features = tracker.segmenter.encode(video_input(saved.frame, tracker.segmenter.size))
        return tracker

    def _remember(self) -> None:
        """Write the memories of the current frame, and forget what no later frame can read."""
        if self._features is None:
            return
        crowded = False
        features = self._features
        self._objects.each(
            lambda track: track.settle(self.segmenter, features, self._index), list(self._tracks.values())
        )
        for track in self._tracks.values():
            crowded |= track.bank.keep_first_and_latest()
            track.forget_passed(self._index)
        if crowded and not self._warned:
            self._warned = True
            warnings.warn(
                f"an object has more than {self._rules.prompted_frames} prompted frames, the most this bundle "
                "remembers: the first and the latest stay",
                stacklevel=3,
            )

    def _result(self) -> FrameResult:
        assert self._frame is not None
        rules = self.segmenter.rules
        found = [(i, track.output(self._index)) for i, track in self._tracks.items()]
        return frame_result(
            self._index,
            [(i, output) for i, output in found if output is not None],
            self._frame.shape[0],
            self._frame.shape[1],
            presence_threshold=rules.presence_threshold,
            overlap_limit=rules.overlap_logit if self.non_overlap_masks else None,
        )
