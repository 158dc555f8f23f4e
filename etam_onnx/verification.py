"""Does a bundle compute on this device what it computed where it was made?

Replays the calls of the bundle's test vectors on the portable graphs, whose edges they are recorded at, and tracks the
clip on every variant that the device runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .graphs.bundle import Bundle
from .graphs.errors import BundleError
from .graphs.variants import PORTABLE, precision_of
from .graphs.vectors import INDEX, TENSORS, StoredTensor, Vectors, read_vectors
from .runtime.networks import Networks
from .runtime.onnxruntime_backend import OnnxRuntimeBackend
from .runtime.parity import EdgeError, relative_error, replay
from .runtime.video_predictor import VideoPredictor

MASK_AGREEMENT = {"fp32": 0.999, "fp16": 0.99, "int8": 0.97}
"""Share of low-resolution mask pixels that must agree when the whole clip is tracked again, by precision."""


@dataclass(frozen=True)
class ClipAgreement:
    """The clip tracked again from its frames and prompts: worst share of equal mask pixels, the share that is asked
    for, worst logit error.
    """

    answers: int
    agreement: float
    tolerance: float
    error: float

    @property
    def passed(self) -> bool:
        """Whether the masks are the same."""
        return self.agreement >= self.tolerance


@dataclass(frozen=True)
class Verification:
    """Errors per output port of the portable graphs, and by variant the clip as a whole."""

    edges: list[EdgeError]
    clips: dict[str, ClipAgreement]

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


def verify(bundle: Bundle, device: str = "cpu") -> Verification:
    """Replay every recorded call on `device`, and track the clip from its prompts.

    Raises:
        BundleError: the bundle or its vectors cannot be used.
        DeviceError: the device is not to be had.
    """
    vectors = open_vectors(bundle)
    backend = OnnxRuntimeBackend(device)
    variants = [variant for variant in backend.variants if variant in bundle.manifest.variants]

    def calls() -> Iterator[tuple[str, dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]]:
        for graph, inputs, outputs in vectors.calls():
            yield graph, _arrays(inputs), _arrays(outputs)

    edges: list[EdgeError] = []
    clips = {}
    for variant in variants or [None]:  # None: says what is missing
        networks = Networks.open(bundle, device, backend=backend, variant=variant)
        if networks.variant == PORTABLE:
            edges = replay(bundle.graphs_of(PORTABLE), networks.runners, calls(), precision_of(PORTABLE))
        clips[networks.variant] = _track_again(networks, vectors)
    return Verification(edges, clips)


def _arrays(tensors: dict[str, StoredTensor]) -> dict[str, NDArray[np.float32]]:
    return {port: array(tensor) for port, tensor in tensors.items()}


def _track_again(networks: Networks, vectors: Vectors) -> ClipAgreement:
    """Act out the recorded script and compare each answer with the recorded one."""
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
            agreement = min(agreement, float(np.mean((low_res > 0) == (output.low_res > 0))))
            error = max(error, relative_error(output.low_res, low_res, 1.0))
            answers += 1

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
    return ClipAgreement(answers, agreement, MASK_AGREEMENT[precision_of(networks.variant)], error)
