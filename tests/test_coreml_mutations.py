"""Planted faults: each one in the program of a graph is refused, fails, or shows in the outputs of recorded inputs."""

from __future__ import annotations

from collections import Counter

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

from coreml_faults import Fault, faults, moves_all_scores_alike  # noqa: E402
from coreml_graphs import GRAPHS, calls_of, package  # noqa: E402

from etam_onnx.conversion.coreml.interpreter import Interpreter, ProgramError, read_package  # noqa: E402
from etam_onnx.runtime.parity import relative_error  # noqa: E402

TOLERANCE = 1e-5
"""That of single precision; without a fault the errors are at most 1.0e-6."""
EVERY = {"image_encoder": 2, "memory_attention_1": 4, "mask_decoder": 5, "memory_encoder": 2}
"""Of how many faults one is planted by default; the slow test plants all."""


def shows(fault: Fault, graph: str) -> str:
    """How a fault comes to light: "refused" with a sentence, or "seen" in the numbers; "" if it does not."""
    try:
        interpreter = Interpreter(fault.package)
        for _, inputs, expected in calls_of(graph):
            found = interpreter(**inputs)
            for port in GRAPHS[graph].outputs:
                if not relative_error(found[port.name], expected[port.name], port.unit) <= TOLERANCE:
                    return "seen"
    except ProgramError:
        return "refused"
    return ""


def plant(graph: str, every: int) -> Counter[str]:
    """How many faults came to light in which way; none may stay hidden that means something."""
    converted = read_package(package(graph, "iOS17", "fp32"))
    outcomes: Counter[str] = Counter()
    missed = []
    for fault in [*faults(converted)][::every]:
        outcome = shows(fault, graph)
        if not outcome and moves_all_scores_alike(converted.function(), fault.operation):
            outcome = "means nothing"
        if not outcome:
            missed.append(f"{fault.what} ({fault.operation.name})")
        outcomes[outcome] += 1
    assert missed == []
    assert outcomes["seen"] > outcomes["refused"] > outcomes["means nothing"]
    return outcomes


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("graph", EVERY)
def test_planted_faults_come_to_light(graph: str) -> None:
    assert plant(graph, EVERY[graph]).total() > 75


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_planted_fault_comes_to_light(graph: str) -> None:
    assert plant(graph, 1).total() > 150


@pytest.mark.parametrize("graph", EVERY)
def test_every_operator_gets_a_fault(graph: str) -> None:
    converted = read_package(package(graph, "iOS17", "fp32"))
    tried = {fault.operation.kind for fault in faults(converted)}
    assert set(converted.function().histogram()) - tried <= {"reshape"}, "a wrong shape is always refused"
