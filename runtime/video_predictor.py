"""The video predictor: random access to a whole video, with SAM 2's names, order of arguments and rules."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..graphs.bundle import DEFAULT, Bundle
from .errors import PromptError, StateError
from .frame_result import FrameResult, frame_result
from .frames import open_video
from .memory import MemoryBank
from .networks import Networks
from .object_track import ObjectTrack
from .overlap import suppress_overlaps
from .pipeline import Features
from .preprocess import Frame, check_frame, video_input
from .prompts import read_integer, read_mask, read_object_id, read_points
from .resize import resize
from .segmenter import Segmenter
from .side_by_side import SideBySide
from .video import Video

Found = TypeVar("Found")
Logits = NDArray[np.float32]
Answer = tuple[int, list[int], Logits]
"""Frame number, object ids, and logits (N, 1, H, W) at video size in the order of the ids; a mask is where they
exceed 0.
"""

CACHED_FRAMES = 4


@dataclass
class InferenceState:
    """A video and what is known of its objects.  height, width: pixels; objects in the order of their first prompt."""

    frames: Video
    height: int
    width: int
    objects: dict[int, ObjectTrack] = field(default_factory=dict)
    features: OrderedDict[int, Features] = field(default_factory=OrderedDict)
    warned: bool = False

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return len(self.frames)

    @property
    def obj_ids(self) -> list[int]:
        """Object ids in the order of their first prompt."""
        return list(self.objects)


class VideoPredictor:
    """Prompts objects anywhere in a video and propagates them through it.

    Args:
        bundle: name or folder of a bundle, or loaded networks.
        device: ``cpu`` or ``cuda``.
        variant: of the bundle's graphs, by default the best that the device runs.
        fill_hole_area: background components of at most this many pixels of the low-resolution mask are filled.
        non_overlap_masks: at each pixel only the highest object may be foreground in what is returned.
        add_all_frames_to_correct_as_cond: remember corrected frames as prompted ones, so that corrections last;
            off, the next propagation overwrites them as in the original.
        clear_non_cond_mem_around_input: forget tracked frames near a prompted one.
        max_cond_frames_in_attn: prompted frames attended to at once; -1: as many as the bundle holds.
        release_passed_frames: during propagation, drop what frames ahead cannot read any more, for long videos;
            propagation can then not be resumed from a frame in the middle with full memory.

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
        add_all_frames_to_correct_as_cond: bool = True,
        clear_non_cond_mem_around_input: bool = False,
        max_cond_frames_in_attn: int = -1,
        release_passed_frames: bool = False,
    ) -> None:
        if max_cond_frames_in_attn == 0 or max_cond_frames_in_attn < -1:
            raise ValueError(f"max_cond_frames_in_attn should be -1 or at least 1, found {max_cond_frames_in_attn}")
        self.segmenter = Segmenter(Networks.open(bundle, device, variant=variant))
        self._objects = SideBySide(self.segmenter.networks.workers)
        self.fill_hole_area = fill_hole_area
        self.non_overlap_masks = non_overlap_masks
        self.add_all_frames_to_correct_as_cond = add_all_frames_to_correct_as_cond
        self.clear_non_cond_mem_around_input = clear_non_cond_mem_around_input
        self.max_cond_frames_in_attn = max_cond_frames_in_attn
        self.release_passed_frames = release_passed_frames

    def init_state(self, video: str | Path | Sequence[Frame]) -> InferenceState:
        """Open a video.

        Args:
            video: a video file, a folder of frames, or a sequence of uint8 RGB frames (H, W, 3).

        Raises:
            FileNotFoundError, ValueError: it cannot be read, or holds no frame.
        """
        frames = open_video(video)
        if len(frames) == 0:
            raise StateError("the video has no frames")
        height, width, _ = check_frame(frames[0]).shape
        return InferenceState(frames, height, width)

    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: int,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: ArrayLike | None = None,
    ) -> Answer:
        """Prompt an object on a frame with clicks, a box, or both.

        Args:
            points: (T, 2) pixels (x, y) of the frame; with `normalize_coords` False fractions of it in 0..1.
            labels: (T,): 1 on the object, 0 off it.
            clear_old_points: forget earlier points on this frame; the mask they gave is refined either way.
            box: (4,) as x0, y0, x1, y1, in the unit of the points; needs `clear_old_points`.

        Raises:
            PromptError: the prompt is malformed or outside the frame.
        """
        state = inference_state
        frame_idx, obj_id = self._check_index(state, frame_idx), read_object_id(obj_id)
        if points is None and box is None:
            raise PromptError("at least one of points and box must be given")
        if box is not None and not clear_old_points:
            raise PromptError("a box precedes all points, so it needs clear_old_points=True")
        prompt = read_points(
            points,
            labels,
            box,
            state.width,
            state.height,
            self.segmenter.size,
            normalized=not normalize_coords,
        )
        if not len(prompt):
            raise PromptError("a prompt needs at least one point or a box")
        track = state.objects.get(obj_id) or self._new_track()
        earlier = track.points.get(frame_idx)
        if earlier is not None and not clear_old_points:
            prompt = earlier + prompt
        track.click(self.segmenter, self._features(state, frame_idx), frame_idx, prompt)
        state.objects[obj_id] = track
        return self._answer(state, frame_idx)

    add_new_points = add_new_points_or_box

    def add_new_mask(self, inference_state: InferenceState, frame_idx: int, obj_id: int, mask: ArrayLike) -> Answer:
        """Give the mask (H, W) of an object on a frame; non-zero inside.

        Raises:
            PromptError: the mask has another shape than the frame.
        """
        state = inference_state
        frame_idx, obj_id = self._check_index(state, frame_idx), read_object_id(obj_id)
        square = read_mask(mask, state.width, state.height, self.segmenter.size)
        track = state.objects.get(obj_id) or self._new_track()
        track.paint(self.segmenter, self._features(state, frame_idx), frame_idx, square)
        state.objects[obj_id] = track
        return self._answer(state, frame_idx)

    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Answer]:
        """Track all objects through the video, yielding every frame visited.

        Prompts given between two frames count from the next one on; an object added meanwhile is tracked from there.

        Args:
            start_frame_idx: by default the earliest prompted frame of any object.
            max_frame_num_to_track: frames after the start, so one more is yielded; by default to the end of the video.
            reverse: towards frame 0; nothing is yielded when starting there.

        Raises:
            StateError: there is no object, or one without a remembered prompt.
            PromptError: a start outside the video, a negative number of frames.
        """
        order = self._order(inference_state, start_frame_idx, max_frame_num_to_track, reverse)
        return self._propagate(inference_state, order, reverse, self._answer)

    def results_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[FrameResult]:
        """`propagate_in_video` with results as `Tracker` gives them: logits at video size are computed only when
        they are asked for, masks only around the objects, which saves most of that time.

        Raises:
            StateError, PromptError: as `propagate_in_video`.
        """
        order = self._order(inference_state, start_frame_idx, max_frame_num_to_track, reverse)
        return self._propagate(inference_state, order, reverse, self._result)

    def _order(self, state: InferenceState, start: int | None, most: int | None, reverse: bool) -> range:
        """The frames to visit, after writing the memories of all prompts."""
        if not state.objects:
            raise StateError("there is nothing to track: prompt an object first")
        self._settle_prompts(state)
        first = min(min(o.bank.prompted) for o in state.objects.values())
        if start is not None:
            first = self._check_index(state, start)
        count = state.num_frames
        if most is not None:
            count = read_integer(most, "max_frame_num_to_track")
        if count < 0:
            raise PromptError(f"max_frame_num_to_track should be at least 0, found {count}")
        if reverse:
            return range(first, max(first - count, 0) - 1, -1) if first > 0 else range(0)
        return range(first, min(first + count, state.num_frames - 1) + 1)

    def _propagate(
        self, state: InferenceState, order: range, reverse: bool, found: Callable[[InferenceState, int], Found]
    ) -> Iterator[Found]:
        for frame in order:
            self._settle_prompts(state)
            to_find = []
            for track in state.objects.values():
                if frame in track.bank.prompted:
                    if self.clear_non_cond_mem_around_input:
                        track.bank.forget_around(frame)
                    track.tracked[frame] = reverse
                else:
                    to_find.append(track)
            if to_find:
                self._objects.each(self._finding(self._features(state, frame), frame, reverse), to_find)
            answer = found(state, frame)
            if self.release_passed_frames:
                for track in state.objects.values():
                    track.bank.forget_passed(frame, reverse)
            yield answer

    def _finding(self, features: Features, frame: int, reverse: bool) -> Callable[[ObjectTrack], None]:
        """What finds an object on a frame without a prompt and remembers it."""

        def find(track: ObjectTrack) -> None:
            track.track(self.segmenter, features, frame, reverse)
            track.settle(self.segmenter, features, frame)

        return find

    def remove_object(
        self, inference_state: InferenceState, obj_id: int, strict: bool = False, need_output: bool = True
    ) -> tuple[list[int], list[tuple[int, Logits]]]:
        """Forget an object; the others are untouched.

        Returns:
            The remaining ids and, with `need_output`, the frames on which the object was prompted with the others'
            logits.

        Raises:
            StateError: with `strict`, there is no such object.
        """
        state, obj_id = inference_state, read_object_id(obj_id)
        track = state.objects.pop(obj_id, None)
        if track is None:
            if strict:
                raise StateError(f"there is no object {obj_id}, the objects are {state.obj_ids}")
            return state.obj_ids, []
        frames = sorted(set(track.points) | set(track.masks)) if need_output and state.objects else []
        return state.obj_ids, [(frame, self._answer(state, frame)[2]) for frame in frames]

    def clear_all_prompts_in_frame(
        self, inference_state: InferenceState, frame_idx: int, obj_id: int, need_output: bool = True
    ) -> Answer | None:
        """Withdraw an object's prompts on a frame; returns the frame's answer with `need_output`.

        Raises:
            StateError: there is no such object.
        """
        state = inference_state
        frame_idx, obj_id = self._check_index(state, frame_idx), read_object_id(obj_id)
        if obj_id not in state.objects:
            raise StateError(f"there is no object {obj_id}, the objects are {state.obj_ids}")
        state.objects[obj_id].forget_prompt(frame_idx)
        return self._answer(state, frame_idx) if need_output else None

    def reset_state(self, inference_state: InferenceState) -> None:
        """Forget all objects; the video stays open."""
        inference_state.objects.clear()
        inference_state.warned = False

    def _new_track(self) -> ObjectTrack:
        rules = self.segmenter.memory_rules(self.max_cond_frames_in_attn)
        return ObjectTrack(MemoryBank(rules), self.fill_hole_area, self.add_all_frames_to_correct_as_cond)

    def _settle_prompts(self, state: InferenceState) -> None:
        """Write the memories of all prompts that are not in memory yet; each frame is encoded once for all objects."""
        for frame in sorted({frame for track in state.objects.values() for frame in track.pending}):
            for track in state.objects.values():
                if frame in track.pending:
                    track.settle(self.segmenter, self._features(state, frame), frame)
                    if self.clear_non_cond_mem_around_input:
                        track.bank.forget_around(frame)
        for obj_id, track in state.objects.items():
            if not track.bank.prompted:
                raise StateError(f"object {obj_id} has no prompt left: prompt it again or remove it")
            capacity = track.bank.rules.prompted_frames
            wanted = 0 < self.max_cond_frames_in_attn <= capacity
            if len(track.bank.prompted) > capacity and not wanted and not state.warned:
                state.warned = True
                warnings.warn(
                    f"object {obj_id} has {len(track.bank.prompted)} prompted frames, this bundle attends to "
                    f"{capacity}: each frame uses the closest ones",
                    stacklevel=3,
                )

    def _features(self, state: InferenceState, frame: int) -> Features:
        """Encode a frame once; the latest few are kept."""
        if frame not in state.features:
            pixels = check_frame(state.frames[frame], (state.height, state.width, 3))
            state.features[frame] = self.segmenter.encode(video_input(pixels, self.segmenter.size))
            while len(state.features) > CACHED_FRAMES:
                state.features.popitem(last=False)
        return state.features[frame]

    def _answer(self, state: InferenceState, frame: int) -> Answer:
        shape = (len(state.objects), state.height, state.width)
        logits = np.full(shape, self.segmenter.rules.absent_logit, np.float32)
        for row, track in enumerate(state.objects.values()):
            output = track.output(frame)
            if output is not None:
                logits[row] = resize(output.low_res, state.height, state.width)
        if self.non_overlap_masks:
            logits = suppress_overlaps(logits, self.segmenter.rules.overlap_logit)
        return frame, state.obj_ids, logits[:, None]

    def _result(self, state: InferenceState, frame: int) -> FrameResult:
        rules = self.segmenter.rules
        outputs = [(obj_id, track.output(frame)) for obj_id, track in state.objects.items()]
        return frame_result(
            frame,
            [(obj_id, output) for obj_id, output in outputs if output is not None],
            state.height,
            state.width,
            presence_threshold=rules.presence_threshold,
            overlap_limit=rules.overlap_logit if self.non_overlap_masks else None,
        )

    @staticmethod
    def _check_index(state: InferenceState, frame: int) -> int:
        number = read_integer(frame, "a frame number")
        if not 0 <= number < state.num_frames:
            raise PromptError(f"frame {number} is outside the video of {state.num_frames} frames")
        return number
