"""The forms for Core ML are pinned to the plain modules, and to what half precision can hold."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("coremltools", reason="coremltools is not installed")

from coreml_graphs import model as varied_model  # noqa: E402

from etam_onnx.conversion.coreml.forms import CoremlMemoryEncoder, FusedChannelNorm, coreml_graph  # noqa: E402
from etam_onnx.conversion.portable import portable_graph  # noqa: E402
from etam_onnx.graphs.contract import contract  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.model.layers import ChannelNorm  # noqa: E402
from etam_onnx.runtime.parity import relative_error  # noqa: E402
from etam_onnx.torch_backend import reference_function  # noqa: E402


def test_the_norm_is_the_plain_one() -> None:
    """A scale of zero, too."""
    generator = torch.Generator().manual_seed(0)
    norm = ChannelNorm(12).double()
    norm.weight.data.normal_(generator=generator)
    norm.bias.data.normal_(generator=generator)
    norm.weight.data[3] = 0
    norm.weight.data[4] = -1e-3
    x = torch.randn(2, 12, 5, 7, generator=generator, dtype=torch.float64) * 30 + 5
    fused = FusedChannelNorm(norm).double()
    assert (fused(x) - norm(x)).abs().max() < 1e-6  # its numbers are stored in single precision
    assert (fused(x)[:, 3] - norm.bias[3]).abs().max() < 1e-6


def test_the_threshold_is_exact_for_every_number_of_half_precision() -> None:
    every = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.float16).copy())
    finite = every[torch.isfinite(every)]
    encoder = CoremlMemoryEncoder(varied_model())
    for kind in (torch.float16, torch.float32):
        found = encoder.threshold(finite.to(kind))
        assert torch.equal(found, (finite > 0).to(kind))


@pytest.mark.parametrize("binarize", [0.0, 1.0])
def test_the_memory_encoder_is_the_plain_model(binarize: float) -> None:
    model = varied_model()
    geometry = geometry_of(model.config)
    rng = np.random.default_rng(3)
    inputs = {
        port.name: torch.from_numpy(rng.standard_normal(port.shape, np.float32))
        for port in contract(geometry)["memory_encoder"].inputs
    }
    inputs["mask_logits"] = torch.round(inputs["mask_logits"] * 320) / 64
    inputs["binarize"] = torch.tensor([binarize])
    with torch.inference_mode():
        found = coreml_graph(model, geometry, "memory_encoder")(*inputs.values())
        wanted = reference_function(model, "memory_encoder")(inputs)["memory"]
    assert relative_error(found.numpy(), wanted.numpy()) < 5e-6  # measured 8e-7


def test_the_model_keeps_its_modules() -> None:
    model = varied_model()
    geometry = geometry_of(model.config)
    before = {name: type(module) for name, module in model.named_modules()}
    for name in contract(geometry):
        module = coreml_graph(model, geometry, name)
        assert not any(isinstance(part, ChannelNorm) for part in module.modules())
        assert not any(parameter.requires_grad for parameter in module.parameters())
        kept = any(isinstance(part, ChannelNorm) for part in portable_graph(model, geometry, name).modules())
        assert kept == any(isinstance(part, FusedChannelNorm) for part in module.modules())
    assert {name: type(module) for name, module in model.named_modules()} == before
    with pytest.raises(ValueError, match="no graph is called 'painter'"):
        coreml_graph(model, geometry, "painter")
