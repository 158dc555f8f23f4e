"""What was measured, as tables for a terminal; reads the values that the JSON file holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .machine import BUSY

PART_HEADER = ("part", "calls/frame", "ms/call", "median ms", "p95 ms", "mean ms", "share %", "first frame ms")
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
START_HEADER = ("start-up", "import to first mask s", "load s", "first mask s", "whole process s", "first time s")


def report(result: dict[str, Any]) -> str:
    """All tables under the description of what was done and where."""
    sections = ["\n".join(described(result))]
    sections += [f"{title(run)}\n{part_table(run)}" for run in result["runs"]]
    sections.append(run_table(result["runs"]))
    if result["start_up"]:
        sections.append(start_table(result["start_up"]))
    if result["ratios"]:
        sections.append("\n".join(compared(result["ratios"])))
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
    rows = [_row(name, part) for name, part in run["graphs"].items()]
    rows.append(_row("graphs", run["graphs_together"]))
    rows += [_row(name, part) for name, part in run["around"].items()]
    named = sum(part["mean_ms"] for part in (*run["graphs"].values(), *run["around"].values()))
    rest = run["frame"]["mean_ms"] - named
    rows.append(["the rest", "", "", "", "", f"{rest:.2f}", f"{100 * rest / run['frame']['mean_ms']:.1f}", ""])
    rows.append(_row("around the graphs", run["around_together"]))
    rows.append(_row("frame", {**run["frame"], "share_percent": 100.0, "first_frame_ms": run["first_frame_ms"]}))
    rows += [
        [f"{name} (own thread)", "", "", "", "", f"{part['mean_ms']:.2f}", f"{part['share_percent']:.1f}", ""]
        for name, part in run["beside"].items()
    ]
    return aligned(PART_HEADER, rows)


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


def start_table(started: list[dict[str, Any]]) -> str:
    """One row per contender: a fresh process."""
    rows = []
    for entry in started:
        middle = entry["median"]
        names = ("import_to_first_mask_s", "load_s", "first_mask_s", "process_s")
        shown = [f"{middle[name]:.2f}" for name in names] + [f"{entry['first']['import_to_first_mask_s']:.2f}"]
        rows.append([f"{entry['contender']} (median of {entry['count']})", *shown])
    return aligned(START_HEADER, rows)


def compared(ratios: list[dict[str, Any]]) -> Iterator[str]:
    """A sentence per comparison."""
    for ratio in ratios:
        low, high = min(ratio["frame_by_round"]), max(ratio["frame_by_round"])
        yield (
            f"{counted(ratio['objects'], 'object')}: a frame of {ratio['slower']} takes {ratio['frame']:.2f} times as "
            f"long as one of {ratio['faster']} ({low:.2f} to {high:.2f} by round), the graphs {ratio['graphs']:.2f}"
        )


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


def _facts(contender: dict[str, Any]) -> Iterator[str]:
    facts = contender["facts"]
    if contender["backend"] == "onnxruntime":
        yield f"variant {facts['variant']}, ONNX Runtime {facts['onnxruntime']}, {facts['provider']}"
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
