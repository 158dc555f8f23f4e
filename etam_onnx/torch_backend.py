"""PyTorch as one more backend of the tracking loop: the plain model behind the graphs' edges.

Unused slots are dropped here rather than masked, so this is the reference that the masked static graphs are
compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .graphs.contract import LABELS, Geometry, contract, memory_port
from .manifest_of_model import geometry_of, manifest_of
from .model import EfficientTAM
from .runtime.backend import Handle, Runner
from .runtime.networks import Networks


class _TorchGraph:
    """One graph of the contract, computed by methods of the model."""

    def __init__(
        self, function: Callable[[dict[str, Tensor]], dict[str, Tensor]], host_outputs: set[str], device: torch.device
    ) -> None:
        self.function = function
        self.host_outputs = host_outputs
        self.device = device

    def __call__(self, **inputs: Handle) -> dict[str, Handle]:
        tensors = {
            name: torch.from_numpy(value).to(self.device) if isinstance(value, np.ndarray) else value
            for name, value in inputs.items()
        }
        with torch.inference_mode():
            outputs = self.function(tensors)
        return {
            name: value.float().cpu().numpy() if name in self.host_outputs else value for name, value in outputs.items()
        }


def image_encoder(model: EfficientTAM, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The image encoder's graph in the plain model."""
    features = model.encode_image(inputs["image"])
    return {"features": features, "features_without_memory": model.without_memory(features)}


def memory_attention(model: EfficientTAM, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A memory-attention graph in the plain model: only the used slots take part."""
    used = [slot for slot, row in enumerate(inputs["memory_row"]) if row.any()]
    rows = [int(inputs["memory_row"][slot].argmax()) for slot in used]
    pointers = inputs["pointers"][inputs["pointer_used"][:, 0] > 0][None]
    memories = [inputs[memory_port(slot)] for slot in used]
    return {"fused": model.attend(inputs["features"], memories, rows, pointers)}


def mask_decoder(model: EfficientTAM, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's graph in the plain model: only the used prompt slots take part."""
    label = inputs["point_label"][0]
    used = label.any(1)
    encoder, features = model.sam_prompt_encoder, inputs["features"]
    labels = label[used].argmax(1)[None] + LABELS[0]
    sparse = encoder.points(inputs["points"][:, used], labels, model.config.image_size)
    dense = encoder.mask(inputs["mask_input"]) if inputs["mask_used"].item() else encoder.no_mask()
    out = model.sam_mask_decoder(features, encoder.pe_layer.dense(features.shape[-1]), sparse, dense)
    return {
        "mask_logits": out.mask_logits,
        "iou": out.iou,
        "mask_pointers": model.obj_ptr_proj(out.tokens)[0],
        "presence": out.presence[0],
    }


def memory_encoder(model: EfficientTAM, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The memory encoder's graph in the plain model."""
    binarize = bool(inputs["binarize"].item())
    return {"memory": model.encode_memory(inputs["features"], inputs["mask_logits"], binarize)}


def reference_function(model: EfficientTAM, graph_name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """What the graph of that name computes, as a function of its named inputs."""
    kind = "memory_attention" if graph_name.startswith("memory_attention") else graph_name
    function = {
        "image_encoder": image_encoder,
        "memory_attention": memory_attention,
        "mask_decoder": mask_decoder,
        "memory_encoder": memory_encoder,
    }[kind]
    return lambda inputs: function(model, inputs)


def torch_networks(model: EfficientTAM, geometry: Geometry | None = None) -> Networks:
    """The networks of `model` for any predictor: ``VideoPredictor(torch_networks(model))``."""
    geometry = geometry or geometry_of(model.config)
    device = next(model.parameters()).device
    runners: dict[str, Runner] = {}
    for name, graph in contract(geometry).items():
        host = {port.name for port in graph.outputs if port.host}
        runners[name] = _TorchGraph(reference_function(model, name), host, device)
    return Networks(manifest_of(model, geometry), runners, f"PyTorch {model.config.name}")
