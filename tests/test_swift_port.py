"""The Swift host of `docs/swift`, compiled and run: against a bundle's vectors, and against the Python one."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_networks import FakeModel, numbered_frame, numbered_frames
from numpy.typing import NDArray
from swift_wire import HOST, PACKAGE, Found, HostError, SwiftHost, swift

from etam_onnx.graphs.manifest import Rules
from etam_onnx.runtime.frame_result import FrameResult
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.preprocess import video_input
from etam_onnx.runtime.tracker import Tracker
from etam_onnx.runtime.video_predictor import VideoPredictor

pytestmark = pytest.mark.skipif(shutil.which("swift") is None, reason="needs a Swift toolchain (`swift`) on the PATH")

LOGIT_ERROR = 1e-5  # measured 0 but after a mask prompt, there 9.5e-7


@pytest.fixture(scope="module")
def host_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host that speaks through pipes, built outside the checkout."""
    return built(HOST, tmp_path_factory.mktemp("swift-host"))


def steadied(networks: Networks) -> Networks:
    """The same with decoders that read earlier logits in steps of 2**-14, because fakes answer to every bit of them and
    the two hosts sum a mask prompt's logits in another order; and with other rules than the usual ones.
    """
    decode = networks.runners["mask_decoder"]

    def steady(**inputs: Any) -> dict[str, Any]:
        return decode(**{**inputs, "mask_input": np.round(inputs["mask_input"] * 2**14) / np.float32(2**14)})

    rules = Rules(1.0, -512.0, 0.04, 0.8, 6.0, 16.0, -8.0, 0.25, -5.0)
    manifest = replace(networks.manifest, rules=rules)
    return replace(networks, manifest=manifest, runners={**networks.runners, "mask_decoder": steady})


def built(package: Path, scratch: Path) -> Path:
    done = subprocess.run(swift("build", package, scratch), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning:" not in done.stdout + done.stderr, done.stdout + done.stderr
    return scratch


@pytest.fixture
def started(host_build: Path, tmp_path: Path) -> Iterator[Callable[[FakeModel], SwiftHost]]:
    """Starts hosts on fakes, and ends them."""
    hosts: list[SwiftHost] = []

    def start(fake: FakeModel) -> SwiftHost:
        networks = steadied(fake.networks())
        (tmp_path / "manifest.json").write_text(networks.manifest.to_json(), encoding="utf-8")
        hosts.append(SwiftHost(host_build, tmp_path, networks))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


def assert_same(answers: list[Found], result: FrameResult) -> None:
    assert [answer.obj_id for answer in answers] == result.ids.tolist()
    assert [answer.lost for answer in answers] == result.lost.tolist()
    np.testing.assert_array_equal([answer.presence for answer in answers], result.presence)
    np.testing.assert_array_equal(np.asarray([answer.iou for answer in answers], np.float32), result.iou)
    for answer, low_res in zip(answers, result.low_res, strict=True):
        np.testing.assert_allclose(answer.low_res, low_res, rtol=0, atol=LOGIT_ERROR)


def some_prompt(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("click", "clicks", "box", "both", "mask"))
    if kind == "mask":
        mask = np.zeros((48, 80), np.uint8)
        mask[rng.randrange(40) :, rng.randrange(70) :] = 1 if rng.random() < 0.8 else 0
        return {"mask": mask}
    x, y = rng.randrange(60), rng.randrange(30)
    prompt: dict[str, Any] = {"box": [x, y, x + 20, y + 15]} if kind in ("box", "both") else {}
    if kind != "box":
        count = 3 if kind == "clicks" else 1
        points = [(rng.uniform(0, 80), rng.uniform(0, 48)) for _ in range(count)]
        prompt |= {"points": points, "labels": [1, 0, 1][:count]}
    return prompt


def test_the_script_of_the_vectors_is_acted_out_on_the_recorded_calls(small_bundle: Path, tmp_path: Path) -> None:
    scratch = built(PACKAGE, tmp_path)
    command = swift("run", PACKAGE, scratch, "--skip-build", "etam-check", str(small_bundle))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = re.fullmatch(
        r"answers 30, pixels agreeing 1\.0, largest error (\S+)\ncalls asked for: 57 of 63, 0 repeatedly\n", done.stdout
    )
    assert report is not None, done.stdout
    assert float(report[1]) < 1e-6  # measured 9.5e-8, and 0 for etam-nano


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_is_tracked_as_in_python(started: Callable[[FakeModel], SwiftHost], seed: int) -> None:
    """Random prompts, objects that vanish, more prompted frames than are remembered, removed objects."""
    rng, count = random.Random(seed), 60
    ours, theirs = FakeModel(prompted_frames=3), FakeModel(prompted_frames=3)
    absent = set(rng.sample(range(count), 6))
    for fake in (ours, theirs):
        fake.absent, fake.hole, fake.unstable = absent, True, seed % 2 == 1
    host, tracker = started(ours), Tracker(steadied(theirs.networks()), fill_hole_area=3)
    host.answers("stream", numbers={"fill": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more prompted frames than fit, as intended
        for index in range(count):
            assert_same(host.step(numbered_frame(index)), tracker.step(numbered_frame(index)))
            banks = [track.bank for track in tracker._tracks.values()]
            entries = [entry for bank in banks for entry in (*bank.prompted.values(), *bank.recent.values())]
            assert host.numbers == {"frames": len(entries), "memories": sum(e.memory is not None for e in entries)}
            for _ in range(rng.choice((0, 0, 0, 1, 2)) if index else 2):
                name, prompt = rng.randint(1, 3), some_prompt(rng)
                assert_same(host.prompt(name, **prompt), tracker.prompt(name, **prompt))
            if rng.random() < 0.05 and tracker.object_ids:
                name = rng.choice(tracker.object_ids)
                host.answers("remove", numbers={"object": name})
                tracker.remove(name)
    assert [type(call) for call in ours.calls] == [type(call) for call in theirs.calls]


@pytest.mark.parametrize(
    ("seed", "options", "numbers"),
    [
        (0, {}, {}),
        (1, {"fill_hole_area": 3}, {"fill": 3}),
        (2, {"max_cond_frames_in_attn": 2, "clear_non_cond_mem_around_input": True}, {"prompted": 2, "around": 1}),
        (3, {"max_cond_frames_in_attn": 1}, {"prompted": 1}),
        (4, {"release_passed_frames": True}, {"release": 1}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_a_video_is_tracked_as_in_python(
    started: Callable[[FakeModel], SwiftHost], seed: int, options: dict[str, Any], numbers: dict[str, int]
) -> None:
    """Prompts anywhere, corrections, removed objects, propagation forward and backward from anywhere."""
    rng, count = random.Random(seed), 40
    ours, theirs = FakeModel(prompted_frames=3), FakeModel(prompted_frames=3)
    for fake in (ours, theirs):
        fake.absent, fake.hole = set(range(2, count, 9)), True
    frames = numbered_frames(count)
    host, predictor = started(ours), VideoPredictor(steadied(theirs.networks()), **options)
    host.open_video(frames, **numbers)
    state = predictor.init_state(frames)

    def compare(frame: int, answers: list[Found]) -> None:
        outputs = {obj_id: track.output(frame) for obj_id, track in state.objects.items()}
        assert [answer.obj_id for answer in answers] == [obj_id for obj_id, output in outputs.items() if output]
        for answer in answers:
            output = outputs[answer.obj_id]
            assert output is not None
            assert (answer.presence, np.float32(answer.iou)) == (output.presence, np.float32(output.iou))
            np.testing.assert_allclose(answer.low_res, output.low_res, rtol=0, atol=LOGIT_ERROR)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more prompted frames than fit, as intended
        for _ in range(8):
            for _ in range(rng.choice((1, 2))):
                frame, name, prompt = rng.randrange(count), rng.randint(1, 3), some_prompt(rng)
                add = predictor.add_new_mask if "mask" in prompt else predictor.add_new_points_or_box
                add(state, frame, name, **prompt)
                compare(frame, host.prompt(name, frame=frame, **prompt))
            if len(state.obj_ids) > 1 and rng.random() < 0.15:
                name = rng.choice(state.obj_ids)
                host.answers("remove", numbers={"object": name, "video": 1})
                predictor.remove_object(state, name)
            start, most, reverse = rng.choice((None, rng.randrange(count))), rng.randrange(20), rng.random() < 0.4
            wanted = {"most": most, "reverse": int(reverse)} | ({} if start is None else {"start": start})
            expected = predictor.results_in_video(state, start, most, reverse)
            for (number, answers), result in zip(host.propagate(**wanted), expected, strict=True):
                assert number == result.frame
                assert_same(answers, result)
                banks = [track.bank for track in state.objects.values()]
                entries = [entry for bank in banks for entry in (*bank.prompted.values(), *bank.recent.values())]
                held = {"frames": len(entries), "memories": sum(e.memory is not None for e in entries)}
                assert options.get("release_passed_frames") or {**host.numbers, "frame": 0} == {**held, "frame": 0}
    assert [type(call) for call in ours.calls] == [type(call) for call in theirs.calls]


class Balanced(FakeModel):
    """Of the single mask exactly four fifths of the pixels that may be inside are inside for sure."""

    def _mask_decoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = super()._mask_decoder(inputs)
        outputs["mask_logits"][0, 0] = -8
        outputs["mask_logits"][0, 0].flat[:50] = [8] * 40 + [0] * 10
        return outputs


def test_a_mask_on_the_threshold_is_stable(started: Callable[[FakeModel], SwiftHost]) -> None:
    """0.8 is more in single precision."""
    host, tracker = started(Balanced()), Tracker(steadied(Balanced().networks()))
    for tool in (host, tracker):
        tool.step(numbered_frame(0))
    prompt: dict[str, Any] = {"points": [(40, 24), (10, 10)], "labels": [1, 0]}
    answers, result = host.prompt(1, **prompt), tracker.prompt(1, **prompt)
    assert result.low_res.max() == 8 and np.count_nonzero(result.low_res == 8) == 40
    assert_same(answers, result)


@pytest.mark.parametrize(("height", "width", "size"), [(120, 160, 96), (48, 80, 128), (271, 83, 64), (64, 64, 64)])
def test_frames_are_resized_to_the_last_bit(
    started: Callable[[FakeModel], SwiftHost], height: int, width: int, size: int
) -> None:
    host = started(FakeModel())
    frame: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    ((_, tensors, _),) = host.command("squeeze", frame, numbers={"width": width, "height": height, "size": size})
    np.testing.assert_array_equal(tensors["image"], video_input(frame, size))


@pytest.mark.parametrize("disjoint", [False, True])
def test_masks_have_the_size_of_the_frame(started: Callable[[FakeModel], SwiftHost], disjoint: bool) -> None:
    ours, theirs = FakeModel(), FakeModel()
    host, tracker = started(ours), Tracker(steadied(theirs.networks()), non_overlap_masks=disjoint)
    for tool in (host, tracker):
        tool.step(numbered_frame(0))
        tool.prompt(1, points=[(40, 24)], labels=[1])
        result = tool.prompt(2, box=[30, 10, 60, 40])
    ((_, _, data),) = host.command("masks", numbers={"width": 80, "height": 48})
    plain, apart = np.frombuffer(data, np.uint8).reshape(2, 2, 48, 80)
    assert isinstance(result, FrameResult)
    np.testing.assert_array_equal(apart if disjoint else plain, result.masks)
    assert (plain[0] & plain[1]).any() and not (apart[0] & apart[1]).any()


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ({"points": [(81, 4)], "labels": [1]}, "lies outside the frame of 80 x 48 pixels"),
        ({"points": [(1, 4)], "labels": [7]}, "labels are among"),
        ({"points": [(1, 4)], "labels": [1, 0]}, "1 points need as many labels, found 2"),
        ({"box": [20, 4, 10, 8]}, "a box needs x0 < x1 and y0 < y1"),
        ({"points": []}, "a prompt needs points with labels, a box, or a mask"),
        ({"points": [(1, 4)] * 6, "labels": [1] * 6}, "a frame takes at most 5 points"),
        ({"mask": np.ones((48, 79), np.uint8)}, "a mask of a 80 x 48 frame has as many values, found 3792"),
    ],
    ids=str,
)
def test_a_bad_prompt_is_refused_in_a_sentence(
    started: Callable[[FakeModel], SwiftHost], prompt: dict[str, Any], sentence: str
) -> None:
    host = started(FakeModel())
    with pytest.raises(HostError, match="there is no frame to prompt on yet"):
        host.prompt(1, points=[(1, 1)], labels=[1])
    host.step(numbered_frame(0))
    with pytest.raises(HostError, match=sentence):
        host.prompt(1, **prompt)
    assert host.step(numbered_frame(1)) == []
