"""Saving a tracker and going on from the file."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_networks import Encoded, FakeModel, numbered_frame
from test_tracker import CLICK, CORRECTION, assert_equal, some_prompt

from etam_onnx.runtime.errors import BundleError, StateError
from etam_onnx.runtime.tracker import Tracker


def tracked(fake: FakeModel, folder: Path, frames: int, **options: Any) -> Tracker:
    """A tracker that says it came from `folder`, with two objects and a correction."""
    folder.mkdir(exist_ok=True)
    tracker = Tracker(fake.networks(str(folder)), **options)
    for index in range(frames):
        tracker.step(numbered_frame(index))
        if index == 0:
            tracker.prompt(1, **CLICK)
        if index == 2:
            tracker.prompt(np.int64(-5), mask=np.ones((48, 80)))
            tracker.prompt(1, **CORRECTION)
    return tracker


@pytest.mark.parametrize("frames", [1, 3, 4, 20], ids=["first prompt", "correction", "just after", "long after"])
@pytest.mark.parametrize("options", [{}, {"fill_hole_area": np.int64(3), "non_overlap_masks": True}], ids=str)
def test_the_restored_tracker_goes_on_identically(tmp_path: Path, frames: int, options: dict[str, Any]) -> None:
    fake = FakeModel(prompted_frames=30)
    fake.hole = True
    tracker = tracked(fake, tmp_path / "bundle", frames, **options)
    tracker.save(tmp_path / "saved")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "saved"]
    restored = Tracker.restore(tmp_path / "saved", bundle=tracker.segmenter.networks)
    assert (restored.frame_index, restored.object_ids) == (tracker.frame_index, tracker.object_ids)
    assert (restored.fill_hole_area, restored.non_overlap_masks) == (tracker.fill_hole_area, tracker.non_overlap_masks)
    rng = random.Random(frames)
    for index in range(frames, frames + 12):
        prompt = some_prompt(rng)
        if rng.random() < 0.5:  # also as the first thing after restoring
            assert_equal(restored.prompt(1, **prompt), tracker.prompt(1, **prompt))
        assert_equal(restored.step(numbered_frame(index)), tracker.step(numbered_frame(index)))


def test_restoring_restores_every_number(tmp_path: Path) -> None:
    tracker = tracked(FakeModel(), tmp_path / "bundle", 12)
    tracker.prompt(1, **CLICK)
    tracker.save(str(tmp_path / "saved"))
    restored = Tracker.restore(str(tmp_path / "saved"), bundle=tracker.segmenter.networks)
    for found, wanted in zip(restored._tracks.values(), tracker._tracks.values(), strict=True):
        assert found.bank.rules == wanted.bank.rules
        assert found.tracked == wanted.tracked
        assert list(found.bank.recent) == list(wanted.bank.recent)
        assert list(found.bank.prompted) == list(wanted.bank.prompted)
        for frame, entry in wanted.bank.recent.items():
            assert (found.bank.recent[frame].memory is None) == (entry.memory is None)
            assert found.bank.recent[frame].output.presence == entry.output.presence
        for frame, waiting in wanted.pending.items():
            assert (found.pending[frame].prompted, found.pending[frame].conditioning) == (
                waiting.prompted,
                waiting.conditioning,
            )
            assert found.pending[frame].output.iou == waiting.output.iou
        for frame, points in wanted.points.items():
            np.testing.assert_array_equal(found.points[frame].xy, points.xy)


def test_saving_leaves_the_tracker_as_it_was(tmp_path: Path) -> None:
    saved, other = (tracked(FakeModel(), tmp_path / "bundle", 5) for _ in range(2))
    saved.save(tmp_path / "a")
    saved.save(tmp_path / "a")  # over an older file
    assert_equal(saved.step(numbered_frame(5)), other.step(numbered_frame(5)))


def test_the_frame_is_saved_as_it_was_given(tmp_path: Path) -> None:
    fake = FakeModel()
    tracker, buffer = Tracker(fake.networks(str(tmp_path))), numbered_frame(4)
    tracker.step(buffer)
    buffer[:] = 9  # a camera that reuses its buffer
    tracker.save(tmp_path / "saved")
    Tracker.restore(tmp_path / "saved", bundle=tracker.segmenter.networks)
    assert [call.frame for call in fake.called(Encoded)] == [4, 4]


def test_an_empty_tracker_can_be_saved(tmp_path: Path) -> None:
    networks = FakeModel().networks(str(tmp_path))
    Tracker(networks).save(tmp_path / "saved")
    restored = Tracker.restore(tmp_path / "saved", bundle=networks)
    assert (restored.frame_index, restored.object_ids) == (-1, [])
    with pytest.raises(StateError, match="no frame to prompt on"):
        restored.prompt(1, **CLICK)
    assert restored.step(numbered_frame(0, 9, 9)).frame == 0


@pytest.mark.parametrize("source", ["", "PyTorch model", "/no/such/folder"])
def test_only_a_tracker_of_a_bundle_can_be_saved(tmp_path: Path, source: str) -> None:
    with pytest.raises(StateError, match="opened from a bundle"):
        Tracker(FakeModel().networks(source)).save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_has_moved_must_be_named(tmp_path: Path) -> None:
    tracker = tracked(FakeModel(), tmp_path / "bundle", 2)
    tracker.save(tmp_path / "saved")
    (tmp_path / "bundle").rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=r"there is no bundle '.*bundle'"):
        Tracker.restore(tmp_path / "saved")
    assert Tracker.restore(tmp_path / "saved", bundle=tracker.segmenter.networks).frame_index == 1


def test_the_bundle_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracked(FakeModel(), Path("bundle"), 1).save("saved")
    with np.load("saved") as archive:
        assert json.loads(str(archive["head"]))["bundle"] == str(tmp_path / "bundle")


def test_another_model_is_refused(tmp_path: Path) -> None:
    tracked(FakeModel(), tmp_path / "bundle", 2).save(tmp_path / "saved")
    with pytest.raises(ValueError, match="was saved with the model fake, this bundle holds other"):
        Tracker.restore(tmp_path / "saved", bundle=FakeModel().networks(model="other"))


def test_smaller_capacities_are_respected_after_restoring(tmp_path: Path) -> None:
    large, small = FakeModel(prompted_frames=8), FakeModel(prompted_frames=2)
    small.memories, small.pointers = large.memories, large.pointers
    tracker = Tracker(large.networks(str(tmp_path)))
    for index in range(5):
        tracker.step(numbered_frame(index))
        tracker.prompt(1, **CLICK)
    tracker.save(tmp_path / "saved")
    restored = Tracker.restore(tmp_path / "saved", bundle=small.networks())
    with pytest.warns(UserWarning, match="more than 2 prompted frames"):
        restored.step(numbered_frame(5))
    assert small.attended(5).rows == [(0, 6), (1, 3), (2, 2), (3, 1), (4, 6)]


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no saved tracker at {path}"):
            Tracker.restore(path)


def write_archive(path: Path, head: Any, **arrays: Any) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, head=np.asarray(json.dumps(head)), **arrays)


HEAD = {
    "format": 1,
    "bundle": "x",
    "model": "fake",
    "options": {"fill_hole_area": 0, "non_overlap_masks": False},
    "index": 0,
    "objects": [],
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "reads saved trackers of format 1, found 2"),
        ({"model": None}, "it lacks 'model'"),
        ({"options": {"device": "cuda"}}, r"expected the options \['fill_hole_area', 'non_overlap_masks'\]"),
        ({"objects": [{"id": 1}]}, "it lacks 'fill_hole_area'"),
        ({"index": "last"}, "invalid literal"),
    ],
    ids=str,
)
def test_a_head_that_is_not_ours(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    head = {key: value for key, value in {**HEAD, **change}.items() if value is not None}
    write_archive(tmp_path / "saved", head)
    with pytest.raises(ValueError, match=f"saved is not a saved tracker: .*{sentence}"):
        Tracker.restore(tmp_path / "saved", bundle=FakeModel().networks())


def test_other_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("head.npy", b"not an array")
    contents = [b"", b"garbage", (tmp_path / "array.npy").read_bytes(), (tmp_path / "arrays.npz").read_bytes()]
    for content in [*contents, (tmp_path / "archive.zip").read_bytes()]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a saved tracker: ") as caught:
            Tracker.restore(path)
        assert "\n" not in str(caught.value)
    write_archive(path, HEAD, frame=np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"not a saved tracker: a frame should have the shape \(H, W, 3\)"):
        Tracker.restore(path, bundle=FakeModel().networks())


def test_a_damaged_file_is_refused_or_equal(tmp_path: Path) -> None:
    """Any single changed byte, or a missing end, is noticed, unless it changes nothing that is read."""
    tracker = tracked(FakeModel(), tmp_path / "bundle", 2)
    networks = tracker.segmenter.networks
    tracker.save(tmp_path / "saved")
    expected = tracker.step(numbered_frame(2))
    intact = (tmp_path / "saved").read_bytes()
    rng, refused = random.Random(5), 0
    for trial in range(120):
        damaged = bytearray(intact)
        if trial % 4 == 0:
            damaged = damaged[: rng.randrange(len(intact))]
        else:
            damaged[rng.randrange(len(intact))] ^= 1 << rng.randrange(8)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            restored = Tracker.restore(tmp_path / "damaged", bundle=networks)
        except ValueError as error:
            assert "is not a saved tracker" in str(error)
            refused += 1
        else:
            assert_equal(restored.step(numbered_frame(2)), expected)
    assert refused > 80  # the others hit what no reader looks at, such as times of day


def test_a_failed_save_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracked(FakeModel(), tmp_path / "bundle", 2)
    tracker.save(tmp_path / "saved")
    before = (tmp_path / "saved").read_bytes()

    def full(stream: Any, **_: Any) -> None:
        stream.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="no space left"):
        tracker.save(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "saved"]
