"""The model that is measured: its graphs as modules, what they are called with, and what they export to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ModelConfig
from ...graphs.contract import Graph, Port, memory_attention_name, memory_port
from ...graphs.ort_contract import keys_port
from ...manifest_of_model import geometry_of
from ...model import EfficientTAM
from ...runtime.pipeline import prompt_ports
from ...runtime.preprocess import video_input
from ...runtime.prompts import NO_POINTS, padded
from ..onnx_graph import export_graph
from ..ort.deployment import deployment_of
from ..ort.wrappers import ort_graph
from ..portable import portable_graph
from ..precisions import in_precision
from ..scenario import Call, render_frames
from .rewriting import Step

FRAME = ("image_encoder", "frame_attention", "memory_attention", "tracked_decoder", "memory_encoder", "memory_keys")
"""The `ort` graphs of a tracked frame of one object, in order."""


def random_model(config: ModelConfig) -> EfficientTAM:
    """Weights from a fixed seed: no norm, bias or scale is 0 or 1, IoUs are apart, and attention is no plain mean."""
    torch.manual_seed(0)
    model = EfficientTAM(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.sam_mask_decoder.iou_prediction_head.layers[-1].weight.mul_(8)
    for layer in model.memory_attention.layers:
        for attention in (layer.self_attn, layer.cross_attn_image):
            attention.q_proj.weight.mul_(4)
            attention.out_proj.weight.mul_(4)
    return model


class Subject:
    """One model in evaluation mode and double or single precision, with the sizes of its deployment.

    slots: memory slots that a tracked frame uses when all recent frames are remembered.
    """

    def __init__(self, model: EfficientTAM) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config = model.config
        self.dtype = model.maskmem_tpos_enc.dtype
        self.geometry = geometry_of(model.config)
        self.deployment = deployment_of(model.config, self.geometry)
        self.slots = 1 + self.geometry.recent_memories
        self._modules: dict[str, nn.Module] = {}
        self._inputs: dict[str, dict[str, Tensor]] = {}
        self._exports: dict[nn.Module, onnx.ModelProto] = {}

    @property
    def pools(self) -> bool:
        """Whether several memories are pooled."""
        return self.deployment.pool > 1

    def name(self, graph: str) -> str:
        """The contract's name of a graph; ``memory_attention`` is the one with `slots`."""
        return memory_attention_name(self.slots) if graph == "memory_attention" else graph

    def module(self, graph: str, portable: bool = False) -> nn.Module:
        """The module of a graph, one object however often it is asked for."""
        name, key = self.name(graph), f"portable {graph}" if portable else graph
        if key not in self._modules:
            made = (
                portable_graph(self.model, self.geometry, name)
                if portable
                else ort_graph(self.model, self.geometry, self.deployment, name)
            )
            self._modules[key] = made.to(self.dtype)
        return self._modules[key]

    def inputs(self, graph: str) -> dict[str, Tensor]:
        """What an `ort` graph is called with: what the graphs before it gave."""
        name = self.name(graph)
        if name not in self._inputs:
            self._inputs[name] = self._made(name)
        return self._inputs[name]

    def outputs(self, graph: str) -> tuple[Tensor, ...]:
        """What an `ort` graph gives on its `inputs`."""
        return _run(self.module(graph), self.inputs(graph))

    def step(self, graph: str, precision: str = "fp32") -> Step:
        """An `ort` graph as it is deployed in a precision."""
        name, inputs = self.name(graph), self.inputs(graph)

        def convert(model: onnx.ModelProto) -> onnx.ModelProto:
            return in_precision(model, name, precision, self.geometry.width, [self.sample(graph)])

        return Step(self.module(graph), inputs, convert)

    def sample(self, graph: str) -> Call:
        """A recorded call of an `ort` graph, for what is measured on samples."""
        arrays = {port: value.float().numpy() for port, value in self.inputs(graph).items()}
        return Call(self.name(graph), arrays, {})

    def exported(self, step: Step) -> onnx.ModelProto:
        """The graph of a step; those of `module` are exported once."""
        model = self._exports.get(step.module)
        if model is None:
            model = _export(step.module, step.inputs)
            if any(step.module is module for module in self._modules.values()):
                self._exports[step.module] = model
        return model if step.rewrite is None else step.rewrite(model)

    @cached_property
    def memories(self) -> list[dict[str, Tensor]]:
        """As many different memories as a tracked frame reads: ``memory``, and what `memory_keys` made of each."""
        encoder, keys = self.module("memory_encoder"), self.module("memory_keys")
        found = []
        for seed in range(self.slots):
            given = {**self.inputs("memory_encoder"), "mask_logits": self._blobs(seed)}
            (memory,) = _run(encoder, given)
            *pooled, key = _run(keys, {"memory": memory})
            found.append({"memory": memory, "pooled": pooled[0] if pooled else memory, "keys": key})
        return found

    def recollection(self, slots: int, used: int) -> dict[str, Tensor]:
        """Temporal rows, pointers and which of these are used, where `used` of so many memory slots are."""
        geometry = self.geometry
        row = torch.zeros(slots, geometry.temporal_rows, dtype=self.dtype)
        for slot in range(used):
            row[slot, geometry.temporal_rows - 1 if slot == 0 else slot - 1] = 1
        pointers = self._normal(geometry.pointer_slots, geometry.width, seed=1)
        used_pointers = torch.ones(geometry.pointer_slots, 1, dtype=self.dtype)
        used_pointers[self.slots + geometry.recent_pointers :] = 0
        return {"memory_row": row, "pointers": pointers, "pointer_used": used_pointers}

    def attention_inputs(self, slots: int, used: int) -> dict[str, Tensor]:
        """Of the memory attention of so many slots; the unused ones hold the first memory."""
        started, query = self.outputs("frame_attention")
        whole = slots == 1 or not self.pools
        parts = [self.memories[slot if slot < used else 0] for slot in range(slots)]
        found = {"started": started, "query": query}
        found |= {memory_port(i): part["memory" if whole else "pooled"] for i, part in enumerate(parts)}
        if slots > 1 or not self.pools:
            found |= {keys_port(i): part["keys"] for i, part in enumerate(parts)}
        return found | self.recollection(slots, used)

    def map_of(self, tokens: Tensor) -> Tensor:
        """Tokens (1, N, C) as a map (1, C, g, g)."""
        return tokens.transpose(1, 2).reshape(1, -1, self.config.grid, self.config.grid)

    def _made(self, name: str) -> dict[str, Tensor]:
        if name.startswith("memory_attention"):
            slots = int(name.rpartition("_")[2])
            return self.attention_inputs(slots, min(slots, self.slots))
        if name == "image_encoder":
            return {"image": torch.from_numpy(video_input(render_frames()[0], self.config.image_size)).to(self.dtype)}
        if name == "frame_attention":
            return {"features": self.outputs("image_encoder")[0]}
        if name == "memory_encoder":
            features = self.inputs("frame_attention")["features"]
            return {"features": features, "mask_logits": self._blobs(0), "binarize": features.new_zeros(1)}
        if name == "memory_keys":
            return {"memory": self.memories[0]["memory"]}
        fused = self.outputs("memory_attention")[0]
        if name == "tracked_decoder":
            return {"features": fused}
        prompt = prompt_ports(padded(NO_POINTS), None, self.geometry)
        ports = {port: torch.from_numpy(np.asarray(value)).to(self.dtype) for port, value in prompt.items()}
        return {"features": fused, "without_memory": fused.new_zeros(1), **ports}

    def _blobs(self, seed: int) -> Tensor:
        """Mask logits of both signs, smooth as those of a decoder."""
        side = self.geometry.mask_size
        coarse = 8 * self._normal(1, 1, 6, 6, seed=seed)
        return F.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)

    def _normal(self, *shape: int, seed: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(self.dtype)


def _run(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        found = module(*inputs.values())
    return found if isinstance(found, tuple) else (found,)


def _export(module: nn.Module, inputs: Mapping[str, Tensor]) -> onnx.ModelProto:
    """`export_graph` with ports of the shapes that go in and come out."""

    def port(name: str, tensor: Tensor) -> Port:
        return Port(name, tuple(tensor.shape), "")

    outputs = tuple(port(f"output_{i}", tensor) for i, tensor in enumerate(_run(module, inputs)))
    ports = tuple(port(name, tensor) for name, tensor in inputs.items())
    return export_graph(module.eval(), Graph(type(module).__name__, "", ports, outputs, {}))
