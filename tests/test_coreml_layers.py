"""Convolutions, pooling, normalisation and resampling of the interpreter, operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

import torch.nn.functional as F  # noqa: E402
from coreml_cases import Case, check, double, normal, on_tensors, positive, unary  # noqa: E402
from coreml_programs import mb  # noqa: E402

BIAS_6 = normal(6)
KERNEL, DEPTHWISE, LONG = normal(6, 4, 3, 2), normal(8, 1, 3, 3), normal(4, 3, 2, 2)
X = normal(1, 4, 8, 7)
CONVOLUTIONS = [
    Case(
        "conv",
        lambda x: mb.conv(x=x, weight=KERNEL, strides=[2, 1], pad_type="custom", pad=[1, 2, 0, 1], bias=BIAS_6),
        (X,),
        on_tensors(lambda x: F.conv2d(F.pad(x, (0, 1, 1, 2)), double(KERNEL), double(BIAS_6), (2, 1))),
        seconded=False,
    ),
    Case(
        "conv as it is",
        lambda x: mb.conv(x=x, weight=KERNEL),
        (X,),
        on_tensors(lambda x: F.conv2d(x, double(KERNEL))),
        seconded=False,
    ),
    Case(
        "conv in groups, dilated",
        lambda x: mb.conv(x=x, weight=DEPTHWISE, groups=4, dilations=[2, 1]),
        (X,),
        on_tensors(lambda x: F.conv2d(x, double(DEPTHWISE), groups=4, dilation=(2, 1))),
        seconded=False,
    ),
    Case(
        "conv of one dimension",
        lambda x: mb.conv(x=x, weight=KERNEL[..., 0], pad_type="custom", pad=[1, 1]),
        (X[..., 0].copy(),),
        on_tensors(lambda x: F.conv1d(x, double(KERNEL[..., 0]), padding=1)),
        seconded=False,
    ),
    Case(
        "conv_transpose",
        lambda x: mb.conv_transpose(x=x, weight=LONG, strides=[2, 2], bias=BIAS_6[:3]),
        (X,),
        on_tensors(lambda x: F.conv_transpose2d(x, double(LONG), double(BIAS_6[:3]), 2)),
        seconded=False,
    ),
    Case(
        "conv_transpose padded",
        lambda x: mb.conv_transpose(x=x, weight=LONG, strides=[2, 2], pad_type="custom", pad=[1, 0, 0, 1]),
        (X,),
        on_tensors(lambda x: F.conv_transpose2d(x, double(LONG), stride=2)[:, :, 1:, :-1]),
        seconded=False,
    ),
    Case(
        "avg_pool",
        lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"),
        (X,),
        on_tensors(lambda x: F.avg_pool2d(x, 2)),
        seconded=False,
    ),
    *(
        Case(
            f"avg_pool padded, padding {'left out' if exclude else 'counted'}",
            lambda x, exclude=exclude: mb.avg_pool(
                x=x,
                kernel_sizes=[3, 3],
                strides=[1, 2],
                pad_type="custom",
                pad=[1, 1, 1, 1],
                exclude_padding_from_average=exclude,
            ),
            (X,),
            on_tensors(lambda x, exclude=exclude: F.avg_pool2d(x, 3, (1, 2), 1, count_include_pad=not exclude)),
            seconded=False,
        )
        for exclude in (False, True)
    ),
    Case(
        "max_pool",
        lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        (-np.abs(X),),
        on_tensors(lambda x: F.max_pool2d(x, 3, 2, 1)),
        seconded=False,
    ),
]
GAMMA, BETA, MEAN, VARIANCE = normal(4), normal(4), normal(4), positive(4)
WIDE = normal(7)
NORMS = [
    unary(
        "layer_norm",
        on_tensors(lambda x: F.layer_norm(x, (7,), double(WIDE), double(WIDE), 0.1)),
        X,
        axes=[-1],
        gamma=WIDE,
        beta=WIDE,
        epsilon=np.float32(0.1),
    ),
    unary("layer_norm", on_tensors(lambda x: F.layer_norm(x, (8, 7), eps=1e-5)), X * 0.01, axes=[2, 3]),
    unary(
        "layer_norm",
        on_tensors(lambda x: F.layer_norm(x.mT, (4,), double(GAMMA)).mT),
        X[0, :, :, 0].copy(),
        axes=[0],
        gamma=GAMMA,
    ),
    unary(
        "layer_norm",
        on_tensors(lambda x: F.layer_norm(x.mT, (4,), double(GAMMA), double(BETA), 1e-3).mT),
        X[..., 0].copy(),
        axes=[1],
        gamma=GAMMA,
        beta=BETA,
        epsilon=np.float32(1e-3),
    ),
    unary(
        "batch_norm",
        on_tensors(lambda x: F.batch_norm(x, *map(double, (MEAN, VARIANCE, GAMMA, BETA)), eps=0.01)),
        X,
        seconded=False,
        mean=MEAN,
        variance=VARIANCE,
        gamma=GAMMA,
        beta=BETA,
        epsilon=np.float32(0.01),
    ),
    unary(
        "batch_norm",
        on_tensors(lambda x: F.batch_norm(x, double(MEAN), double(VARIANCE))),
        X,
        seconded=False,
        mean=MEAN,
        variance=VARIANCE,
    ),
    unary(
        "instance_norm",
        on_tensors(lambda x: F.instance_norm(x, weight=double(GAMMA), bias=double(BETA))),
        X,
        seconded=False,
        gamma=GAMMA,
        beta=BETA,
    ),
    unary("l2_norm", lambda x: x / np.sqrt((x**2).sum() + 1e-6), X[0]),
]


def interpolated(x: Any, rows: Any, columns: Any) -> Any:
    """x (1, H, W) at positions along both."""
    wide = np.stack([np.interp(columns, np.arange(x.shape[2]), row) for row in x[0]])
    return np.stack([np.interp(rows, np.arange(x.shape[1]), column) for column in wide.T], 1)[None]


def sampling(mode: str, size: int, count: int) -> Any:
    """Positions by the words of the documentation."""
    i = np.arange(count)
    if mode == "UNALIGN_CORNERS":
        return i * size / count + 0.5 * size / count - 0.5
    if mode == "DEFAULT":
        return i * (size - size / count) / (count - 1)
    if mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / count
        return 0.5 * delta + i * delta
    return i * (size - 1) / (count - 1)


MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")
RESAMPLING = [
    *(
        unary(
            "upsample_bilinear",
            on_tensors(lambda x, c=corners: F.interpolate(x, scale_factor=(4, 3), mode="bilinear", align_corners=c)),
            X,
            seconded=False,
            scale_factor_height=4.0,
            scale_factor_width=3.0,
            align_corners=corners,
        )
        for corners in (False, True)
    ),
    *(
        unary(
            "resize_bilinear",
            lambda x, m=mode: interpolated(x, sampling(m, 8, 5), sampling(m, 7, 12)),
            X[0, :1],
            seconded=False,
            target_size_height=5,
            target_size_width=12,
            sampling_mode=mode,
        )
        for mode in MODES
    ),
    unary(
        "resize_bilinear",
        lambda x: interpolated(x, np.arange(8), [3.0]),
        X[0, :1],
        seconded=False,
        target_size_height=8,
        target_size_width=1,
        sampling_mode="ALIGN_CORNERS",
    ),
    unary(
        "resize",
        on_tensors(lambda x: F.interpolate(x, (8, 14), mode="bilinear")),
        X,
        seconded=False,
        shape=[0, 14],
        resized_dims=np.uint32(2),
        sampling_mode="UNALIGN_CORNERS",
    ),
    unary(
        "upsample_nearest_neighbor",
        lambda x: np.kron(x, np.ones((3, 2))),
        X,
        seconded=False,
        scale_factor_height=3,
        scale_factor_width=2,
    ),
]
CASES = [*CONVOLUTIONS, *NORMS, *RESAMPLING]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)
