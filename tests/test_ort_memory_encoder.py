"""The memory encoder of the `ort` variant against the plain one: rewritings in double precision, graph in single."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from small_model import small_model  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from etam_onnx.conversion.onnx_graph import export_graph  # noqa: E402
from etam_onnx.conversion.ort.memory_encoder import OrtMemoryEncoder  # noqa: E402
from etam_onnx.conversion.ort.normed_convolution import NormedConvolution, centred  # noqa: E402
from etam_onnx.conversion.ort.signed_mask import SignedMask  # noqa: E402
from etam_onnx.conversion.portable.memory_encoder import PortableMemoryEncoder  # noqa: E402
from etam_onnx.graphs.contract import Graph, contract  # noqa: E402
from etam_onnx.graphs.ort_contract import Deployment, ort_contract  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.model import EfficientTAM  # noqa: E402
from etam_onnx.model.layers import ChannelNorm  # noqa: E402

EXACT = 5e-14
"""Largest error of a rewriting in double precision, relative to the largest value; measured: at most 7e-15."""
SINGLE = 1e-5
"""The same of the graph in single precision, the contract's tolerance; measured: at most 3e-6."""


def error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


def flag(value: bool) -> Tensor:
    return torch.tensor([float(value)])


@pytest.fixture(scope="module")
def single() -> EfficientTAM:
    model = small_model()
    torch.manual_seed(1)
    with torch.no_grad():  # a model whose norms, scales and biases are none of 0 and 1
        for name, parameter in model.memory_encoder.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            assert float(parameter.std()) > 0 or parameter.numel() == 1, name
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def double(single: EfficientTAM) -> EfficientTAM:
    return copy.deepcopy(single).double()


@pytest.fixture(scope="module")
def inputs(double: EfficientTAM) -> tuple[Tensor, Tensor]:
    """Features as tokens and logits of both signs, in multiples of 1/64: upsampling them by four is exact, so that
    the threshold is the same in any order of sums.
    """
    torch.manual_seed(2)
    grid = double.config.grid
    logits = (torch.randn(1, 1, 4 * grid, 4 * grid) * 200).round() / 64
    logits[..., :5, :] = 0
    return torch.randn(1, grid * grid, double.config.width), logits


def plain(model: EfficientTAM, features: Tensor, logits: Tensor, binarize: bool) -> Tensor:
    grid = model.config.grid
    maps = features.double().transpose(1, 2).reshape(1, -1, grid, grid)
    return model.encode_memory(maps, logits.double(), binarize)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_mean_of_a_norm_goes_into_the_convolution(stride: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, stride, 1).double().requires_grad_(False)
    norm = ChannelNorm(8).double().requires_grad_(False)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(1, 3, 10, 12).double()
    y = convolution(x)
    assert error(centred(convolution)(x), y - y.mean(1, keepdim=True)) < EXACT
    assert error(NormedConvolution(convolution, norm)(x), norm(y)) < EXACT
    assert error(NormedConvolution(convolution, norm, gain=10.0)(x), norm(convolution(10 * x))) < EXACT


def test_a_soft_mask_is_a_hyperbolic_tangent(inputs: tuple[Tensor, Tensor]) -> None:
    logits = inputs[1].double()
    size = 4 * logits.shape[-1]
    upsampled = nn.functional.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
    assert error(10 * SignedMask(size)(logits, flag(False).double()), 20 * upsampled.sigmoid() - 10) < EXACT


def test_the_threshold_is_the_plain_one_bit_by_bit(inputs: tuple[Tensor, Tensor]) -> None:
    """For any logits, also where an interpolated one is 0 or tiny; single precision."""
    size = 4 * inputs[1].shape[-1]
    torch.manual_seed(3)
    noise = torch.randn_like(inputs[1])
    for logits in (inputs[1], noise, noise * 1e-20, noise.sign(), torch.full_like(noise, -1024), noise * 1e4):
        upsampled = nn.functional.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
        wanted = torch.where(upsampled > 0, 1.0, -1.0)
        assert torch.equal(SignedMask(size)(logits, flag(True)), wanted)


@pytest.mark.parametrize("binarize", [False, True])
def test_the_memory_is_that_of_the_plain_model(
    double: EfficientTAM, inputs: tuple[Tensor, Tensor], binarize: bool
) -> None:
    features, logits = inputs
    found = OrtMemoryEncoder(double)(features.double(), logits.double(), flag(binarize).double())
    assert error(found, plain(double, features, logits, binarize)) < EXACT


@pytest.fixture(scope="module")
def graphs(single: EfficientTAM) -> tuple[ort.InferenceSession, ort.InferenceSession]:
    """The graph of this variant and the portable one."""
    geometry, name = geometry_of(single.config), "memory_encoder"
    deployment = Deployment(single.config.memory_layers, 1, (1, 7))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1

    def session(module: nn.Module, graph: Graph) -> ort.InferenceSession:
        content = export_graph(module.eval(), graph).SerializeToString()
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    fast = session(OrtMemoryEncoder(single), ort_contract(geometry, deployment)[name])
    return fast, session(PortableMemoryEncoder(single), contract(geometry)[name])


def run_both(
    graphs: tuple[ort.InferenceSession, ort.InferenceSession], features: Tensor, logits: Tensor, binarize: bool
) -> tuple[Tensor, Tensor]:
    grid = logits.shape[-1] // 4
    maps = features.transpose(1, 2).reshape(1, -1, grid, grid).contiguous()
    rest = {"mask_logits": logits.numpy(), "binarize": flag(binarize).numpy()}
    found, reference = (
        torch.from_numpy(graph.run(None, {"features": x.numpy(), **rest})[0]).double()
        for graph, x in zip(graphs, (features, maps), strict=True)
    )
    return found, reference


@pytest.mark.parametrize("binarize", [False, True])
def test_the_graph(
    graphs: tuple[ort.InferenceSession, ort.InferenceSession],
    double: EfficientTAM,
    inputs: tuple[Tensor, Tensor],
    binarize: bool,
) -> None:
    features, logits = inputs
    for mask in (logits, torch.full_like(logits, -1024), torch.full_like(logits, 30)):
        found, reference = run_both(graphs, features, mask, binarize)
        assert error(found, plain(double, features, mask, binarize)) < SINGLE
        assert error(found, reference) < SINGLE


def test_the_threshold_of_the_graph_is_that_of_the_portable_one(
    graphs: tuple[ort.InferenceSession, ort.InferenceSession], inputs: tuple[Tensor, Tensor]
) -> None:
    """Logits of any kind: a pixel on the other side of the threshold would change the memory by far more than 1e-5."""
    features, logits = inputs
    torch.manual_seed(4)
    for scale in (1e-6, 1.0, 100.0):
        found, reference = run_both(graphs, features, torch.randn_like(logits) * scale, True)
        assert error(found, reference) < SINGLE
