"""Does a bundle compute on this device what it computed where it was made?

Replays the calls of the bundle's test vectors on every variant whose edges they are recorded at, and tracks the clip on
every variant that the device runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .candidates import OtherCandidate, RecordedCandidates
from .graphs.bundle import Bundle
from .graphs.errors import BundleError
from .graphs.variants import COREML, PORTABLE, edges_of, precision_of, system_of
from .graphs.vectors import INDEX, TENSORS, StoredTensor, Vectors, read_vectors
from .runtime.backend import Backend
from .runtime.networks import Networks, backend_of
from .runtime.parity import EdgeError, relative_error, replay
from .runtime.video_predictor import VideoPredictor

INTERPRETED = "coreml-interpreted"
"""The device on which Core ML packages are interpreted, on any system."""
Arrays = dict[str, NDArray[np.float32]]
MASK_AGREEMENT = {"fp32": 0.999, "fp16": 0.99, "int8": 0.97, "palette6": 0.95}
"""Share of low-resolution mask pixels that must agree when the whole clip is tracked again, by precision."""


@dataclass(frozen=True)
class ClipAgreement:
    """The clip tracked again from its frames and prompts: worst share of equal mask pixels, the share that is asked
    for, worst logit error.

    others: answers for which another of the decoder's masks was chosen.  iou_error: how far predicted IoUs were off in
    the recorded calls; where that can turn the choice round, an answer is compared with the mask that was chosen.  What
    is tracked from it later remembers that mask and is compared as it is.
    """

    answers: int
    agreement: float
    tolerance: float
    error: float
    others: tuple[OtherCandidate, ...] = ()
    iou_error: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the masks are the same."""
        return self.agreement >= self.tolerance


@dataclass(frozen=True)
class Verification:
    """By variant: errors per output port, of variants with the edges that calls are recorded at, and the clip as a
    whole.
    """

    calls: dict[str, list[EdgeError]]
    clips: dict[str, ClipAgreement]

    @property
    def edges(self) -> list[EdgeError]:
        """Errors of all variants."""
        return [edge for edges in self.calls.values() for edge in edges]

    @property
    def passed(self) -> bool:
        """Whether everything is within tolerance."""
        return all(clip.passed for clip in self.clips.values()) and all(edge.passed for edge in self.edges)


def open_vectors(bundle: Bundle) -> Vectors:
    """The test vectors of a bundle.

    Raises:
        BundleError: it has none, or they are damaged.
    """
    if INDEX not in bundle.manifest.files:
        raise BundleError(f"the bundle {bundle.root} has no test vectors: export it again with them")
    return read_vectors(bundle.check_file(INDEX), bundle.check_file(TENSORS))


def array(tensor: StoredTensor) -> NDArray[np.float32]:
    """A stored tensor as an array."""
    return np.frombuffer(tensor.data, np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape)


def device_of(device: str) -> Backend:
    """What runs graphs on a device of the runtime, or on `INTERPRETED`.

    Raises:
        DeviceError: the device is not to be had.
        ImportError: the interpreter's extra is not installed.
    """
    if device != INTERPRETED:
        return backend_of(device)
    try:
        from .conversion.coreml.interpreted_backend import InterpretedBackend
    except ModuleNotFoundError as error:
        raise ImportError(
            f"device {device!r} needs {error.name}, which is not installed: pip install 'etam-onnx[coreml]'"
        ) from error
    return InterpretedBackend()


def verify(
    bundle: Bundle,
    device: str = "cpu",
    variant: str | None = None,
    progress: Callable[[str], None] = lambda variant: None,
) -> Verification:
    """Replay every recorded call on `device`, and track the clip from its prompts.

    Args:
        device: one of the runtime's, or `INTERPRETED`.
        variant: the only one to look at; by default all that the device runs.
        progress: called with the variant before each call and after each answer of the clip.

    Raises:
        BundleError: the bundle or its vectors cannot be used, or it has nothing for the device.
        DeviceError: the device is not to be had.
        ImportError: the interpreter's extra is not installed.
    """
    if device in (COREML, INTERPRETED) and not any(system_of(name) for name in bundle.manifest.variants):
        raise BundleError(f"the bundle {bundle.root} has no variant for Core ML: export it again with --coreml")
    vectors = open_vectors(bundle)
    backend = device_of(device)
    variants = [name for name in backend.variants if name in bundle.manifest.variants and variant in (None, name)]
    calls: dict[str, list[EdgeError]] = {}
    clips = {}
    for name in variants or [variant]:  # where there is none, opening says what is missing
        networks = Networks.open(bundle, device, backend=backend, variant=name)
        found = networks.variant

        def recorded(found: str = found) -> Iterator[tuple[str, Arrays, Arrays]]:
            for graph, inputs, outputs in vectors.calls():
                progress(found)
                yield graph, _arrays(inputs), _arrays(outputs)

        if edges_of(found) == PORTABLE:
            calls[found] = replay(bundle.graphs_of(found), networks.runners, recorded(), precision_of(found))
        iou_error = max((edge.error for edge in calls.get(found, []) if edge.port == "iou"), default=0.0)
        clips[found] = _track_again(networks, vectors, iou_error, partial(progress, found))
    return Verification(calls, clips)


def _arrays(tensors: dict[str, StoredTensor]) -> Arrays:
    return {port: array(tensor) for port, tensor in tensors.items()}


def _track_again(networks: Networks, vectors: Vectors, iou_error: float, progress: Callable[[], None]) -> ClipAgreement:
    """Act out the recorded script and compare each answer with the recorded one."""
    candidates, tolerance = RecordedCandidates(vectors), MASK_AGREEMENT[precision_of(networks.variant)]
    others: list[OtherCandidate] = []
    predictor = VideoPredictor(networks)
    state = predictor.init_state([array(vectors.tensors[i]) for i in vectors.index["frames"]])
    expected = iter(vectors.index["results"])
    agreement, error, answers = 1.0, 0.0, 0

    def compare(frame: int, obj_ids: list[int]) -> None:
        nonlocal agreement, error, answers
        for obj_id in obj_ids:
            output = state.objects[obj_id].output(frame)
            if output is None:
                continue
            wanted = next(expected)
            low_res = array(vectors.tensors[wanted["low_res"]])
            if (wanted["frame"], wanted["object"]) != (frame, obj_id):
                raise BundleError("the vectors' results are not in the order of their script")
            equal = float(np.mean((low_res > 0) == (output.low_res > 0)))
            if equal < tolerance and (other := candidates.other(frame, obj_id, low_res, output.low_res, tolerance)):
                others.append(other[0])
                if other[0].tie(iou_error):
                    equal, low_res = other[0].agreement, other[1]
            agreement = min(agreement, equal)
            error = max(error, relative_error(output.low_res, low_res, 1.0))
            answers += 1
            progress()

    for step in vectors.index["script"]:
        if step["do"] == "propagate":
            for frame, obj_ids, _ in predictor.propagate_in_video(state, step.get("start"), step.get("max")):
                compare(frame, obj_ids)
        elif step["do"] == "mask":
            mask = array(vectors.tensors[step["mask"]])
            compare(*predictor.add_new_mask(state, step["frame"], step["object"], mask)[:2])
        else:
            answer = predictor.add_new_points_or_box(
                state, step["frame"], step["object"], step.get("points"), step.get("labels"), box=step.get("box")
            )
            compare(*answer[:2])
    return ClipAgreement(answers, agreement, tolerance, error, tuple(others), iou_error)
