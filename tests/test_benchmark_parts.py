"""The pieces of the benchmark: clock, summaries, clip, what MKL says, processes, results, tables."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from etam_onnx.benchmark import mkl
from etam_onnx.benchmark.clip import clip_of, drawn_clip
from etam_onnx.benchmark.contender import Contender
from etam_onnx.benchmark.floor import Floor, Products, speed_as_json, with_floor
from etam_onnx.benchmark.machine import cores, machine, processor
from etam_onnx.benchmark.report import floor_table, part_table
from etam_onnx.benchmark.results import ratios, run_as_json
from etam_onnx.benchmark.rounds import Measured, Round, WorkerProcess, measure
from etam_onnx.benchmark.seams import SEAMS, holder
from etam_onnx.benchmark.statistics import Summary
from etam_onnx.benchmark.stopwatch import FrameTimes, Stopwatch
from etam_onnx.benchmark.worker import Work, peak_memory
from etam_onnx.cli.demo_clip import DemoClip
from etam_onnx.conversion.matrix_products import Chain
from etam_onnx.runtime.frames import open_video
from etam_onnx.runtime.side_by_side import SideBySide, on_all_cores

# Recorded from oneMKL 2024.2 on an AMD processor, as it is and with its fast path.
SLOW = (
    "MKL_VERBOSE oneMKL 2024.0 Update 2 Product build 20240605 for Intel(R) 64 architecture Intel(R) Architecture "
    "processors, Lnx 2.60GHz lp64 gnu_thread\nMKL_VERBOSE SGEMM(N,N,64,64,64,0x7ffe5bac9a30) 242.47us NThr:1\n"
)
FAST = (
    "MKL_VERBOSE oneMKL 2024.0 Update 2 Product build 20240605 for Intel(R) 64 architecture Intel(R) Advanced Vector "
    "Extensions 512 (Intel(R) AVX-512) with support of Intel(R) Deep Learning Boost (Intel(R) DL Boost) and bfloat16, "
    "Lnx 2.60GHz lp64 gnu_thread\n"
)


def contender(**changes: object) -> Contender:
    settings = {
        "name": "onnxruntime",
        "backend": "onnxruntime",
        "bundle": "etam-nano",
        "variant": None,
        "checkpoint": None,
        "device": "cpu",
        "threads": 1,
    }
    return Contender.from_json({**settings, **changes})


def work_on(clip: Path) -> Work:
    return Work(str(clip), [[80.0, 60.0, 200.0, 150.0]], frames=2, turn=1, fill_holes=0, output=None, graphs_only=True)


def test_a_part_does_not_count_what_the_parts_in_it_take() -> None:
    stopwatch = Stopwatch()
    inner = stopwatch.timed("inner", lambda: time.sleep(0.03))
    outer = stopwatch.timed("outer", lambda: (time.sleep(0.01), inner(), inner()))
    stopwatch.start()
    outer()
    time.sleep(0.01)
    frame = stopwatch.mark()
    assert frame.calls == {"inner": 2, "outer": 1}
    assert frame.parts["inner"] >= 0.06
    assert 0.01 <= frame.parts["outer"] < 0.06
    assert sum(frame.parts.values()) + 0.01 <= frame.seconds
    assert stopwatch.mark().parts == {}


def test_what_other_threads_do_is_counted_beside_the_frame() -> None:
    stopwatch = Stopwatch()
    decode = stopwatch.timed("decode", lambda: time.sleep(0.02))
    thread = threading.Thread(target=decode)
    stopwatch.start()
    thread.start()
    thread.join()
    frame = stopwatch.mark()
    assert frame.beside["decode"] >= 0.02
    assert frame.parts == frame.calls == {}


def test_objects_side_by_side_share_the_time_of_the_frame() -> None:
    stopwatch = Stopwatch(workers=2)
    graph = stopwatch.timed("graph", lambda: time.sleep(0.03))
    shared = stopwatch.timed("shared", lambda: time.sleep(0.02))

    def work(item: int) -> None:
        graph()
        if item == 0:
            with on_all_cores():
                shared()

    objects = SideBySide(2)
    stopwatch.start()
    objects.each(work, range(3))
    frame = stopwatch.mark()
    assert frame.calls == {"graph": 3, "shared": 1} and frame.beside == {}
    assert 0.06 <= frame.parts["graph"] < 0.075, "two of them at once, each half, and one alone"
    assert frame.parts["shared"] >= 0.02
    assert sum(frame.parts.values()) <= frame.seconds


def test_a_part_that_fails_is_counted_and_waits_for_its_device() -> None:
    waits: list[float] = []

    def fail() -> None:
        raise KeyError("x")

    stopwatch = Stopwatch()
    with pytest.raises(KeyError):
        stopwatch.timed("fails", fail, lambda: waits.append(1))()
    assert len(waits) == 1
    stopwatch.timed("works", lambda: None, lambda: waits.append(1))()
    assert len(waits) == 3
    assert stopwatch.mark().calls == {"fails": 1, "works": 1}


def test_summaries() -> None:
    summary = Summary.of([0.001 * number for number in range(1, 101)])
    assert (summary.count, summary.median_ms, summary.fastest_ms) == (100, 50.5, 1.0)
    assert summary.mean_ms == pytest.approx(50.5)
    assert summary.p95_ms == pytest.approx(95.05)
    with pytest.raises(ValueError, match="no times to summarise"):
        Summary.of([])


@pytest.mark.parametrize(
    ("text", "capability", "slow"),
    [(SLOW, "AVX512", True), (SLOW, "AVX2", True), (SLOW, "DEFAULT", False), (FAST, "AVX512", False)],
)
def test_what_mkl_says_of_itself(text: str, capability: str, slow: bool) -> None:
    path = mkl.read_announcement(text, capability)
    assert path is not None
    assert path.version == "2024.0 Update 2 Product build 20240605"
    assert path.slow is slow
    assert path.instructions.startswith("Intel(R) Ar" if text is SLOW else "Intel(R) Advanced Vector Extensions 512")
    assert mkl.read_announcement("nothing of the kind", capability) is None


def test_unlocking_mkl_says_where_it_cannot_be_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(ValueError, match="on this one MKL takes its fast path anyway"):
        mkl.check_unlockable("GenuineIntel")
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ValueError, match="needs Linux"):
        mkl.check_unlockable("AuthenticAMD")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs a C compiler, and none of cc, gcc, clang is installed"):
        mkl.check_unlockable("AuthenticAMD")
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho out of cheese >&2\nexit 3\n")
    broken.chmod(0o755)
    assert mkl.check_unlockable("AuthenticAMD") == str(broken)
    with pytest.raises(RuntimeError, match="cc failed: out of cheese"):
        mkl.build_unlocking_library(tmp_path, str(broken))


def test_a_library_is_loaded_before_those_that_were_asked_for_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    assert mkl.preloaded(Path("/a.so")) == {"LD_PRELOAD": "/a.so"}
    monkeypatch.setenv("LD_PRELOAD", "/b.so")
    assert mkl.preloaded(Path("/a.so")) == {"LD_PRELOAD": "/a.so:/b.so"}


def test_the_clip_is_the_demo_at_any_size(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path, (428, 240), 2)
    with open_video(clip.path) as video, DemoClip() as demo:
        assert (len(video), video.size, clip.size) == (2, (428, 240), (428, 240))
        drawn = demo[0]
        assert clip.first == pytest.approx([side / 2 for side in demo.box], rel=0.005)
        halved = drawn.reshape(240, 2, 427, 2, 3).mean((1, 3))
        found = video[0][:, :427]
        # Blocks of two rows, and columns that are off by at most one; H.264 keeps the colours within a few steps.
        assert np.abs(found - halved).mean() < 10
    with pytest.raises(ValueError, match="has 108 frames, and --frames asks for 109"):
        drawn_clip(tmp_path, (428, 240), 109)


def test_every_number_of_objects_has_its_boxes(tmp_path: Path) -> None:
    drawn_clip(tmp_path, (320, 180), 3)
    clip = clip_of(tmp_path / "clip.mp4", 3)
    assert clip.first == (320 / 3, 60, 640 / 3, 120)
    for count in (1, 2, 5, 12):
        boxes = clip.boxes(count)
        assert len(set(boxes)) == count
        assert boxes[0] == clip.first
        assert all(0 <= x0 < x1 <= 320 and 0 <= y0 < y1 <= 180 for x0, y0, x1, y1 in boxes)
    with pytest.raises(ValueError, match=r"clip\.mp4 has 3 frames, and --frames asks for 4"):
        clip_of(tmp_path / "clip.mp4", 4)


def test_the_machine_is_named() -> None:
    facts = machine()
    assert facts["processor"] == processor()
    assert facts["processor"]["model"]
    assert facts["cores"] == cores() >= 1
    assert {"python", "numpy"} <= set(facts["versions"])


def test_peak_memory_is_this_process_own() -> None:
    before = peak_memory()
    assert 20e6 < before < 64e9
    held = np.ones(before // 8 + 25_000_000)
    assert peak_memory() >= before + 8 * 25_000_000
    del held


@pytest.mark.parametrize(("name", "module", "function"), SEAMS)
def test_what_is_timed_exists(name: str, module: str, function: str) -> None:
    where, attribute = holder(module, function)
    assert callable(getattr(where, attribute))


def test_a_contender_survives_the_way_to_its_process() -> None:
    asked = contender(name="torch", backend="torch", checkpoint="w.pt", mkl_fast=True)
    assert Contender.from_json(asked.as_json()) == asked


def test_a_process_that_cannot_load_says_why_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^onnxruntime: there is no bundle '/nowhere': "):
        WorkerProcess(contender(bundle="/nowhere"), work_on(tmp_path / "clip.mp4"), {})
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(RuntimeError, match=r"^onnxruntime: .*clip\.mp4"):
        measure([(contender(), work_on(tmp_path / "clip.mp4"), {})], rounds=1)


def test_a_process_that_dies_is_reported(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path, (320, 180), 2)
    with WorkerProcess(contender(), work_on(clip.path), {}) as worker:
        assert "memory_encoder" in worker.measured.facts["graphs"]
        first = worker.ask({"do": "round"})
        assert [set(frame["calls"]) >= {"image_encoder", "mask_decoder"} for frame in first["frames"]] == [True]
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="the process that ran onnxruntime was ended by SIGKILL"):
            worker.ask({"do": "round"})


def test_products_take_their_turns_like_the_others(tmp_path: Path) -> None:
    files = []
    for chain in (Chain(4, 3, 8, 2), Chain(6, 5, 5, 1)):
        (tmp_path / f"{chain.name}.onnx").write_bytes(chain.model().SerializeToString())
        files.append([chain.name, str(tmp_path / f"{chain.name}.onnx")])
    work = replace(work_on(tmp_path / "no clip"), products=files)
    pair = [(contender(name=name, backend="products"), work, {}) for name in "ab"]
    done, turns = measure(pair, rounds=1)
    assert [(turn.contender, turn.frames) for turn in turns] == [("a", 1), ("b", 1)] * 2
    for one in done:
        (round_,) = one.rounds
        for frame in round_.frames:
            assert set(frame.parts) == {"(4, 3) x (3, 8)", "(6, 5) x (5, 5)"}
            assert 0 < sum(frame.parts.values()) <= frame.seconds
    files[0][1] = str(tmp_path / "none.onnx")
    with pytest.raises(RuntimeError, match=r"^a: .*none\.onnx cannot be loaded by ONNX Runtime"):
        measure(pair[:1], rounds=1)


def measured(name: str, pace: float) -> Measured:
    """Two rounds of four frames, in which graph `a` runs on all frames and graph `b` on the first ones only."""

    def frame(seconds: float, second_graph: bool) -> FrameTimes:
        calls = {"a": 2, "decode": 1} | ({"b": 1} if second_graph else {})
        parts = {"a": 0.5 * seconds, "decode": 0.1 * seconds} | ({"b": 0.2 * seconds} if second_graph else {})
        return FrameTimes(seconds, parts, calls, {"encode": 0.3 * seconds})

    rounds = [
        Round([frame(pace * seconds, index < 2) for index, seconds in enumerate(four)], FrameTimes(pace * 0.1))
        for four in ((0.8, 0.4, 0.1, 0.2), (0.5, 0.4, 0.1, 0.4))
    ]
    backend = "torch" if name.startswith("torch") else "onnxruntime"
    return Measured(contender(name=name, backend=backend), {"graphs": ["a", "b", "never"]}, rounds, 123_000_000)


def test_results() -> None:
    run = run_as_json(measured("onnxruntime", 1), objects=2, apart=2, graphs_only=False)
    assert (run["frame"]["count"], run["frame"]["median_ms"]) == (4, pytest.approx(150))
    assert run["first_frame_ms"] == pytest.approx(800)
    assert run["graphs"]["a"]["median_ms"] == pytest.approx(75)
    assert run["graphs"]["a"]["calls_per_frame"] == 2
    assert run["graphs"]["a"]["call_median_ms"] == pytest.approx(100)  # of all eight frames
    assert run["graphs"]["b"]["calls_per_frame"] == 0
    assert run["graphs"]["b"]["call_median_ms"] == pytest.approx(90)
    assert (run["graphs"]["never"]["calls"], run["graphs"]["never"]["call_median_ms"]) == (0, None)
    assert run["graphs_together"]["share_percent"] == pytest.approx(50)
    assert run["around_together"]["share_percent"] == pytest.approx(50)
    assert run["around"]["decode"]["share_percent"] == pytest.approx(10)
    assert run["beside"] == {"encode": {"mean_ms": pytest.approx(60), "share_percent": pytest.approx(30)}}
    assert [entry["duration_s"] for entry in run["rounds"]] == pytest.approx([1.6, 1.5])
    assert run["frames_per_second"] == pytest.approx((4 / 1.6 + 4 / 1.5) / 2)
    assert run["peak_memory_mb"] == 123
    assert "frames_per_second" not in run_as_json(measured("onnxruntime", 1), 2, 2, graphs_only=True)
    later = run_as_json(measured("onnxruntime", 1), objects=2, apart=2, graphs_only=False, unmeasured=1)
    assert (later["frame"]["count"], later["frame"]["median_ms"]) == (2, pytest.approx(250))
    assert later["first_frame_ms"] == pytest.approx(800)  # of the round that is not counted
    assert later["graphs"]["a"]["first_frame_ms"] == pytest.approx(400)
    assert [entry["duration_s"] for entry in later["rounds"]] == pytest.approx([1.5])
    slower = run_as_json(measured("torch", 3), objects=2, apart=2, graphs_only=False)
    (ratio,) = ratios([run, slower])
    assert (ratio["time_of"], ratio["by_time_of"]) == ("torch", "onnxruntime")
    assert [ratio["frame"], ratio["graphs"], *ratio["frame_by_round"]] == pytest.approx([3] * 4)


def test_every_run_in_pytorch_is_compared_with_every_variant() -> None:
    paces = {"ort": 2, "ort-int8": 1, "torch": 6, "torch, MKL fast": 3}
    runs = [
        run_as_json(measured(name, pace * objects), objects=objects, apart=2, graphs_only=True)
        for objects in (1, 5)
        for name, pace in paces.items()
    ]
    found = [(ratio["time_of"], ratio["by_time_of"], round(ratio["frame"], 6)) for ratio in ratios(runs)]
    assert found == 2 * [
        ("torch", "ort", 3),
        ("torch", "ort-int8", 6),
        ("torch, MKL fast", "ort", 1.5),
        ("torch, MKL fast", "ort-int8", 3),
        ("ort", "ort-int8", 2),
    ]


def test_the_floor_of_a_run() -> None:
    """Graph `a` runs twice a frame, 150 ms in all at the median, and graph `b` on no frame that counts."""
    run = run_as_json(measured("ort-int8", 1), objects=2, apart=2, graphs_only=True)
    products = Products("wide", 10**9, b""), Products("small", 10**8, b"")
    rounds = [
        Round([FrameTimes(1.0, {"wide": wide, "small": 0.01}) for wide in seconds], FrameTimes(0.0))
        for seconds in ((0.2, 0.4, 0.1), (0.04, 0.05, 0.2))
    ]
    counts = {
        name: {"multiply_adds": count, "in_integers": count // 2, "by_operator": {}}
        for name, count in (("a", 10**8), ("b", 10**9), ("never", 0))
    }
    beside = Measured(contender(name="matrix products", backend="products"), {}, rounds)
    speed = speed_as_json(Floor(products, {}), beside, objects=2)
    assert speed["gflop_per_s_by_shape"] == {"wide": pytest.approx(2 / 0.15), "small": pytest.approx(20)}
    assert speed["gflop_per_s"] == pytest.approx(20)
    assert speed["gflop_per_s_by_round"] == pytest.approx([20, 40])  # the small ones, then the wide ones in 0.05 s
    assert speed["fastest_gflop_per_s"] == pytest.approx(50)
    found = with_floor(run, counts, speed)
    a, b, never = (found["graphs"][name] for name in ("a", "b", "never"))
    assert (a["gflop"], a["gflop_in_integers"]) == (pytest.approx(0.2), pytest.approx(0.1))
    assert (a["floor_ms"], a["times_floor"]) == (pytest.approx(10), pytest.approx(10))  # 100 ms a call
    assert b["gflop_per_s"] == pytest.approx(2 / 0.09)
    assert never["gflop_per_s"] is never["times_floor"] is None
    together, frame = found["graphs_together"], found["frame"]
    assert (together["gflop"], together["floor_ms"]) == (pytest.approx(0.4), pytest.approx(20))
    assert together["times_floor"] == pytest.approx(75 / 20)
    assert together["times_floor_by_round"] == pytest.approx([75 / 20, 125 / 10])
    assert frame["times_floor"] == pytest.approx(150 / 20)
    assert found["graphs"]["a"]["median_ms"] == run["graphs"]["a"]["median_ms"]
    header, _, *rows = part_table(found).splitlines()
    assert header.endswith("  GFLOP  GFLOP/s  times floor")
    cells = {row.split("  ")[0]: row.split() for row in rows}
    assert cells["a"][-3:] == ["0.200", "2.0", "10.00"]
    assert cells["never"][-3:] == ["0.000", "-", "-"]
    assert cells["graphs"][-3:] == ["0.400", "5.3", "3.75"]
    assert cells["frame"][-3:] == ["0.400", "2.7", "7.50"]
    (row,) = floor_table([found, run]).splitlines()[2:]
    assert row.split() == ["ort-int8", "2", "0.40", "20.0", "75.0", "5.3", "3.75", "3.75", "to", "12.50", "7.50"]


def test_the_table_of_parts() -> None:
    run = run_as_json(measured("onnxruntime", 1), objects=2, apart=2, graphs_only=False)
    header, _, *rows = part_table(run).splitlines()
    assert header.split("  ")[0] == "part"
    cells = {row.split("  ")[0]: row.split() for row in rows}
    assert list(cells) == [
        "a",
        "b",
        "never",
        "graphs",
        "decode",
        "the rest",
        "around the graphs",
        "frame",
        "encode (own thread)",
    ]
    assert cells["a"][1:4] == ["2.0", "100.00", "75.00"]
    assert cells["b"] == ["b", "0.0", "90.00", "-", "-", "-", "-", "160.00"]
    assert cells["never"][1:3] == ["0.0", "-"]
    assert cells["the rest"][-2:] == ["80.00", "40.0"]
    assert cells["around the graphs"][-2] == "50.0"
    assert cells["frame"][-2:] == ["100.0", "800.00"]
    assert cells["encode (own thread)"][-2:] == ["60.00", "30.0"]
