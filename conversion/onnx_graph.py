"""One PyTorch module to one ONNX model whose edges are the contract's and whose bytes depend on nothing else."""

from __future__ import annotations

import logging
import warnings

import onnx
import torch
from torch import nn

from ..graphs.contract import Graph, Port

OPSET = 18
PRODUCER = "etam-onnx"


class ExportError(RuntimeError):
    """An export that must not be used, said in one sentence."""


def export_graph(module: nn.Module, graph: Graph) -> onnx.ModelProto:
    """Trace `module` on zeros of the contract's shapes.

    Raises:
        ExportError: the traced edges are not those of the contract.
    """
    arguments = tuple(torch.zeros(port.shape) for port in graph.inputs)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own internals
            program = torch.onnx.export(
                module.requires_grad_(False),
                arguments,
                dynamo=True,
                opset_version=OPSET,
                input_names=[port.name for port in graph.inputs],
                output_names=[port.name for port in graph.outputs],
                optimize=True,
                verbose=False,
            )
    finally:
        log.setLevel(level)
    if program is None:
        raise ExportError(f"PyTorch gave no ONNX program for {graph.name}")
    model = tidy(program.model_proto, graph)
    _check_edges(model, graph)
    return model


def tidy(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """Keep the computation and drop what the exporter adds (traces, paths, versions); say what the contract says."""
    clean = onnx.ModelProto(ir_version=model.ir_version, producer_name=PRODUCER, doc_string=graph.doc)
    clean.opset_import.extend(_operator_sets(model))
    out = clean.graph
    out.name = graph.name
    out.initializer.extend(model.graph.initializer)
    for tensor in out.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for index, node in enumerate(model.graph.node):
        copy = out.node.add()
        copy.CopyFrom(node)
        copy.name = f"{node.op_type}_{index}"
        copy.doc_string = ""
        del copy.metadata_props[:]
    for target, source, ports in (
        (out.input, model.graph.input, graph.inputs),
        (out.output, model.graph.output, graph.outputs),
    ):
        docs = {port.name: port.doc for port in ports}
        for value in source:
            kept = target.add()
            kept.CopyFrom(value)
            kept.doc_string = docs.get(value.name, "")
            del kept.metadata_props[:]
    return clean


def _operator_sets(model: onnx.ModelProto) -> list[onnx.OperatorSetIdProto]:
    """The standard operators and every other set that a node uses; sets that the exporter leaves out at version 1."""
    stated = {op.domain if op.domain != "ai.onnx" else "": op.version for op in model.opset_import}
    used = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    return [onnx.helper.make_opsetid(domain, stated.get(domain, 1)) for domain in ("", *sorted(used))]


def _check_edges(model: onnx.ModelProto, graph: Graph) -> None:
    def edges(values: list[onnx.ValueInfoProto]) -> list[tuple[str, tuple[int, ...], int]]:
        return [
            (v.name, tuple(d.dim_value for d in v.type.tensor_type.shape.dim), v.type.tensor_type.elem_type)
            for v in values
        ]

    def ports(items: tuple[Port, ...]) -> list[tuple[str, tuple[int, ...], int]]:
        return [(port.name, port.shape, onnx.TensorProto.FLOAT) for port in items]

    for side, found, wanted in (
        ("inputs", edges(list(model.graph.input)), ports(graph.inputs)),
        ("outputs", edges(list(model.graph.output)), ports(graph.outputs)),
    ):
        if found != wanted:
            raise ExportError(f"{graph.name}: the traced {side} are {found}, the contract says {wanted}")
