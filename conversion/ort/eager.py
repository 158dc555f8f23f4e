"""The `ort` graphs run by PyTorch instead of exported: what the files are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ...graphs.contract import Geometry, Port
from ...graphs.ort_contract import Deployment, ort_contract
from ...graphs.variants import ORT
from ...manifest_of_model import manifest_of
from ...model import EfficientTAM
from ...runtime.backend import Handle
from ...runtime.networks import Networks
from .wrappers import ort_graph


class EagerGraph:
    """A module behind a graph's ports, in double precision.

    Host ports give float32 arrays, the others double-precision tensors; either is taken anywhere.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        self.module = module.double()
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def __call__(self, **inputs: Handle) -> dict[str, Handle]:
        given = (inputs[port.name] for port in self.inputs)
        tensors = [torch.as_tensor(value).double() for value in given]
        with torch.inference_mode():
            found = self.module(*tensors)
        found = found if isinstance(found, tuple) else (found,)
        return {
            port.name: value.numpy().astype(np.float32) if port.host else value
            for port, value in zip(self.outputs, found, strict=True)
        }


def eager_networks(model: EfficientTAM, geometry: Geometry, deployment: Deployment) -> Networks:
    """The `ort` variant of `model` for any predictor, in double precision."""
    double = deepcopy(model).double()
    runners = {
        name: EagerGraph(ort_graph(double, geometry, deployment, name), graph.inputs, graph.outputs)
        for name, graph in ort_contract(geometry, deployment).items()
    }
    manifest = replace(manifest_of(model, geometry), deployment=deployment)
    return Networks(manifest, runners, f"PyTorch {model.config.name}, {ORT}", ORT)
