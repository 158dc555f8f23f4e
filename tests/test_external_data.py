"""The walker over ONNX bytes finds every reference to a file that onnx itself finds, and more."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from etam_onnx.graphs.external_data import external_locations


def outside(location: str, name: str = "t") -> Any:
    """A tensor whose data lies in a file."""
    import onnx

    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(location: str) -> Any:
    from onnx import helper

    return helper.make_node("Constant", [], ["c"], value=outside(location))


def nested_model() -> Any:
    """References at every place of an ONNX file that can hold a tensor; the location says which."""
    import onnx
    from onnx import helper

    inner = helper.make_graph([constant("node of a subgraph")], "inner", [], [], [outside("initializer of a subgraph")])
    deeper = helper.make_graph([helper.make_node("If", ["c"], ["d"], then_branch=inner)], "deeper", [], [])
    sparse = onnx.SparseTensorProto(values=outside("sparse values"), indices=outside("sparse indices"), dims=[4])
    many = helper.make_node("X", [], ["x"], domain="d")
    many.attribute.append(helper.make_attribute("tensors", [outside("first of a list"), outside("second of a list")]))
    many.attribute.append(
        onnx.AttributeProto(name="graphs", type=onnx.AttributeProto.GRAPHS, graphs=[inner_of("list")])
    )
    many.attribute.append(
        onnx.AttributeProto(
            name="sparse",
            type=onnx.AttributeProto.SPARSE_TENSORS,
            sparse_tensors=[onnx.SparseTensorProto(values=outside("sparse in a list"))],
        )
    )
    one_sparse = onnx.AttributeProto(name="s", type=onnx.AttributeProto.SPARSE_TENSOR)
    one_sparse.sparse_tensor.values.CopyFrom(outside("sparse attribute"))
    many.attribute.append(one_sparse)
    graph = helper.make_graph(
        [constant("node"), helper.make_node("Loop", ["a", "b"], ["e"], body=deeper), many],
        "graph",
        [helper.make_tensor_value_info("a", 1, [2])],
        [],
        [outside("initializer"), helper.make_tensor("inside", 1, [2], [0, 0])],
        sparse_initializer=[sparse],
        doc_string="location: not/a/reference",
    )
    model = helper.make_model(graph)
    function = helper.make_function("d", "F", ["a"], ["b"], [constant("function")], [helper.make_opsetid("", 18)])
    function.attribute_proto.append(helper.make_attribute("default", outside("default of a function")))
    model.functions.append(function)
    model.training_info.add().algorithm.CopyFrom(inner_of("training"))
    model.metadata_props.add(key="location", value="not/a/reference/either")
    return model


def inner_of(place: str) -> Any:
    from onnx import helper

    return helper.make_graph([], "g", [], [], [outside(f"graph of {place}")])


def test_every_place_is_found(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import external_data_helper

    model = nested_model()
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    found = external_locations(tmp_path / "model.onnx")
    known = {
        external_data_helper.ExternalDataInfo(tensor).location
        for tensor in external_data_helper._get_all_tensors(model)
        if external_data_helper.uses_external_data(tensor)
    }
    assert len(known) >= 6 and known <= found
    assert found == {
        "node",
        "initializer",
        "node of a subgraph",
        "initializer of a subgraph",
        "sparse values",
        "sparse indices",
        "sparse in a list",
        "sparse attribute",
        "first of a list",
        "second of a list",
        "graph of list",
        "graph of training",
        "function",
        "default of a function",
    }
    assert onnx.load(tmp_path / "model.onnx", load_external_data=False) == model


def test_a_model_without_references(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tiny_bundle import GRAPHS, little_model

    (tmp_path / "model.onnx").write_bytes(little_model(GRAPHS["mask_decoder"]).SerializeToString())
    assert external_locations(tmp_path / "model.onnx") == set()


def test_a_reference_counts_even_where_onnx_would_ignore_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.ModelProto()
    tensor = outside("x")
    tensor.data_location = onnx.TensorProto.DEFAULT
    model.graph.initializer.append(tensor)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert external_locations(tmp_path / "model.onnx") == {"x"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x3a", "ends in the middle of a field"),
        (b"\x3a\x05ab", "a field runs past the end"),
        (b"\x09\x00\x00", "a field runs past the end"),
        (b"\x0d\x00", "a field runs past the end"),
        (b"\x3b\x00", "unknown wire type 3"),
        (b"\x3f", "unknown wire type 7"),
        (b"\x08" + b"\x80" * 11 + b"\x01", "more than 64 bits"),
        (b"\x3a\x03\x2a\x05a", "a field runs past the end"),
    ],
    ids=str,
)
def test_damaged_bytes_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        external_locations(tmp_path / "model.onnx")


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    def varint(number: int) -> bytes:
        out = bytearray()
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7
        return bytes([*out, number])

    graph = b""
    for _ in range(2000):  # graph -> node -> attribute -> graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            graph = tag + varint(len(graph)) + graph
    (tmp_path / "model.onnx").write_bytes(b"\x3a" + varint(len(graph)) + graph)
    with pytest.raises(ValueError, match="nested too deeply"):
        external_locations(tmp_path / "model.onnx")


def test_a_cut_or_changed_file_gives_locations_or_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    intact, rng, refused = nested_model().SerializeToString(), random.Random(1), 0
    for trial in range(120):
        damaged = bytearray(intact)
        if trial % 2:
            damaged = damaged[: rng.randrange(len(intact))]
        else:
            damaged[rng.randrange(len(intact))] = rng.randrange(256)
        (tmp_path / "model.onnx").write_bytes(damaged)
        try:
            found = external_locations(tmp_path / "model.onnx")
        except ValueError:
            refused += 1
        else:
            assert all(isinstance(location, str) for location in found)
    assert refused > 60
