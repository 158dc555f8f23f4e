"""The `ort` graphs as PyTorch modules: graph by graph and over a clip they are the plain model."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx", reason="conversion imports it")

from small_model import small_config, small_model  # noqa: E402

from etam_onnx.conversion.ort.deployment import deployment_of  # noqa: E402
from etam_onnx.conversion.ort.eager import eager_networks  # noqa: E402
from etam_onnx.conversion.ort.reference import ort_calls  # noqa: E402
from etam_onnx.conversion.ort.wrappers import ort_graph  # noqa: E402
from etam_onnx.conversion.scenario import play, record  # noqa: E402
from etam_onnx.graphs.contract import memory_attention_name  # noqa: E402
from etam_onnx.graphs.ort_contract import ort_contract  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.runtime.parity import relative_error, replay  # noqa: E402
from etam_onnx.torch_backend import torch_networks  # noqa: E402

KINDS = ("full", "pooled_score_bias", "pooled_key_constant")


@pytest.mark.parametrize("kind", KINDS)
def test_modules_are_the_plain_model_graph_by_graph_and_over_a_clip(kind: str) -> None:
    model = small_model(kind)  # type: ignore[arg-type]
    geometry = geometry_of(model.config)
    deployment, reference = deployment_of(model.config, geometry), torch_networks(model, geometry)
    frames, calls, results = record(reference)
    eager, graphs = eager_networks(model, geometry, deployment), ort_contract(geometry, deployment)
    translated = ort_calls(model, reference, deployment, calls)
    for call in translated:
        for name, value in (*call.inputs.items(), *call.outputs.items()):
            shapes = {port.name: port.shape for port in (*graphs[call.graph].inputs, *graphs[call.graph].outputs)}
            assert (value.shape, value.dtype) == (shapes[name], np.float32), (call.graph, name)
    errors = replay(graphs, eager.runners, ((c.graph, c.inputs, c.outputs) for c in translated), "fp32")
    assert {(e.graph, e.port) for e in errors} == {(g.name, port.name) for g in graphs.values() for port in g.outputs}
    assert max(error.error for error in errors) < 5e-6, errors  # measured 2.2e-6, of the plain model's single precision

    answers = play(eager, frames)
    assert len(answers) == len(results) >= 15
    for found, expected in zip(answers, results, strict=True):
        assert (found.frame, found.obj_id) == (expected.frame, expected.obj_id)
        np.testing.assert_array_equal(found.low_res > 0, expected.low_res > 0)
        assert relative_error(found.low_res, expected.low_res, 1.0) < 8e-6  # measured 8.7e-7


def test_every_graph_is_called_with_all_its_slots_and_with_all_but_one() -> None:
    model = small_model()
    geometry = geometry_of(model.config)
    deployment, reference = deployment_of(model.config, geometry), torch_networks(model, geometry)
    _, calls, _ = record(reference)
    used: dict[str, set[int]] = {}
    for call in ort_calls(model, reference, deployment, calls):
        if "memory_row" in call.inputs:
            used.setdefault(call.graph, set()).add(int(call.inputs["memory_row"].sum()))
    wanted = {1: {1}, 2: {2}, 4: {3, 4}, 7: {6, 7}, 14: {13, 14}}
    assert {
        name: counts >= wanted[slots] for slots in wanted if (counts := used[(name := memory_attention_name(slots))])
    }
    assert set(used) == {memory_attention_name(slots) for slots in deployment.memory_counts}


def test_modules_take_the_ports_in_order() -> None:
    model = small_model()
    geometry = geometry_of(model.config)
    deployment = deployment_of(model.config, geometry)
    for name, graph in ort_contract(geometry, deployment).items():
        parameters = list(inspect.signature(ort_graph(model, geometry, deployment, name).forward).parameters.values())
        named = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
        assert named == [port.name for port in graph.inputs][: len(named)]
        assert len(named) == len(graph.inputs) or len(named) == len(parameters) - 1, "memory attention: then the rest"
    with pytest.raises(ValueError, match="no graph is called 'tracked'"):
        ort_graph(model, geometry, deployment, "tracked")


def test_the_deployment_of_a_model() -> None:
    config = small_config()
    assert deployment_of(config, geometry_of(config)).memory_counts == (1, 2, 4, 7, 14)
    deployment = deployment_of(config, geometry_of(config, prompted_frames=1))
    assert (deployment.layers, deployment.pool, deployment.memory_counts) == (2, 2, (1, 2, 4, 7))
    assert deployment_of(config, geometry_of(config), ()).memory_counts == (1, 14)
    assert deployment_of(config, geometry_of(config), (3, 99, 3)).memory_counts == (1, 3, 14)
    assert deployment_of(small_config("full"), geometry_of(config)).pool == 1
