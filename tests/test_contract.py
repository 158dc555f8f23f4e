"""The contract: every shape follows from the geometry, and a wrong geometry is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_networks import tiny_geometry

from etam_onnx.graphs.contract import Geometry, Graph, Port, as_dict, contract, memory_attention_name

PUBLISHED = Geometry(512, 16, 256, 64, 6, 15, 8, 16)


def shapes(ports: tuple[Port, ...]) -> dict[str, tuple[int, ...]]:
    return {port.name: port.shape for port in ports}


def test_the_published_geometry() -> None:
    g = PUBLISHED
    assert (g.grid, g.tokens, g.mask_size, g.pointer_slots, g.temporal_rows) == (32, 1024, 128, 23, 7)
    assert g.memory_counts == (1, 7, 14)
    assert Geometry.from_dict(g.as_dict()) == g
    assert json.loads(json.dumps(g.as_dict())) == g.as_dict()


def test_one_memory_has_a_graph_of_its_own_whatever_the_capacity() -> None:
    assert tiny_geometry(prompted_frames=1).memory_counts == (1, 7)
    assert tiny_geometry(recent_memories=1, prompted_frames=1).memory_counts == (1, 2)


def test_the_graphs_and_their_shapes() -> None:
    graphs = contract(PUBLISHED)
    assert list(graphs) == [
        "image_encoder",
        "memory_attention_1",
        "memory_attention_7",
        "memory_attention_14",
        "mask_decoder",
        "memory_encoder",
    ]
    features = (1, 256, 32, 32)
    assert shapes(graphs["image_encoder"].inputs) == {"image": (1, 3, 512, 512)}
    assert set(shapes(graphs["image_encoder"].outputs).values()) == {features}
    for slots in (1, 7, 14):
        attention = graphs[memory_attention_name(slots)]
        assert shapes(attention.inputs) == {
            "features": features,
            **{f"memory_{slot:02d}": (1, 1024, 64) for slot in range(slots)},
            "memory_row": (slots, 7),
            "pointers": (23, 256),
            "pointer_used": (23, 1),
        }
        assert shapes(attention.outputs) == {"fused": features}
    assert shapes(graphs["mask_decoder"].inputs) == {
        "features": features,
        "points": (1, 16, 2),
        "point_label": (1, 16, 5),
        "mask_input": (1, 1, 128, 128),
        "mask_used": (1,),
    }
    assert shapes(graphs["mask_decoder"].outputs) == {
        "mask_logits": (1, 4, 128, 128),
        "iou": (1, 4),
        "mask_pointers": (4, 256),
        "presence": (1,),
    }
    assert shapes(graphs["memory_encoder"].inputs) == {
        "features": features,
        "mask_logits": (1, 1, 128, 128),
        "binarize": (1,),
    }
    assert shapes(graphs["memory_encoder"].outputs) == {"memory": (1, 1024, 64)}


@pytest.mark.parametrize("graph", contract(PUBLISHED).values(), ids=lambda graph: graph.name)
def test_every_port_is_described_and_small_enough_for_every_runtime(graph: Graph) -> None:
    ports = graph.inputs + graph.outputs
    assert len({port.name for port in graph.inputs}) == len(graph.inputs)
    assert graph.tolerance and all(0 < value <= 0.2 for value in graph.tolerance.values())
    for port in ports:
        assert port.doc.endswith(".") and port.dtype == "float32"
        assert len(port.shape) <= 4 and max(port.shape) <= 16384


def test_what_leaves_a_graph_as_a_handle_can_enter_another() -> None:
    """A tensor that stays on a device has the same shape wherever it goes."""
    graphs = contract(PUBLISHED).values()
    made = {port.shape for graph in graphs for port in graph.outputs if not port.host}
    for graph in graphs:
        assert {port.shape for port in graph.inputs if not port.host} <= made


def test_a_graph_as_json_names_each_port_in_order() -> None:
    graph = contract(PUBLISHED)["mask_decoder"]
    data = json.loads(json.dumps(as_dict(graph)))
    assert [port["name"] for port in data["inputs"]] == [port.name for port in graph.inputs]
    assert data["outputs"][0]["shape"] == [1, 4, 128, 128]
    assert data["doc"] == graph.doc


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": 0}, "geometry: width must be a positive integer, found 0"),
        ({"width": -8}, "geometry: width must be a positive integer, found -8"),
        ({"stride": 16.0}, "geometry: stride must be a positive integer, found 16.0"),
        ({"stride": "16"}, "geometry: stride must be a positive integer, found '16'"),
        ({"prompt_slots": True}, "geometry: prompt_slots must be a positive integer, found True"),
        ({"image_size": None}, "geometry: image_size must be a positive integer, found None"),
        ({"image_size": 72}, "geometry: image_size 72 is not a multiple of 32"),
        ({"image_size": 6, "stride": 1}, "geometry: image_size 6 is not a multiple of 4"),
        ({"memory_width": 3}, "geometry: width 8 is not a multiple of memory_width 3"),
        ({"depth": 12}, r"geometry: expected the fields \['image_size', .*\], found \['depth', 'image_size'"),
    ],
    ids=str,
)
def test_an_invalid_geometry_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Geometry.from_dict({**tiny_geometry().as_dict(), **change})


def test_a_missing_field_is_named() -> None:
    data = tiny_geometry().as_dict()
    del data["stride"]
    with pytest.raises(ValueError, match=r"expected the fields .*'stride'.*, found"):
        Geometry.from_dict(data)
