"""Small Core ML programs for tests, built with coremltools, and our graphs converted as they stand."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from etam_onnx.graphs.contract import Graph

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    ct = pytest.importorskip("coremltools", reason="coremltools is not installed")
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

TYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.bool}
REMOVED = ("common::fuse_elementwise_to_batchnorm", "common::fuse_linear_bias")
"""Passes of the converter that are left out: the first is inexact, the second fails on `1 - x @ column`."""

Build = Callable[..., Any]
"""From values of a program to its result, or a tuple of them."""


def quietly(function: Callable[[], Any]) -> Any:
    """What a call into coremltools gives, without its warnings, and without its waiting for a garbage collection of
    everything that was ever imported.
    """
    gc.freeze()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function()
    finally:
        gc.unfreeze()


def saved_program(path: Path, build: Build, arrays: Sequence[Any], target: str = "iOS18") -> Path:
    """A package with one function that takes values like `arrays`, called x0, x1 and so on."""
    specs = [mb.TensorSpec(array.shape, dtype=TYPES[array.dtype.name]) for array in arrays]
    named = (
        lambda x0: build(x0),
        lambda x0, x1: build(x0, x1),
        lambda x0, x1, x2: build(x0, x1, x2),
        lambda x0, x1, x2, x3: build(x0, x1, x2, x3),
    )

    def convert() -> None:
        program = mb.program(input_specs=specs, opset_version=getattr(ct.target, target))(named[len(arrays) - 1])
        converted(program, path, target, "fp32", pass_pipeline=ct.PassPipeline.EMPTY)

    quietly(convert)
    return path


def inferred(build: Build, arrays: Sequence[Any], target: str = "iOS18") -> Any:
    """What coremltools itself computes from constants, None where it does not."""
    seen: list[Any] = []

    def program() -> Any:
        result = build(*arrays)
        seen.extend(result if isinstance(result, list | tuple) else [result])
        return result

    quietly(lambda: mb.program(input_specs=[], opset_version=getattr(ct.target, target))(program))
    return [None if value.val is None else np.asarray(value.val) for value in seen]


def converted(source: Any, path: Path, target: str, precision: str, **options: Any) -> Any:
    """Convert with coremltools and save."""
    model = ct.convert(
        source,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
        skip_model_load=True,
        **options,
    )
    model.save(str(path))
    return model


def traced(module: nn.Module, graph: Graph) -> Any:
    """A graph of the contract as the converter takes it."""
    arguments = tuple(torch.zeros(port.shape) for port in graph.inputs)
    if graph.name == "mask_decoder":  # traced, it computes with shapes, which fails with numpy 2.4
        return quietly(lambda: torch.export.export(module, arguments).run_decompositions({}))
    return quietly(lambda: torch.jit.trace(module, arguments, check_trace=False))


def converted_graph(source: Any, graph: Graph, path: Path, target: str, precision: str) -> Path:
    """A traced graph as a package whose edges have the precision of its inside."""
    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes(REMOVED)
    dtype = np.float16 if precision == "fp16" else np.float32
    edges = {
        "inputs": [ct.TensorType(name=port.name, shape=port.shape, dtype=dtype) for port in graph.inputs],
        "outputs": [ct.TensorType(name=port.name, dtype=dtype) for port in graph.outputs],
    }
    quietly(lambda: converted(source, path, target, precision, pass_pipeline=pipeline, **edges))
    return path
