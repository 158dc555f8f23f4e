"""Memory attention of the `ort` variant in tests: models in double precision, inputs at its edges, exported graphs."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import torch
from small_model import small_config, small_model
from torch import Tensor, nn

from etam_onnx.config import CrossAttention
from etam_onnx.conversion.onnx_graph import export_graph
from etam_onnx.conversion.ort.deployment import deployment_of
from etam_onnx.conversion.ort.frame_attention import OrtFrameAttention
from etam_onnx.conversion.ort.memory_attention import OrtMemoryAttention
from etam_onnx.conversion.ort.memory_keys import OrtMemoryKeys
from etam_onnx.graphs.contract import Geometry, Graph, memory_attention_name, memory_port
from etam_onnx.graphs.ort_contract import Deployment, keys_port, ort_contract
from etam_onnx.manifest_of_model import geometry_of
from etam_onnx.model import EfficientTAM
from etam_onnx.torch_backend import reference_function

COUNTS = (1, 2, 3, 7, 14)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().abs().max() / wanted.detach().abs().max())


def exact_tables(grid: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """`rotary_tables` without the rounding to single precision."""
    frequency = 10000.0 ** (-4 * np.arange(width // 4) / width)
    y, x = np.divmod(np.arange(grid * grid), grid)
    angle = np.concatenate([x[:, None] * frequency, y[:, None] * frequency], axis=1)
    return np.cos(angle), np.sin(angle)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def double_model(kind: CrossAttention, layers: int = 2, sharpness: float = 1.0) -> EfficientTAM:
    """The small model in double precision; `sharpness` multiplies the scores of its readings of memory."""
    config = replace(small_config(kind), memory_layers=layers)
    if layers == 2:
        model = small_model(kind)
    else:
        torch.manual_seed(0)
        model = EfficientTAM(config).eval()
    with torch.no_grad():
        for layer in model.memory_attention.layers:
            layer.cross_attn_image.q_proj.weight *= sharpness
            layer.cross_attn_image.q_proj.bias *= sharpness
            for norm in (layer.norm1, layer.norm2, layer.norm3):
                norm.weight.normal_(1, 0.3)
                norm.bias.normal_(0, 0.3)
    return model.double()


def layout(model: EfficientTAM) -> tuple[Geometry, Deployment]:
    geometry = geometry_of(model.config)
    return geometry, deployment_of(model.config, geometry, COUNTS)


def ports_of(geometry: Geometry, slots: int, used: int, pointers: int, seed: int) -> dict[str, Tensor]:
    """Inputs of a portable memory attention in double precision, `used` slots and `pointers` of its pointers in use."""
    rng = np.random.default_rng(seed)
    inputs = {
        "features": (1, geometry.width, geometry.grid, geometry.grid),
        **{memory_port(slot): (1, geometry.tokens, geometry.memory_width) for slot in range(slots)},
        "pointers": (geometry.pointer_slots, geometry.width),
    }
    found = {port: torch.from_numpy(rng.standard_normal(shape)) for port, shape in inputs.items()}
    row = torch.zeros(slots, geometry.temporal_rows, dtype=torch.float64)
    for slot in range(used):
        row[slot, int(rng.integers(geometry.temporal_rows))] = 1
    mask = (torch.arange(geometry.pointer_slots) < pointers).double()[:, None]
    return found | {"memory_row": row, "pointer_used": mask}


def edges(
    model: EfficientTAM, geometry: Geometry, deployment: Deployment, inputs: dict[str, Tensor], garbage: float
) -> dict[str, Tensor]:
    """The same inputs at the edges of this variant, computed in double precision.

    Unused slots hold the first memory, as the runtime does it, or `garbage` times noise.
    """
    slots = len(inputs["memory_row"])
    frame = OrtFrameAttention(model, geometry, deployment).double()
    write = OrtMemoryKeys(model, geometry, deployment).double()
    started, query = frame(inputs["features"].flatten(2).transpose(1, 2))
    found = {"started": started, "query": query}
    whole = slots == 1 or deployment.pool == 1
    for slot in range(slots):
        if not inputs["memory_row"][slot].any():
            memory = garbage * inputs[memory_port(slot)] if garbage else inputs[memory_port(0)]
        else:
            memory = inputs[memory_port(slot)]
        written = write(memory)
        pooled, keys = written if isinstance(written, tuple) else (memory, written)
        found[memory_port(slot)], found[keys_port(slot)] = memory if whole else pooled, keys
    return found | {port: inputs[port] for port in ("memory_row", "pointers", "pointer_used")}


def fused(model: EfficientTAM, inputs: dict[str, Tensor]) -> Tensor:
    """What the plain model makes of the used slots, as tokens."""
    with torch.inference_mode():
        found = reference_function(model, memory_attention_name(len(inputs["memory_row"])))(inputs)
    return found["fused"].flatten(2).transpose(1, 2)


Contract = Callable[[Geometry, Deployment], dict[str, Graph]]


def arguments(
    geometry: Geometry, deployment: Deployment, slots: int, values: dict[str, Tensor], contract: Contract = ort_contract
) -> list[Tensor]:
    graph = contract(geometry, deployment)[memory_attention_name(slots)]
    return [values[port.name] for port in graph.inputs]


class Exported:
    """Exported graphs of one model, each with its session."""

    def __init__(self, kind: CrossAttention, sharpness: float = 1.0, edges: Contract = ort_contract) -> None:
        self.contract = edges
        self.model = double_model(kind, sharpness=sharpness)
        self.geometry, self.deployment = layout(self.model)
        self.single = deepcopy(self.model).float()
        self.files: dict[str, onnx.ModelProto] = {}
        self.sessions: dict[str, ort.InferenceSession] = {}

    def __call__(self, name: str, *inputs: Tensor) -> list[Tensor]:
        graph = self.contract(self.geometry, self.deployment)[name]
        if name not in self.files:
            parts = (self.single, self.geometry, self.deployment)
            if name == "frame_attention":
                module: nn.Module = OrtFrameAttention(*parts)
            elif name == "memory_keys":
                module = OrtMemoryKeys(*parts)
            else:
                module = OrtMemoryAttention(*parts, int(name.rpartition("_")[2]))
            self.files[name] = export_graph(module.eval(), graph)
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            self.sessions[name] = ort.InferenceSession(
                self.files[name].SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        feed = {port.name: x.float().numpy() for port, x in zip(graph.inputs, inputs, strict=True)}
        return [torch.from_numpy(x).double() for x in self.sessions[name].run(None, feed)]


def chained(graphs: Exported, inputs: dict[str, Tensor]) -> Tensor:
    """The three graphs after each other; unused slots hold 50 times noise."""
    geometry, slots = graphs.geometry, len(inputs["memory_row"])
    with torch.inference_mode():
        values = edges(graphs.model, geometry, graphs.deployment, inputs, 50.0)
    values["started"], values["query"] = graphs("frame_attention", inputs["features"].flatten(2).transpose(1, 2))
    for slot in range(int(inputs["memory_row"].sum())):
        written = graphs("memory_keys", inputs[memory_port(slot)])
        values[keys_port(slot)] = written[-1]
        if len(written) > 1 and slots > 1:
            values[memory_port(slot)] = written[0]
    given = arguments(geometry, graphs.deployment, slots, values, graphs.contract)
    return graphs(memory_attention_name(slots), *given)[0]
