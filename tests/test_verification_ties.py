"""A clip tracked again where another of the decoder's masks is chosen: what `verify` makes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from etam_onnx import Bundle, verification
from etam_onnx.candidates import OtherCandidate, RecordedCandidates
from etam_onnx.cli.main import main
from etam_onnx.runtime.onnxruntime_backend import OnnxRuntimeBackend
from etam_onnx.verification import array, open_vectors, verify

FRAME, OBJECT = 2, 1
"""The last prompt of the script: object 1 corrected on frame 2, looked at twice."""


@pytest.fixture(scope="module")
def bundle(small_bundle: Path) -> Bundle:
    return Bundle.open(small_bundle)


@dataclass
class Device:
    """ONNX Runtime whose predicted IoUs for one prompt are off: less for `best`, more for `other`, by `error`.

    From which call of the decoder on: that of the replay or that of the clip.
    """

    points: Any
    best: int
    other: int
    error: float
    since: int = 0
    inner: OnnxRuntimeBackend = field(default_factory=lambda: OnnxRuntimeBackend("cpu", 1))
    variants: tuple[str, ...] = ("portable",)
    calls: int = 0

    def load(self, graph: Any, path: Path) -> Any:
        run = self.inner.load(graph, path)
        if graph.name != "mask_decoder":
            return run

        def decoder(**inputs: Any) -> dict[str, Any]:
            outputs = run(**inputs)
            self.calls += 1
            if self.calls > self.since and np.array_equal(inputs["points"], self.points):
                iou = outputs["iou"].copy()
                iou[0, self.best] -= self.error
                iou[0, self.other] += self.error
                outputs = {**outputs, "iou": iou}
            return outputs

        return decoder

    def place(self, value: Any) -> Any:
        return self.inner.place(value)


def last_prompt(bundle: Bundle) -> tuple[Any, Any, Any]:
    """The points of the last prompt, its masks and predicted IoUs."""
    calls = [call for call in open_vectors(bundle).calls() if call[0] == "mask_decoder"]
    _, inputs, outputs = [call for call in calls if array(call[1]["points"]).any()][-1]
    return array(inputs["points"]), array(outputs["mask_logits"])[0], array(outputs["iou"])[0]


@pytest.fixture
def device(bundle: Bundle) -> Device:
    """Off by a little more than half of what lies between the best two masks."""
    points, _, ious = last_prompt(bundle)
    _, other, best = 1 + np.argsort(ious[1:])
    assert 0.001 < ious[best] - ious[other] < 0.05
    return Device(points, int(best), int(other), float(ious[best] - ious[other]) * 0.51)


def test_a_tie_is_compared_with_the_mask_that_was_chosen(
    bundle: Bundle, device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clip agrees then, what is tracked from that answer too; that predicted IoUs are off is said of the calls."""
    monkeypatch.setattr(verification, "device_of", lambda name: device)
    assert main(["verify", str(bundle.root), "--variant", "portable"]) == 1
    *calls, _, clip, other = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in calls if line.endswith("FAILED")] == ["iou"]
    assert (
        re.search(r"(100\.000|99\.9[0-9]+) % of mask pixels equal at worst \(99.9 asked for\)", clip)
        and "FAIL" not in clip
    )
    _, masks, ious = last_prompt(bundle)
    assert np.mean((masks[device.best] > 0) == (masks[device.other] > 0)) < 0.8, "the masks are not much alike"
    assert other == (
        f"  object {OBJECT} on frame {FRAME}: mask {device.other} in place of mask {device.best}, "
        f"predicted IoU {ious[device.other]:.4f} and {ious[device.best]:.4f} in the recorded run: a tie, "
        f"this variant's are within {device.error:.1e} in the recorded calls; "
        f"100.000 % of pixels equal to mask {device.other}"
    )


def test_an_error_that_recorded_calls_do_not_show_is_no_tie(
    bundle: Bundle, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.since = sum(graph == "mask_decoder" for graph, _, _ in open_vectors(bundle).calls())
    monkeypatch.setattr(verification, "device_of", lambda name: device)
    outcome = verify(bundle, variant="portable")
    assert all(edge.passed for edge in outcome.edges) and not outcome.passed
    clip = outcome.clips["portable"]
    _, masks, _ = last_prompt(bundle)
    assert clip.agreement == pytest.approx(np.mean((masks[device.best] > 0) == (masks[device.other] > 0)), abs=0.01)
    assert clip.iou_error < 1e-5 and len(clip.others) == 2, "the script looks twice"
    for other in clip.others:
        assert (other.frame, other.obj_id) == (FRAME, OBJECT)
        assert (other.recorded, other.found) == (device.best, device.other)
        assert other.agreement > 0.999 and not other.tie(clip.iou_error) and other.tie(device.error)


def test_what_is_no_other_candidate(bundle: Bundle) -> None:
    """The same mask, a mask that was never offered, an answer that no candidate was chosen for."""
    candidates = RecordedCandidates(open_vectors(bundle))
    _, masks, ious = last_prompt(bundle)
    foreign = np.indices(masks[1].shape).sum(0) % 2 - np.float32(0.5)
    assert candidates.other(0, 1, masks[1], masks[1] * 1.01, 0.9) is None
    assert candidates.other(0, 1, masks[1], foreign, 0.9) is None
    assert candidates.other(0, 1, foreign, masks[1], 0.9) is None
    found = candidates.other(4, 7, masks[1], masks[0] * 1.01, 0.9)
    assert found is not None and found[1] is not None and np.array_equal(found[1], masks[0])
    assert found[0] == OtherCandidate(4, 7, 1, 0, (float(ious[1]), float(ious[0])), 1.0)


def test_only_what_errors_explain_is_a_tie() -> None:
    between = OtherCandidate(0, 1, recorded=1, found=3, ious=(0.75, 0.5), agreement=1.0)
    assert between.tie(0.125) and not between.tie(0.124)
    assert not replace(between, ious=(0.5, 0.75)).tie(1.0), "the recorded run would have chosen the other one"
    assert not replace(between, found=0).tie(1.0), "its stability decides about the single mask"
