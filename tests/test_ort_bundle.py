"""A whole session on both variants of a bundle on ONNX Runtime: the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="exports a bundle")
pytest.importorskip("onnx", reason="exports a bundle")
pytest.importorskip("onnxruntime", reason="runs a bundle")

from etam_onnx import Bundle, ImagePredictor, Tracker, VideoPredictor
from etam_onnx.graphs.errors import BundleError
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.segmenter import Prediction

KINDS = ("full", "pooled_score_bias", "pooled_key_constant")
HEIGHT, WIDTH, FRAMES = 90, 120, 10
LOGITS, SMALL = 1e-5, 2e-6
"""Largest errors: of logits against the largest of their mask (measured 1.2e-6); of pointers, presence, predicted IoU
(measured 2.4e-7)."""


def frames() -> list[NDArray[np.uint8]]:
    """A bright square that crosses a textured ground."""
    rng = np.random.default_rng(3)
    ground = rng.integers(30, 170, (HEIGHT, WIDTH, 3), np.uint8)
    shown = []
    for index in range(FRAMES):
        frame = ground.copy()
        frame[30:60, 10 + 6 * index : 40 + 6 * index] = (220, 180, 60)
        shown.append(frame)
    return shown


def session(networks: Networks) -> list[tuple[int, int, Prediction]]:
    """Several objects, one of them absent; forward, a correction and an object that comes later, backward, again."""
    predictor = VideoPredictor(networks)
    state = predictor.init_state(frames())
    answers: list[tuple[int, int, Prediction]] = []

    def note(frame: int) -> None:
        for name, track in state.objects.items():
            output = track.output(frame)
            if output is not None:
                answers.append((frame, name, output))

    def propagate(start: int | None = None, reverse: bool = False) -> None:
        for frame, _, _ in predictor.propagate_in_video(state, start, reverse=reverse):
            note(frame)

    predictor.add_new_points_or_box(state, 3, 1, [[40, 45]], [1])
    predictor.add_new_points_or_box(state, 3, 2, box=[24, 28, 62, 64])
    square = np.zeros((HEIGHT, WIDTH), bool)
    square[30:60, 28:58] = True
    predictor.add_new_mask(state, 3, 3, square)
    predictor.add_new_mask(state, 3, 4, np.zeros((HEIGHT, WIDTH), bool))
    note(3)
    propagate()
    predictor.add_new_points_or_box(state, 6, 1, [[60, 45], [100, 10]], [1, 0])
    predictor.add_new_points_or_box(state, 6, 5, [[20, 80]], [1])
    note(6)
    propagate(6, reverse=True)
    propagate(2)
    return answers


def worst(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_gets_the_same_answers_on_both_variants(kind: str, small_bundles: Callable[[str], Path]) -> None:
    portable, ort = (session(Networks.open(small_bundles(kind), variant=v)) for v in ("portable", "ort"))
    assert [answer[:2] for answer in ort] == [answer[:2] for answer in portable]
    assert len(ort) > 80
    assert {prediction.presence > 0 for _, _, prediction in portable} == {True, False}
    for (frame, name, found), (_, _, expected) in zip(ort, portable, strict=True):
        assert worst(found.low_res, expected.low_res) < LOGITS, (frame, name)
        assert worst(found.pointer, expected.pointer) < SMALL, (frame, name)
        assert (found.presence, found.iou) == pytest.approx((expected.presence, expected.iou), abs=SMALL)
        close = np.abs(expected.low_res) < LOGITS * np.abs(expected.low_res).max()
        np.testing.assert_array_equal((found.low_res > 0)[~close], (expected.low_res > 0)[~close])


def test_a_stream_saved_on_one_variant_goes_on_with_the_other(small_bundle: Path, tmp_path: Path) -> None:
    shown = frames()
    for saved, restored in (("ort", "portable"), ("portable", "ort")):
        tracker = Tracker(Networks.open(small_bundle, variant=saved))
        for index in range(6):
            tracker.step(shown[index])
            if index in (0, 3):
                tracker.prompt(index, points=[[25 + 6 * index, 45]], labels=[1])
        tracker.save(tmp_path / saved)
        other = Tracker.restore(tmp_path / saved, bundle=Networks.open(small_bundle, variant=restored))
        for frame in shown[6:]:
            found, expected = other.step(frame), tracker.step(frame)
            assert found.ids.tolist() == expected.ids.tolist() == [0, 3]
            assert worst(found.logits, expected.logits) < LOGITS


def test_a_memory_of_another_size_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    tracker = Tracker(small_bundle)
    tracker.step(frames()[0])
    tracker.prompt(1, points=[[25, 45]], labels=[1])
    tracker.step(frames()[1])
    tracker.save(tmp_path / "saved")
    with np.load(tmp_path / "saved") as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["0/prompted/0/memory"] = arrays["0/prompted/0/memory"][:, 1:]
    with (tmp_path / "saved").open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    with pytest.raises(ValueError, match=r"saved does not fit this bundle: a saved memory has the shape \(1, 35, 16\)"):
        Tracker.restore(tmp_path / "saved")


def test_an_image_gets_the_same_masks(small_bundle: Path) -> None:
    answers = []
    for variant in ("portable", "ort"):
        predictor = ImagePredictor(Networks.open(small_bundle, variant=variant))
        predictor.set_image(frames()[4])
        first = predictor.predict([[50, 45]], [1], return_logits=True)
        answers.append([*first, *predictor.predict(mask_input=first[2][0], multimask_output=False, return_logits=True)])
    for found, expected in zip(answers[1], answers[0], strict=True):
        assert worst(found, expected) < LOGITS


def test_the_best_variant_is_chosen_or_the_one_asked_for(small_bundle: Path) -> None:
    assert Networks.open(small_bundle).variant == "ort"
    networks = Networks.open(small_bundle, variant="portable")
    assert (networks.variant, set(networks.runners)) == (
        "portable",
        set(Bundle.open(small_bundle).graphs_of("portable")),
    )
    with pytest.raises(BundleError, match=r"has the variants \['ort', 'portable'\], .*, the one asked for is 'coreml'"):
        Networks.open(small_bundle, variant="coreml")
