"""Compressed weights beside constants that several operators share."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coremltools", reason="coremltools is not installed")

from torch import Tensor, nn  # noqa: E402

from etam_onnx.conversion.coreml.converter import converted, exported  # noqa: E402
from etam_onnx.conversion.coreml.interpreter import Interpreter  # noqa: E402
from etam_onnx.conversion.coreml.package_writer import write_package  # noqa: E402
from etam_onnx.conversion.coreml.reader import read_package  # noqa: E402
from etam_onnx.graphs.contract import Graph, Port  # noqa: E402

WIDTH = 128
KINDS = {"int8": "constexpr_blockwise_shift_scale", "palette6": "constexpr_lut_to_dense"}
ERROR = {"int8": 2e-2, "palette6": 6e-2}
"""Measured 6.2e-3 and 2.3e-2."""


class Shared(nn.Module):
    """A bias of zeros three times over, and a matrix that is a weight twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        with torch.no_grad():
            self.second.weight.copy_(self.first.weight)
            self.first.bias.zero_()
            self.second.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x))))


@pytest.mark.parametrize("weights", ["int8", "palette6"])
def test_a_shared_bias_does_not_keep_weights_from_being_compressed(weights: str, tmp_path: Path) -> None:
    module = Shared().eval().requires_grad_(False)
    graph = Graph("shared", "", (Port("x", (4, WIDTH), ""),), (Port("y", (4, WIDTH), ""),), {})
    path = tmp_path / "shared.mlpackage"
    write_package(converted(exported(module, graph), graph, "iOS18", weights), path)
    histogram = read_package(path).function().histogram()
    assert (histogram["linear"], histogram["layer_norm"], histogram[KINDS[weights]]) == (2, 1, 1)
    x = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    wanted = module(x)
    found = torch.from_numpy(Interpreter(path)(x=x.numpy())["y"])
    assert (found - wanted).abs().max() / wanted.abs().max() < ERROR[weights]
