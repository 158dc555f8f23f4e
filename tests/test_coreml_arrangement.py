"""Shapes, slices, gathering, reductions and casts of the interpreter, operator by operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

import test_coreml_arithmetic  # noqa: E402
import test_coreml_layers  # noqa: E402
from coreml_cases import Case, check, normal, on_tensors, positive, unary, whole  # noqa: E402
from coreml_programs import mb  # noqa: E402

from etam_onnx.conversion.coreml.interpreter import OPERATORS  # noqa: E402

X = normal(2, 3, 4)
SHAPES = [
    unary("reshape", lambda x: x.reshape(6, 4), X, shape=[-1, 4]),
    unary("reshape", lambda x: x.reshape(1, 2, 3, 4), X, shape=[0, 2, 3, 0]),
    unary("transpose", lambda x: x.transpose(2, 0, 1), X, perm=[-1, 0, 1]),
    unary("expand_dims", lambda x: x[:, None, :, :, None], X, axes=[1, -1]),
    unary("squeeze", lambda x: x[0, :, :, 0], normal(1, 2, 3, 1), axes=[0, 3]),
    unary("squeeze", lambda x: x[0, :, :, 0], normal(1, 2, 3, 1)),
    Case("concat", lambda x, y: mb.concat(values=[x, y], axis=-2), (X, X[:, :1] + 1), lambda x, y: np.hstack([x, y])),
    Case("stack", lambda x, y: mb.stack(values=[x, y], axis=1), (X, X + 1), lambda x, y: np.stack([x, y], 1)),
    unary("split", lambda x: (x[..., :1], x[..., 1:]), X, split_sizes=[1, 3], axis=-1),
    unary("split", lambda x: (x[:1], x[1:]), X, num_splits=2, axis=0),
    unary("tile", lambda x: np.tile(x, (1, 2, 3)), X, reps=[1, 2, 3]),
    unary("reverse", lambda x: x[:, ::-1, ::-1], X, axes=[1, 2]),
    unary(
        "pad",
        lambda x: np.pad(x, ((0, 0), (1, 2), (3, 0)), constant_values=0.5),
        X,
        pad=[1, 2, 3, 0],
        constant_val=np.float32(0.5),
    ),
    unary(
        "pad",
        lambda x: np.pad(x, ((0, 0), (1, 2), (3, 0)), mode="reflect"),
        X,
        pad=[1, 2, 3, 0],
        mode="reflect",
    ),
    unary(
        "pad",
        lambda x: np.pad(x, ((0, 0), (1, 2), (3, 0)), mode="edge"),
        X,
        pad=[1, 2, 3, 0],
        mode="replicate",
    ),
    unary("shape", lambda x: np.array(x.shape), X),
    Case("fill", lambda x: mb.add(x=x, y=mb.fill(shape=[2, 1, 4], value=2.5)), (X,), lambda x: x + 2.5),
]
FLAGS = [False, True, False]
SLICES = [
    unary(
        "slice_by_index",
        lambda x: x[0:1, :2, 1:],
        X,
        begin=[0, 5, 1],
        end=[1, 2, 7],
        begin_mask=FLAGS,
        end_mask=[False, False, True],
    ),
    unary(
        "slice_by_index",
        lambda x: x[1:2, -2, ::2],
        X,
        begin=[1, -2, 0],
        end=[2, 0, 4],
        stride=[1, 1, 2],
        squeeze_mask=FLAGS,
    ),
    unary(
        "slice_by_index",
        lambda x: x[:, :, ::-1],
        X,
        begin=[0, 0, 0],
        end=[2, 3, 0],
        stride=[1, 1, -1],
        begin_mask=[False, False, True],
        end_mask=[False, False, True],
    ),
    unary("slice_by_size", lambda x: x[1:2, :, 1:3], X, begin=[1, 0, 1], size=[1, -1, 2]),
    Case(
        "slice_update",
        lambda x, y: mb.slice_update(x=x, update=y, begin=[0, 1, 0], end=[2, 3, 4], stride=[1, 1, 2]),
        (X, np.zeros((2, 2, 2), np.float32)),
        lambda x, y: np.where((np.arange(3)[:, None] >= 1) & (np.arange(4) % 2 == 0), 0, x),
    ),
]
PLACES = np.int32([[2, 0], [1, 1]])
ALONG = whole(0, 4, 2, 3, 2)
ROWS = normal(2, 3, 4)
GATHERING = [
    unary("gather", lambda x: x[:, PLACES], X, indices=PLACES, axis=1),
    unary("gather_along_axis", lambda x: np.take_along_axis(x, ALONG, 2), X, indices=ALONG, axis=-1),
    unary("gather_nd", lambda x: x[[1, 0], [2, 1]], X, seconded=False, indices=np.int32([[1, 2], [0, 1]])),
    Case(
        "scatter",
        lambda x, y: mb.scatter(data=x, indices=np.int32([1, 1, 0]), updates=y, axis=1, mode="add"),
        (X, ROWS),
        lambda x, y: x + np.stack([y[:, 2], y[:, 0] + y[:, 1], 0 * y[:, 0]], 1),
        seconded=False,
    ),
    *(
        Case(
            f"scatter {mode}",
            lambda x, y, mode=mode: mb.scatter(data=x, indices=np.int32([1, 0]), updates=y, axis=0, mode=mode),
            (positive(2, 3), positive(2, 3)),
            lambda x, y, function=function: function(x, y[::-1]),
            seconded=False,
        )
        for mode, function in (
            ("update", lambda x, y: y),
            ("sub", np.subtract),
            ("mul", np.multiply),
            ("div", np.divide),
            ("max", np.maximum),
            ("min", np.minimum),
        )
    ),
    Case(
        "scatter_along_axis",
        lambda x, y: mb.scatter_along_axis(data=x, indices=np.int32([[0, 0, 2]]), updates=y, axis=0, mode="update"),
        (normal(3, 3), normal(1, 3)),
        lambda x, y: np.where([[1, 1, 0], [0, 0, 0], [0, 0, 1]], y, x),
    ),
    Case(
        "scatter_nd",
        lambda x, y: mb.scatter_nd(data=x, indices=np.int32([[1, 2], [1, 2]]), updates=y, mode="add"),
        (normal(2, 3), normal(2)),
        lambda x, y: x + np.float32([[0, 0, 0], [0, 0, 1]]) * y.sum(),
        seconded=False,
    ),
    Case(
        "one_hot",
        lambda x: mb.one_hot(indices=x, one_hot_vector_size=3, axis=0, on_value=2.0, off_value=-1.0),
        (np.int32([2, 0]),),
        lambda x: np.float32([[-1, 2], [-1, -1], [2, -1]]),
        seconded=False,
    ),
]
REDUCTIONS = [
    *(
        unary(f"reduce_{kind}", on_tensors(function), positive(2, 3, 4), axes=[0, -1], keep_dims=keep)
        for kind, make in (
            ("max", lambda keep: lambda x: x.amax((0, 2), keep)),
            ("min", lambda keep: lambda x: x.amin((0, 2), keep)),
            ("mean", lambda keep: lambda x: x.mean((0, 2), keep)),
            ("sum", lambda keep: lambda x: x.sum((0, 2), keep)),
            ("prod", lambda keep: lambda x: x.prod(2, True).prod(0, True)[... if keep else (0, slice(None), 0)]),
            ("l1_norm", lambda keep: lambda x: x.norm(1, (0, 2), keep)),
            ("l2_norm", lambda keep: lambda x: x.norm(2, (0, 2), keep)),
            ("log_sum", lambda keep: lambda x: x.sum((0, 2), keep).log()),
            ("log_sum_exp", lambda keep: lambda x: x.logsumexp((0, 2), keep)),
            ("sum_square", lambda keep: lambda x: x.square().sum((0, 2), keep)),
        )
        for keep in (False, True)
        for function in (make(keep),)
    ),
    unary("reduce_max", np.max, X),
    unary("reduce_argmax", lambda x: x.argmax(1), X, axis=1),
    unary("reduce_argmin", lambda x: x.argmin(-1)[..., None], X, axis=-1, keep_dims=True),
    unary("cumsum", lambda x: x.cumsum(1), X, axis=1),
]
CASTS = [
    unary("cast", lambda x: np.trunc(x).astype(np.int32), 3 * X, dtype="int32"),
    unary("cast", lambda x: x != 0, whole(0, 2, 3, 4), dtype="bool"),
    unary("cast", lambda x: x.astype(np.float32), whole(-9, 9, 3, 4), dtype="fp32"),
    Case(
        "cast to half and back",
        lambda x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"),
        (X * 1000,),
        lambda x: x.astype(np.float16),
    ),
    Case(
        "quantize",
        lambda x: mb.dequantize(
            input=mb.quantize(input=x, scale=0.1, zero_point=np.int8(3), output_dtype="int8"), scale=0.1
        ),
        (np.float32([0.26, -0.24, 20, -20]),),
        lambda x: np.float32([0.6, 0.1, 12.7, -12.8]),
        seconded=False,
    ),
    Case(
        "dequantize",
        lambda x: mb.dequantize(
            input=mb.quantize(input=x, scale=np.float32([0.1, 1]), output_dtype="uint8", axis=0),
            scale=np.float32([0.1, 2]),
            zero_point=np.uint8([0, 1]),
            axis=0,
        ),
        (np.float32([[0.26, -1], [3.4, 300]]),),
        lambda x: np.float32([[0.3, 0], [4, 508]]),
        seconded=False,
    ),
]
CASES = [*SHAPES, *SLICES, *GATHERING, *REDUCTIONS, *CASTS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_every_operator_has_a_case() -> None:
    """Those of compressed constants are tested with the packages that they are written in."""
    tried = {case.kind for case in [*CASES, *test_coreml_arithmetic.CASES, *test_coreml_layers.CASES]}
    assert tried == {kind for kind, operator in OPERATORS.items() if not operator.constant}
