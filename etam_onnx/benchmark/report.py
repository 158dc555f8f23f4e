"""What was measured, as tables for a terminal; reads the values that the JSON file holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .machine import BUSY

PART_HEADER = ("part", "calls/frame", "ms/call", "median ms", "p95 ms", "mean ms", "share %", "first frame ms")
ARITHMETIC = ("GFLOP", "GFLOP/s", "times floor")
RUN_HEADER = (
    "run",
    "objects",
    "frame ms",
    "p95 ms",
    "graphs ms",
    "around %",
    "first frame ms",
    "frames/s",
    "memory MB",
)
FLOOR_HEADER = (
    "floor",
    "objects",
    "GFLOP",
    "floor ms",
    "graphs ms",
    "GFLOP/s",
    "times floor",
    "by round",
    "frame times floor",
)
RATIO_HEADER = ("times as long", "objects", "frame", "by round", "graphs")
START_HEADER = ("start-up", "import to first mask s", "load s", "first mask s", "whole process s", "first time s")


def report(result: dict[str, Any]) -> str:
    """All tables under the description of what was done and where."""
    sections = ["\n".join(described(result))]
    sections += [f"{title(run)}\n{part_table(run)}" for run in result["runs"]]
    sections.append(run_table(result["runs"]))
    if result["floor"] is not None:
        sections.append("\n".join([*_speeds(result["floor"]["speeds"]), floor_table(result["runs"])]))
    if result["start_up"]:
        sections.append(start_table(result["start_up"]))
    if result["ratios"]:
        sections.append(ratio_table(result["ratios"]))
    return "\n\n".join(sections)


def described(result: dict[str, Any]) -> Iterator[str]:
    """The work, the machine, and what ran on it."""
    work, machine = result["work"], result["machine"]
    width, height = work["size"]
    yield (
        f"{work['model']} at {work['image_size']} pixels, {work['clip']} at {width}x{height}, "
        f"{work['frames']} frames in each of {counted(work['rounds'], 'round')}, the first {work['frames_apart']} apart"
        + (", after one that is not counted" if work["rounds_before"] else "")
    )
    cpu = machine["processor"]
    flags = ", ".join(cpu["vector_instructions"]) or "no vector instructions that are known here"
    threads = counted(result["contenders"][0]["threads"], "thread")
    yield f"{cpu['model']} ({flags}), {counted(machine['cores'], 'core')}, {threads}; {machine['system']}"
    yield ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    for contender in result["contenders"]:
        yield f"{contender['name']}: {'; '.join(_facts(contender))}"
    busy = machine["busy_cores_before"]
    if busy is not None and busy > BUSY:
        yield f"note: {busy:.1f} cores were busy in the minute before; what else runs makes these times longer"


def title(run: dict[str, Any]) -> str:
    """Whose parts a table shows."""
    return f"{run['contender']}, {counted(run['objects'], 'object')}"


def part_table(run: dict[str, Any]) -> str:
    """Where a frame's time goes: every graph, what is around them, the whole."""
    counted_rows = [*run["graphs"].items(), ("graphs", run["graphs_together"])]
    rows = [_row(name, part) for name, part in counted_rows]
    rows += [_row(name, part) for name, part in run["around"].items()]
    named = sum(part["mean_ms"] for part in (*run["graphs"].values(), *run["around"].values()))
    rest = run["frame"]["mean_ms"] - named
    rows.append(["the rest", "", "", "", "", f"{rest:.2f}", f"{100 * rest / run['frame']['mean_ms']:.1f}", ""])
    rows.append(_row("around the graphs", run["around_together"]))
    rows.append(_row("frame", {**run["frame"], "share_percent": 100.0, "first_frame_ms": run["first_frame_ms"]}))
    whole = len(rows) - 1
    rows += [
        [f"{name} (own thread)", "", "", "", "", f"{part['mean_ms']:.2f}", f"{part['share_percent']:.1f}", ""]
        for name, part in run["beside"].items()
    ]
    if "gflop" not in run["frame"]:
        return aligned(PART_HEADER, rows)
    against = {number: _arithmetic(part) for number, (_, part) in enumerate(counted_rows)}
    against[whole] = _arithmetic(run["frame"])
    return aligned(
        PART_HEADER + ARITHMETIC, [[*row, *against.get(number, [""] * 3)] for number, row in enumerate(rows)]
    )


def run_table(runs: list[dict[str, Any]]) -> str:
    """One row per contender and number of objects."""
    return aligned(
        RUN_HEADER,
        [
            [
                run["contender"],
                str(run["objects"]),
                f"{run['frame']['median_ms']:.1f}",
                f"{run['frame']['p95_ms']:.1f}",
                f"{run['graphs_together']['median_ms']:.1f}",
                f"{run['around_together']['share_percent']:.1f}",
                f"{run['first_frame_ms']:.1f}",
                f"{run['frames_per_second']:.1f}" if "frames_per_second" in run else "-",
                f"{run['peak_memory_mb']:.0f}",
            ]
            for run in runs
        ],
    )


def floor_table(runs: list[dict[str, Any]]) -> str:
    """One row per variant and number of objects: the graphs of a frame, and at the end the whole frame."""
    rows = []
    for run in runs:
        graphs = run["graphs_together"]
        if "gflop" not in graphs:
            continue
        rows.append(
            [
                run["contender"],
                str(run["objects"]),
                f"{graphs['gflop']:.2f}",
                f"{graphs['floor_ms']:.1f}",
                f"{graphs['median_ms']:.1f}",
                f"{graphs['gflop_per_s']:.1f}",
                f"{graphs['times_floor']:.2f}",
                _between(graphs["times_floor_by_round"]),
                f"{run['frame']['times_floor']:.2f}",
            ]
        )
    return aligned(FLOOR_HEADER, rows)


def ratio_table(ratios: list[dict[str, Any]]) -> str:
    """One row per comparison: of `a / b`, how many times as long a takes as b."""
    return aligned(
        RATIO_HEADER,
        [
            [
                f"{ratio['time_of']} / {ratio['by_time_of']}",
                str(ratio["objects"]),
                f"{ratio['frame']:.2f}",
                _between(ratio["frame_by_round"]),
                f"{ratio['graphs']:.2f}",
            ]
            for ratio in ratios
        ],
    )


def start_table(started: list[dict[str, Any]]) -> str:
    """One row per contender: a fresh process."""
    rows = []
    for entry in started:
        middle = entry["median"]
        names = ("import_to_first_mask_s", "load_s", "first_mask_s", "process_s")
        shown = [f"{middle[name]:.2f}" for name in names] + [f"{entry['first']['import_to_first_mask_s']:.2f}"]
        rows.append([f"{entry['contender']} (median of {entry['count']})", *shown])
    return aligned(START_HEADER, rows)


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = []
    for line in (header, ["-" * width for width in widths], *rows):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _row(name: str, part: dict[str, Any]) -> list[str]:
    calls, single = part.get("calls_per_frame"), part.get("call_median_ms")
    if calls == 0:  # of the frames that count none needs it
        return [name, "0.0", "-" if single is None else f"{single:.2f}", *"----", f"{part['first_frame_ms']:.2f}"]
    return [
        name,
        "" if calls is None else f"{calls:.1f}",
        "" if calls is None else "-" if single is None else f"{single:.2f}",
        *(f"{part[column]:.2f}" for column in ("median_ms", "p95_ms", "mean_ms")),
        f"{part['share_percent']:.1f}",
        f"{part['first_frame_ms']:.2f}",
    ]


def _arithmetic(part: dict[str, Any]) -> list[str]:
    """The last columns of a part whose multiply-adds are known."""
    pace, times = part["gflop_per_s"], part["times_floor"]
    return [
        f"{part['gflop']:.3f}",
        "-" if pace is None else f"{pace:.1f}",
        "-" if times is None else f"{times:.2f}",
    ]


def _between(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _speeds(speeds: list[dict[str, Any]]) -> Iterator[str]:
    for speed in speeds:
        shapes = ", ".join(f"{name} at {pace:.1f}" for name, pace in speed["gflop_per_s_by_shape"].items())
        yield (
            f"beside {counted(speed['objects'], 'object')}, {counted(speed['threads'], 'thread')} of ONNX Runtime "
            f"multiplied float32 matrices {shapes} GFLOP/s; the floor is at {speed['gflop_per_s']:.1f}, "
            f"the fastest single call was at {speed['fastest_gflop_per_s']:.1f}"
        )


def _facts(contender: dict[str, Any]) -> Iterator[str]:
    facts = contender["facts"]
    if contender["backend"] == "onnxruntime":
        yield f"variant {contender['variant']}, {contender['precision']}"
        yield f"ONNX Runtime {facts['onnxruntime']}, {facts['provider']}"
        yield f"available: {', '.join(facts['providers_available'])}"
        return
    yield f"{'compiled' if contender['compiled'] else 'eager'} {contender['precision']} on {contender['device']}"
    yield f"PyTorch {facts['torch']}" + (f" on {facts['gpu']}" if "gpu" in facts else "")
    mkl = facts["mkl"]
    if contender["device"] == "cpu":
        yield "no MKL, or one that says nothing of itself" if mkl is None else _mkl(mkl)


def _mkl(mkl: dict[str, Any]) -> str:
    path = "its slow path" if mkl["slow"] else "its fast path"
    return (
        f"MKL {mkl['version']} on {path}: it says its code is for {mkl['instructions']}, "
        f"and the processor has {mkl['processor']}"
    )
