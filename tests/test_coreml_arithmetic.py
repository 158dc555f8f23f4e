"""Arithmetic, activations and matrix products of the interpreter, operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

import torch.nn.functional as F  # noqa: E402
from coreml_cases import Case, binary, check, double, normal, on_tensors, positive, unary, whole  # noqa: E402
from coreml_programs import mb  # noqa: E402


def truth(x: Any) -> Any:
    """Inputs are numbers; inside a program they become truth values."""
    return mb.cast(x=x, dtype="bool")


A, B, ROW = normal(2, 3, 4), normal(2, 3, 4), normal(3, 1)
INT_A, INT_B = whole(-20, 20, 3, 4), whole(1, 6, 3, 4)
ELEMENTWISE = [
    binary("add", np.add, A, ROW),
    binary("sub", np.subtract, A, ROW),
    binary("mul", np.multiply, A, B),
    binary("real_div", np.divide, A, ROW),
    binary("floor_div", lambda x, y: np.floor(x / y), INT_A, INT_B),
    binary("mod", lambda x, y: x - np.floor(x / y) * y, INT_A, INT_B),
    binary("pow", lambda x, y: np.exp(np.log(x) * y), positive(3, 4), normal(3, 4)),
    binary("maximum", np.maximum, A, ROW),
    binary("minimum", np.minimum, A, B),
    *(
        binary(kind, getattr(np, kind), INT_B, whole(1, 6, 3, 4))
        for kind in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
    ),
    *(
        Case(
            f"logical_{kind}",
            lambda x, y, kind=kind: getattr(mb, f"logical_{kind}")(x=truth(x), y=truth(y)),
            (INT_A % 2, INT_B % 2),
            getattr(np, f"logical_{kind}"),
        )
        for kind in ("and", "or", "xor")
    ),
    Case("logical_not", lambda x: mb.logical_not(x=truth(x)), (INT_A % 2,), np.logical_not),
    *(
        unary(kind, on_tensors(getattr(torch, kind)), normal(3, 4))
        for kind in ("abs", "sign", "square", "exp", "exp2", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh")
    ),
    *(unary(kind, on_tensors(getattr(torch, kind)), normal(3, 4)) for kind in ("ceil", "floor", "erf")),
    unary("round", lambda x: [0, 2, 2, -2, 0], np.float32([0.5, 1.5, 2.5, -1.5, 0.2])),
    *(
        unary(kind, on_tensors(getattr(torch, kind)), np.tanh(normal(3, 4)) * np.float32(0.9))
        for kind in ("asin", "acos", "atanh")
    ),
    unary("sqrt", on_tensors(torch.sqrt), positive(3, 4)),
    unary("rsqrt", on_tensors(torch.rsqrt), positive(3, 4)),
    unary("rsqrt", lambda x: 1 / np.sqrt(x + 0.5), positive(3, 4), epsilon=0.5),
    unary("inverse", lambda x: 1 / (x + 1e-4), np.float32([1e-4, 0.01, -2, 3])),
    unary("inverse", lambda x: 1 / x, positive(3, 4), epsilon=0.0),
    unary("log", np.log, positive(3, 4)),
    unary("clip", lambda x: np.clip(x, -0.3, 0.4), normal(3, 4), alpha=-0.3, beta=0.4),
    unary("threshold", lambda x: np.maximum(x, 0.2), normal(3, 4), alpha=0.2),
    unary("identity", np.array, normal(3, 4)),
    Case("select", lambda c, a, b: mb.select(cond=truth(c), a=a, b=b), (whole(0, 2, 2, 3, 4), A, B), np.where),
]
ACTIVATIONS = [
    unary("relu", on_tensors(F.relu), normal(3, 4)),
    unary("relu6", on_tensors(F.relu6), 6 * normal(3, 4)),
    unary("leaky_relu", on_tensors(lambda x: F.leaky_relu(x, 0.3)), normal(3, 4), alpha=0.3),
    unary("elu", on_tensors(lambda x: F.elu(x, 0.7)), normal(3, 4), alpha=0.7),
    unary("clamped_relu", lambda x: np.minimum(np.where(x > 0, x, 0.2 * x), 0.5), A, alpha=0.2, beta=0.5),
    unary("linear_activation", lambda x: 2 * x + 3, normal(3, 4), alpha=2.0, beta=3.0),
    unary("sigmoid", on_tensors(torch.sigmoid), 5 * normal(3, 4)),
    unary("sigmoid_hard", lambda x: np.clip(0.2 * x + 0.5, 0, 1), 4 * normal(3, 4), alpha=0.2, beta=0.5),
    unary("silu", on_tensors(F.silu), normal(3, 4), seconded=False),
    unary("softplus", on_tensors(F.softplus), 5 * normal(3, 4)),
    unary("softsign", on_tensors(F.softsign), normal(3, 4)),
    unary("scaled_tanh", lambda x: 1.5 * np.tanh(0.5 * x), normal(3, 4), alpha=1.5, beta=0.5),
    unary("gelu", on_tensors(F.gelu), normal(3, 4)),
    unary("gelu", on_tensors(lambda x: F.gelu(x, approximate="tanh")), normal(3, 4), mode="TANH_APPROXIMATION"),
    unary("gelu", lambda x: x / (1 + np.exp(-1.702 * x)), normal(3, 4), mode="SIGMOID_APPROXIMATION"),
    unary("softmax", on_tensors(lambda x: x.softmax(-1)), 20 * normal(3, 4)),
    unary("softmax", on_tensors(lambda x: x.softmax(1)), normal(2, 3, 4), axis=1),
    unary(
        "prelu",
        on_tensors(lambda x: F.prelu(x, torch.tensor([0.1, 0.5, 2]).double())),
        normal(2, 3, 4, 2),
        alpha=np.float32([0.1, 0.5, 2]),
    ),
]
WEIGHT, BIAS = normal(5, 4), normal(5)
LINEAR = [
    Case("linear", lambda x: mb.linear(x=x, weight=WEIGHT, bias=BIAS), (A,), lambda x: x @ WEIGHT.T + BIAS),
    Case("linear without bias", lambda x: mb.linear(x=x, weight=WEIGHT), (A,), lambda x: x @ WEIGHT.T),
    *(
        Case(
            f"matmul {tx} {ty}",
            lambda x, y, tx=tx, ty=ty: mb.matmul(x=x, y=y, transpose_x=tx, transpose_y=ty),
            (normal(2, 3, 4).swapaxes(1, 2).copy() if tx else normal(2, 3, 4), normal(5, 4) if ty else normal(4, 5)),
            lambda x, y, tx=tx, ty=ty: (np.swapaxes(x, 1, 2) if tx else x) @ (y.T if ty else y),
        )
        for tx in (False, True)
        for ty in (False, True)
    ),
    Case(
        "einsum",
        lambda x, y: mb.einsum(values=[x, y], equation="nchw,nwhu->nchu"),
        (normal(1, 2, 3, 4), normal(1, 4, 3, 5)),
        lambda x, y: np.einsum("nchw,nwhu->nchu", x, y),
    ),
    *(
        Case(
            f"scaled_dot_product_attention mask {mask is not None and mask.dtype}",
            lambda q, k, v, mask=mask: mb.scaled_dot_product_attention(
                query=q, key=k, value=v, **({} if mask is None else {"attn_mask": mask})
            ),
            (normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 6)),
            on_tensors(
                lambda q, k, v, mask=mask: F.scaled_dot_product_attention(
                    q, k, v, None if mask is None else double(mask)
                )
            ),
        )
        for mask in (None, 3 * normal(3, 5), np.array([[True, False, True, True, False]]))
    ),
]
CASES = [*ELEMENTWISE, *ACTIVATIONS, *LINEAR]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
