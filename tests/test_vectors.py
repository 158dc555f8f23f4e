"""Reading test vectors, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etam_onnx.graphs.errors import BundleError
from etam_onnx.graphs.vectors import read_vectors

DATA = np.arange(12, dtype="<f4").tobytes() + bytes(range(6))


def index() -> dict[str, Any]:
    return {
        "tensors": [
            {"offset": 0, "shape": [3, 2], "dtype": "float32"},
            {"offset": 24, "shape": [], "dtype": "float32"},
            {"offset": 48, "shape": [1, 2, 3], "dtype": "uint8"},
            {"offset": 54, "shape": [0, 4], "dtype": "float32"},
        ],
        "calls": [
            {"graph": "one", "inputs": {"a": 0, "b": 1}, "outputs": {"c": 2}},
            {"graph": "two", "inputs": {"c": 2}, "outputs": {"d": 0, "e": 3}},
        ],
    }


def read(folder: Path, content: Any, data: bytes = DATA) -> Any:
    path = folder / "index.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    (folder / "tensors.bin").write_bytes(data)
    return read_vectors(path, folder / "tensors.bin")


def test_tensors_and_calls(tmp_path: Path) -> None:
    vectors = read(tmp_path, index())
    assert [tensor.shape for tensor in vectors.tensors] == [(3, 2), (), (1, 2, 3), (0, 4)]
    assert np.frombuffer(vectors.tensors[0].data, "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert np.frombuffer(vectors.tensors[1].data, "<f4").tolist() == [6]
    assert bytes(vectors.tensors[2].data) == bytes(range(6))
    assert len(vectors.tensors[3].data) == 0
    calls = list(vectors.calls())
    assert [(graph, list(inputs), list(outputs)) for graph, inputs, outputs in calls] == [
        ("one", ["a", "b"], ["c"]),
        ("two", ["c"], ["d", "e"]),
    ]
    assert calls[0][2]["c"] == calls[1][1]["c"] == vectors.tensors[2]


@pytest.mark.parametrize(
    "entry",
    [
        {"offset": -4},
        {"offset": 49},
        {"offset": 10**30},
        {"shape": [4, 4]},
        {"shape": [-1, 2]},
        {"shape": [-3, -2]},
        {"shape": [10**20, 10**20]},
    ],
    ids=str,
)
def test_a_tensor_outside_the_file_is_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    content = index()
    content["tensors"][0].update(entry)
    with pytest.raises(BundleError, match=r"index.json: a tensor lies outside tensors.bin"):
        read(tmp_path, content)


@pytest.mark.parametrize("number", [4, -1])
def test_a_call_with_a_tensor_that_is_not_there_is_refused(tmp_path: Path, number: int) -> None:
    content = index()
    content["calls"][1]["outputs"]["d"] = number
    with pytest.raises(BundleError, match=f"index.json: graph two names tensor {number} of 4"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content.pop("tensors"), "malformed: it lacks 'tensors'"),
        (lambda content: content.pop("calls"), "malformed: it lacks 'calls'"),
        (lambda content: content["tensors"][0].pop("offset"), "malformed: it lacks 'offset'"),
        (lambda content: content["calls"][0].pop("outputs"), "malformed: it lacks 'outputs'"),
        (lambda content: content["tensors"][0].update(dtype="float16"), "malformed: it lacks 'float16'"),
        (lambda content: content["tensors"][0].update(offset="0"), "malformed"),
        (lambda content: content["tensors"][0].update(offset=0.5), "malformed"),
        (lambda content: content["tensors"][0].update(shape=7), "malformed"),
        (lambda content: content["tensors"][0].update(shape=["a"]), "malformed"),
        (lambda content: content["calls"][0].update(inputs=[0]), "malformed"),
        (lambda content: content["calls"][0]["inputs"].update(a="0"), "names tensor '0' of 4"),
        (lambda content: content["calls"][0]["inputs"].update(a=0.0), "names tensor 0.0 of 4"),
        (lambda content: content.update(tensors=3), "malformed"),
    ],
)
def test_a_malformed_index_is_refused(tmp_path: Path, change: Any, sentence: str) -> None:
    content = index()
    change(content)
    with pytest.raises(BundleError, match=f"index.json.* {sentence}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", '"text"', "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")]
)
def test_other_files_are_refused(tmp_path: Path, text: Any) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "tensors.bin").write_bytes(DATA)
    with pytest.raises(BundleError, match=r"index.json is malformed: "):
        read_vectors(path, tmp_path / "tensors.bin")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"malformed: .*No such file"):
        read_vectors(tmp_path / "index.json", tmp_path / "tensors.bin")
