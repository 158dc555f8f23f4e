"""One PyTorch module to one Core ML program of fixed shapes, in half precision, with the edges of the contract."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from ...graphs.contract import Graph, Port
from ..onnx_graph import ExportError
from .compression import add_compression
from .package_writer import Program, program_of
from .toolbox import coremltools

IMAGE = "image"
"""The port that a frame goes into: single precision, because Core ML gives pixels of an image that way."""
REMOVED = (
    "common::fuse_elementwise_to_batchnorm",  # adds an epsilon to what has none: ten times the error
    "common::fuse_linear_bias",  # fails where a product is subtracted from a number
)
"""Passes of the converter that are left out."""
PRECISIONS = {"fp16": np.float16, "fp32": np.float32}


def edge_type(port: Port, precision: str) -> type[np.generic]:
    """Element type of a port of a program that computes in `precision`."""
    return np.float32 if port.name == IMAGE else PRECISIONS[precision]


def exported(module: nn.Module, graph: Graph) -> Any:
    """A module whose arguments are the ports of `graph`, as PyTorch exports it.

    Args:
        module: in evaluation mode; its parameters need no gradients.
    """
    arguments = tuple(torch.zeros(port.shape) for port in graph.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns about its own internals
        program = torch.export.export(module, arguments)
        # the converter knows no `alias`, which slicing to the full length gives
        return program.run_decompositions({torch.ops.aten.alias.default: lambda x: x})


def converted(source: Any, graph: Graph, target: str, weights: str = "fp16", precision: str = "fp16") -> Program:
    """Convert what `exported` gave.

    Args:
        target: oldest system that runs it, such as "iOS17".
        weights: how they are stored, of `compression.WEIGHTS`.
        precision: of products and edges, a key of `PRECISIONS`.

    Raises:
        ExportError: coremltools refuses the module.
        ImportError: coremltools is not installed.
    """
    with coremltools() as ct:
        passes = ct.PassPipeline.DEFAULT
        passes.remove_passes(REMOVED)
        add_compression(ct, passes, weights, target)
        try:
            model = ct.convert(
                source,
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, target),
                compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
                inputs=[
                    ct.TensorType(name=port.name, shape=port.shape, dtype=edge_type(port, precision))
                    for port in graph.inputs
                ],
                outputs=[ct.TensorType(name=port.name, dtype=edge_type(port, precision)) for port in graph.outputs],
                pass_pipeline=passes,
                skip_model_load=True,
            )
        except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
            raise ExportError(f"{graph.name} cannot be converted to Core ML: {str(error).splitlines()[0]}") from error
        return program_of(model)
