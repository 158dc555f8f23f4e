"""`etam-onnx bench` on the shipped bundle: complete, consistent, in turns; and every request that cannot be served."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from etam_onnx import Bundle
from etam_onnx.benchmark import trial
from etam_onnx.benchmark.clip import drawn_clip
from etam_onnx.benchmark.contender import Contender, open_networks, packaged_checkpoint
from etam_onnx.benchmark.machine import processor
from etam_onnx.benchmark.mkl import check_unlockable
from etam_onnx.benchmark.rounds import measure
from etam_onnx.benchmark.start_up import start_up
from etam_onnx.benchmark.worker import Work
from etam_onnx.cli.main import main
from etam_onnx.runtime.frames import open_video

APART = 7  # frames of etam-nano with fewer memories than all later ones
FRAMES, ROUNDS = APART + 1, 2
HELD_BY_THE_CALLER = 1_000_000_000


@dataclass(frozen=True)
class Bench:
    """What a run printed and wrote."""

    text: str
    result: dict[str, Any]

    def run(self, contender: str, objects: int) -> dict[str, Any]:
        (found,) = [run for run in self.result["runs"] if (run["contender"], run["objects"]) == (contender, objects)]
        return dict(found)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """ONNX Runtime tracks one and two objects, while the calling process holds more memory than that needs."""
    held = np.ones(HELD_BY_THE_CALLER // 8)
    options = ["--objects", "1", "2", "--frames", str(FRAMES), "--rounds", str(ROUNDS), "--fill-holes", "4"]
    done = run_bench(tmp_path_factory.mktemp("bench"), *options)
    assert held.nbytes == HELD_BY_THE_CALLER
    return done


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The graphs beside those in PyTorch, and where MKL can be told to take its fast path, once more with that."""
    options = ["--objects", "1", "--frames", str(FRAMES), "--rounds", "1", "--graphs-only", "--size", "428x240"]
    options += ["--threads", "1"]
    if can_be_unlocked():
        options.append("--mkl-fast")
    return run_bench(tmp_path_factory.mktemp("compared"), *options, "--against", "torch")


def can_be_unlocked() -> bool:
    try:
        check_unlockable(processor()["vendor"])
    except ValueError:
        return False
    return True


def run_bench(folder: Path, *options: str) -> Bench:
    """Run the command in this process; fresh processes are started once instead of three times."""
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as printed:
        patch.setattr(trial, "START_UPS", 1)
        lines: list[str] = []
        printed.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        code = main(["bench", *options, "--json", str(folder / "out.json")])
    text = "\n".join(lines)
    assert code == 0, text
    return Bench(text, json.loads((folder / "out.json").read_text()))


def test_every_graph_and_every_part_is_in_the_tables(bench: Bench) -> None:
    graphs = set(open_networks(contender()).runners)
    for objects in (1, 2):
        run = bench.run("onnxruntime", objects)
        assert set(run["graphs"]) == graphs
        named = {"decode", "resize", "fill holes", "upsample", "draw", "encode"}
        assert set(run["around"]) | set(run["beside"]) == named
        assert {"decode", "resize", "fill holes", "upsample"} <= set(run["around"])
    rows = {line.split("  ")[0] for line in bench.text.splitlines()}
    assert graphs | {"graphs", "the rest", "around the graphs", "frame"} <= rows
    assert {"onnxruntime, 1 object", "onnxruntime, 2 objects"} <= rows


def test_the_head_says_what_ran_where(bench: Bench) -> None:
    machine, work = bench.result["machine"], bench.result["work"]
    assert processor()["model"] in bench.text
    assert f"onnxruntime {machine['versions']['onnxruntime']}" in bench.text
    assert (work["frames"], work["rounds"], work["frames_apart"]) == (FRAMES, ROUNDS, APART)
    (ours,) = bench.result["contenders"]
    assert ours["facts"]["provider"] == "CPUExecutionProvider"
    assert "CPUExecutionProvider" in ours["facts"]["providers_available"]
    assert f"variant {ours['facts']['variant']}, " in bench.text
    assert ours["threads"] >= 1


def test_parts_add_up_to_at_most_the_whole(bench: Bench) -> None:
    for run in bench.result["runs"]:
        parts = [*run["graphs"].values(), *run["around"].values()]
        whole = run["frame"]["mean_ms"]
        named = sum(part["mean_ms"] for part in parts)
        assert 0.5 * whole < named <= whole
        assert sum(part["share_percent"] for part in parts) == pytest.approx(100 * named / whole)
        together = run["graphs_together"]
        assert together["mean_ms"] == pytest.approx(sum(part["mean_ms"] for part in run["graphs"].values()))
        assert together["share_percent"] + run["around_together"]["share_percent"] == pytest.approx(100)
        first = together["first_frame_ms"] + run["around_together"]["first_frame_ms"]
        assert first == pytest.approx(run["first_frame_ms"])


def test_rounds_hold_every_frame(bench: Bench) -> None:
    for run in bench.result["runs"]:
        assert len(run["rounds"]) == ROUNDS
        assert run["frame"]["count"] == ROUNDS * (FRAMES - APART)
        assert run["frame"]["fastest_ms"] <= run["frame"]["median_ms"] <= run["frame"]["p95_ms"]
        assert run["first_frame_ms"] == run["rounds"][0]["frames_ms"][0]
        for entry in run["rounds"]:
            assert len(entry["frames_ms"]) == len(entry["graphs_ms"]) == FRAMES
            assert sum(entry["frames_ms"]) + entry["finish_ms"] == pytest.approx(1000 * entry["duration_s"])
            assert entry["frames_per_second"] == pytest.approx(FRAMES / entry["duration_s"])
        median = run["frame"]["median_ms"]
        assert median == pytest.approx(np.median([entry["frames_ms"][APART:] for entry in run["rounds"]]))


def test_graphs_run_as_often_as_there_are_objects(bench: Bench) -> None:
    for objects in (1, 2):
        graphs = bench.run("onnxruntime", objects)["graphs"]
        assert graphs["image_encoder"]["calls"] == ROUNDS * FRAMES
        assert graphs["image_encoder"]["calls_per_frame"] == 1
        assert graphs["memory_encoder"]["calls_per_frame"] == objects
        # The one memory after the prompted frame has a graph of its own, which no frame that counts needs.
        assert graphs["memory_attention_1"]["calls"] == ROUNDS * objects
        assert graphs["memory_attention_1"]["calls_per_frame"] == 0
        assert graphs["memory_attention_1"]["call_median_ms"] > 0
        assert graphs["memory_attention_7"]["calls_per_frame"] == objects


def test_memory_is_that_of_the_process_alone(bench: Bench) -> None:
    """Measured: 285 MB with one object."""
    for run in bench.result["runs"]:
        assert 100 < run["peak_memory_mb"] < HELD_BY_THE_CALLER / 1e6


def test_a_fresh_process_reaches_a_first_mask(bench: Bench) -> None:
    (entry,) = bench.result["start_up"]
    first = entry["first"]
    assert first == entry["median"]
    assert first["load_s"] + first["first_mask_s"] == pytest.approx(first["import_to_first_mask_s"])
    assert 0 < first["import_to_first_mask_s"] < first["process_s"]
    assert "import to first mask s" in bench.text


def test_graphs_only_takes_turns_by_frame(compared: Bench) -> None:
    names = [entry["name"] for entry in compared.result["contenders"]]
    assert names == ["onnxruntime", "torch", "torch, MKL fast"][: 3 if can_be_unlocked() else 2]
    assert {entry["threads"] for entry in compared.result["contenders"]} == {1}
    assert ", 1 thread; " in compared.text
    turns = compared.result["turns"]
    assert [(turn["contender"], turn["frames"]) for turn in turns] == [(name, 1) for name in names] * FRAMES
    times = [time for turn in turns for time in (turn["begun_s"], turn["ended_s"])]
    assert times == sorted(times)
    assert compared.result["start_up"] == []
    for name in names:
        run = compared.run(name, 1)
        assert set(run["around"]) == {"resize", "upsample"}
        assert "frames_per_second" not in run
        assert run["graphs"]["memory_attention_7"]["calls_per_frame"] == 1


def test_comparisons_are_those_of_the_numbers(compared: Bench) -> None:
    ours = compared.run("onnxruntime", 1)
    assert [ratio["slower"] for ratio in compared.result["ratios"]] == ["torch", "torch, MKL fast"][
        : 2 if can_be_unlocked() else 1
    ]
    for ratio in compared.result["ratios"]:
        theirs = compared.run(ratio["slower"], 1)
        assert ratio["frame"] == pytest.approx(theirs["frame"]["median_ms"] / ours["frame"]["median_ms"])
        assert ratio["frame_by_round"] == pytest.approx([ratio["frame"]])
        assert f"takes {ratio['frame']:.2f} times as long" in compared.text


def test_mkl_finds_its_fast_path_where_it_can_be_told_to(compared: Bench) -> None:
    torch = compared.result["contenders"][1]["facts"]
    assert f"PyTorch {torch['torch']}" in compared.text
    if torch["mkl"] is not None:
        assert ("on its slow path" in compared.text) == torch["mkl"]["slow"]
    if can_be_unlocked():
        assert not compared.result["contenders"][2]["facts"]["mkl"]["slow"]
        assert "on its fast path" in compared.text
    else:
        assert failure(["--against", "torch", "--mkl-fast"]).startswith("--mkl-fast ")


def test_whole_rounds_go_forwards_and_backwards(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path, (320, 180), 2)
    work = Work(str(clip.path), [[80.0, 60.0, 200.0, 150.0]], 2, 2, 0, str(tmp_path / "out.mp4"))
    measured, turns = measure([(contender(name=name), work, {}) for name in "ab"], rounds=2)
    assert [(turn.round, turn.contender, turn.frames) for turn in turns] == [
        (0, "a", 2),
        (0, "b", 2),
        (1, "b", 2),
        (1, "a", 2),
    ]
    assert [[len(round_.frames) for round_ in one.rounds] for one in measured] == [[2, 2], [2, 2]]
    with open_video(tmp_path / "out.mp4") as written:
        assert (len(written), written.size) == (2, (320, 180))
    started = start_up(contender(name="torch", backend="torch"), clip, {})
    assert 0 < started.first_mask < started.total < started.process


def contender(**changes: object) -> Contender:
    settings = {
        "name": "any",
        "backend": "onnxruntime",
        "bundle": "etam-nano",
        "variant": None,
        "checkpoint": str(packaged_checkpoint(Bundle.open())),
        "device": "cpu",
        "threads": 1,
    }
    return Contender.from_json({**settings, **changes})


@pytest.mark.usefixtures("one_thread")
def test_half_precision_is_another_computation_of_the_same() -> None:
    """Measured: 7.4e-3 of the largest feature."""
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 384, 384)).astype(np.float32)
    found = []
    for precision in ("fp32", "bf16"):
        networks = open_networks(contender(backend="torch", precision=precision))
        found.append(networks.runners["image_encoder"](image=image)["features"].float().numpy())
    error = np.abs(found[0] - found[1]).max() / np.abs(found[0]).max()
    assert 1e-4 < error < 5e-2


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_pytorch_computes_the_same() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 384, 384)).astype(np.float32)
    eager, compiled = (
        open_networks(contender(backend="torch", compiled=compiled)).runners["image_encoder"](image=image)["features"]
        for compiled in (False, True)
    )
    assert float((eager - compiled).abs().max() / eager.abs().max()) < 1e-5


def failure(options: list[str]) -> str:
    """The one sentence with which a request fails."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        assert main(["bench", *options]) == 1
    (line,) = lines
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["no-such-bundle"], "there is no bundle 'no-such-bundle'"),
        (["--variant", "coreml"], "has no variant 'coreml', it has ["),
        (["--objects", "0"], "--objects takes numbers of at least 1, found 0"),
        (["--frames", "0"], "--frames should be at least 1, found 0"),
        (["--frames", "7"], "--frames should be at least 8: the first 7 have fewer memories"),
        (["--frames", "109"], "has 108 frames, and --frames asks for 109"),
        (["--rounds", "-1"], "--rounds should be at least 1, found -1"),
        (["--threads", "0"], "--threads should be at least 1, found 0"),
        (["--turn", "0"], "--turn should be at least 1, found 0"),
        (["--fill-holes", "-1"], "--fill-holes must not be negative, found -1"),
        (["--size", "853x480"], "--size takes even numbers of at least 64 as in 1920x1080, found '853x480'"),
        (["--size", "large"], "--size takes even numbers"),
        (["--size", "854x480", "--video", "x.mp4"], "a --video keeps its own size"),
        (["--video", "no-such-file.mp4"], "there is no file or folder no-such-file.mp4"),
        (["--json", "no-such-folder/out.json"], "there is no folder no-such-folder to write out.json into"),
        (["--json", "."], ". is a folder; name a file to write"),
        (["--checkpoint", "x.pt"], "--checkpoint is about PyTorch and needs --against torch"),
        (["--mkl-fast"], "--mkl-fast is about PyTorch and needs --against torch"),
        (["--compiled"], "--compiled is about PyTorch and needs --against torch"),
        (["--against", "torch", "--checkpoint", "no.pt"], "there is no checkpoint at no.pt"),
        (["--against", "torch", "--mkl-fast", "--device", "cuda"], "--mkl-fast is about the CPU"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence_before_any_work(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in failure(options)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_a_sentence() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("needs a machine without CUDA, and this one has it")
    assert failure(["--device", "cuda", "--frames", "8"]).startswith("onnxruntime: device 'cuda' needs ")


def test_a_run_that_fails_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"not a checkpoint")
    options = ["--against", "torch", "--checkpoint", str(tmp_path / "w.pt"), "--json", str(tmp_path / "out.json")]
    assert "w.pt is not a PyTorch checkpoint" in failure([*options, "--frames", "8", "--rounds", "1"])
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_a_bundle_of_other_weights_asks_for_them(tmp_path: Path) -> None:
    shutil.copytree(Bundle.open().root, tmp_path / "mine")
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    manifest["source"]["checkpoint_sha256"] = "0" * 64
    (tmp_path / "mine" / "manifest.json").write_text(json.dumps(manifest))
    words = failure([str(tmp_path / "mine"), "--against", "torch"])
    assert words.endswith("does not come with this installation: name it with --checkpoint FILE")
