"""`etam-onnx bench` on the shipped bundle: complete, consistent, in turns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
pytest.importorskip("onnx")

from etam_onnx import Bundle
from etam_onnx.benchmark import trial
from etam_onnx.benchmark.clip import drawn_clip
from etam_onnx.benchmark.contender import Contender, best_variant, open_networks, packaged_checkpoint
from etam_onnx.benchmark.machine import processor
from etam_onnx.benchmark.mkl import check_unlockable
from etam_onnx.benchmark.rounds import measure
from etam_onnx.benchmark.start_up import start_up
from etam_onnx.benchmark.worker import Work
from etam_onnx.cli.bench import trial_of
from etam_onnx.cli.main import build_parser, main
from etam_onnx.conversion.matrix_products import CHAINS
from etam_onnx.graphs.variants import precision_of
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


VARIANTS = ("ort", "portable")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two variants and their floor beside PyTorch, and where MKL can be told to take its fast path, that once more."""
    options = ["--objects", "1", "--frames", str(FRAMES), "--rounds", "1", "--graphs-only", "--size", "428x240"]
    options += ["--threads", "1", "--variant", *VARIANTS, "--floor"]
    if can_be_unlocked():
        options.append("--mkl-fast")
    return run_bench(tmp_path_factory.mktemp("compared"), *options, "--against", "torch")


def pytorch() -> list[str]:
    """The contenders in PyTorch of `compared`."""
    return ["torch", "torch, MKL fast"][: 2 if can_be_unlocked() else 1]


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
    best = best_variant(Bundle.open(), "cpu")
    assert best is not None
    assert (ours["variant"], ours["precision"]) == (best, precision_of(best))
    assert f"onnxruntime: variant {best}, {precision_of(best)}; ONNX Runtime " in bench.text
    assert bench.result["floor"] is None
    assert "times floor" not in bench.text
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
    assert names == [*VARIANTS, *pytorch()]
    assert [entry["variant"] for entry in compared.result["contenders"]] == [*VARIANTS, *[None] * len(pytorch())]
    assert {entry["threads"] for entry in compared.result["contenders"]} == {1}
    assert ", 1 thread; " in compared.text
    turns = compared.result["turns"]
    everyone = [*names, "matrix products"]
    assert [(turn["contender"], turn["frames"]) for turn in turns] == [(name, 1) for name in everyone] * FRAMES
    times = [time for turn in turns for time in (turn["begun_s"], turn["ended_s"])]
    assert times == sorted(times)
    assert compared.result["start_up"] == []
    for name in names:
        run = compared.run(name, 1)
        assert set(run["around"]) == {"resize", "upsample"}
        assert "frames_per_second" not in run
        assert run["graphs"]["memory_attention_7"]["calls_per_frame"] == 1


def test_comparisons_are_those_of_the_numbers(compared: Bench) -> None:
    pairs = [(theirs, ours) for theirs in pytorch() for ours in VARIANTS]
    found = compared.result["ratios"]
    assert [(ratio["time_of"], ratio["by_time_of"]) for ratio in found] == [*pairs, VARIANTS]
    for ratio in found:
        one, other = compared.run(ratio["time_of"], 1), compared.run(ratio["by_time_of"], 1)
        assert ratio["frame"] == pytest.approx(one["frame"]["median_ms"] / other["frame"]["median_ms"])
        assert ratio["frame_by_round"] == pytest.approx([ratio["frame"]])
        row = next(
            line
            for line in compared.text.splitlines()
            if line.startswith(f"{ratio['time_of']} / {ratio['by_time_of']} ")
        )
        assert row.split("  ")[-1].strip() == f"{ratio['graphs']:.2f}"


def test_the_floor_is_the_arithmetic_at_the_speed_of_products(compared: Bench) -> None:
    (speed,) = compared.result["floor"]["speeds"]
    assert (speed["objects"], speed["threads"]) == (1, 1)
    assert speed["gflop_per_s"] == max(speed["gflop_per_s_by_shape"].values()) > 1
    assert speed["fastest_gflop_per_s"] >= speed["gflop_per_s"]
    assert f"the floor is at {speed['gflop_per_s']:.1f}, the fastest single call" in compared.text
    rows = compared.text.splitlines()
    for variant in VARIANTS:
        run, counts = compared.run(variant, 1), compared.result["floor"]["counts"][variant]
        assert set(run["graphs"]) == set(counts)
        for name, part in run["graphs"].items():
            assert part["gflop"] == pytest.approx(2e-9 * counts[name]["multiply_adds"])
            assert part["gflop_in_integers"] == 0
            assert part["floor_ms"] == pytest.approx(1000 * part["gflop"] / speed["gflop_per_s"])
            if part["calls"]:
                assert part["gflop_per_s"] == pytest.approx(1000 * part["gflop"] / part["call_median_ms"])
                assert part["times_floor"] == pytest.approx(part["call_median_ms"] / part["floor_ms"])
                row = next(
                    row
                    for row in rows
                    if row.startswith(f"{name} ") and row.split()[2] == f"{part['call_median_ms']:.2f}"
                )
                assert row.split()[-3:] == [
                    f"{part['gflop']:.3f}",
                    f"{part['gflop_per_s']:.1f}",
                    f"{part['times_floor']:.2f}",
                ]
            else:
                assert part["gflop_per_s"] is part["times_floor"] is None
        together = run["graphs_together"]
        work = sum(part["gflop"] * part["calls_per_frame"] for part in run["graphs"].values())
        assert together["gflop"] == run["frame"]["gflop"] == pytest.approx(work)
        assert together["times_floor"] == pytest.approx(together["median_ms"] / together["floor_ms"])
        assert together["times_floor_by_round"] == pytest.approx([together["times_floor"]])
        assert together["times_floor"] < run["frame"]["times_floor"]
    for name in pytorch():
        assert "gflop" not in compared.run(name, 1)["frame"]


def test_without_a_name_the_variant_that_runs_is_counted() -> None:
    floor = trial_of(build_parser().parse_args(["bench", "--floor"])).floor
    assert floor is not None
    assert list(floor.counts) == [best_variant(Bundle.open(), "cpu")]
    assert [products.name for products in floor.products] == [chain.name for chain in CHAINS]


def test_mkl_finds_its_fast_path_where_it_can_be_told_to(compared: Bench) -> None:
    torch = compared.result["contenders"][len(VARIANTS)]["facts"]
    assert f"PyTorch {torch['torch']}" in compared.text
    if torch["mkl"] is not None:
        assert ("on its slow path" in compared.text) == torch["mkl"]["slow"]
    if can_be_unlocked():
        assert not compared.result["contenders"][-1]["facts"]["mkl"]["slow"]
        assert "on its fast path" in compared.text


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
