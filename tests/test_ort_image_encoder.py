"""The image encoder of the `ort` variant: every rewriting in float64, and the whole of it on ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import torch.nn.functional as F  # noqa: E402
from small_model import small_config, small_model  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from etam_onnx.config import config_named  # noqa: E402
from etam_onnx.conversion.onnx_graph import export_graph  # noqa: E402
from etam_onnx.conversion.ort.attention_biases import without_biases  # noqa: E402
from etam_onnx.conversion.ort.image_encoder import OrtImageEncoder  # noqa: E402
from etam_onnx.conversion.ort.norm_folding import fold_norm  # noqa: E402
from etam_onnx.conversion.ort.operators import attend  # noqa: E402
from etam_onnx.conversion.ort.pad_token import attend_with_scores, pad_scores  # noqa: E402
from etam_onnx.conversion.ort.patch_rows import PatchRows  # noqa: E402
from etam_onnx.conversion.ort.token_convolution import TokenConvolution  # noqa: E402
from etam_onnx.conversion.ort.window_order import window_order  # noqa: E402
from etam_onnx.conversion.portable.image_encoder import PortableImageEncoder  # noqa: E402
from etam_onnx.graphs.ort_contract import Deployment, ort_contract  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.model import EfficientTAM  # noqa: E402
from etam_onnx.runtime.parity import relative_error  # noqa: E402


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def random_norm(width: int) -> nn.LayerNorm:
    norm = nn.LayerNorm(width, eps=1e-6, dtype=torch.float64)
    norm.weight.data, norm.bias.data = 1 + 0.5 * normal(width), 0.5 * normal(width)
    return norm.requires_grad_(False)


def model_with_norms(window: int = 4, seed: int = 0) -> EfficientTAM:
    """The small model with another window and norms that scale and shift."""
    model = small_model(seed=seed)
    if window != 4:
        other = EfficientTAM(replace(small_config(), vit_window=window)).eval()
        other.load_state_dict(model.state_dict())
        model = other
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def assert_equal(found: Tensor, wanted: Tensor) -> None:
    """To the rounding of double precision; the largest difference measured is 3e-15."""
    found, wanted = found.detach(), wanted.detach()
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 3e-14


def test_norm_folded_into_a_linear_layer() -> None:
    torch.manual_seed(0)
    norm, weight, bias, x = random_norm(8), normal(5, 8), normal(5), normal(7, 8)
    folded = fold_norm(norm, weight, bias)
    bare = F.layer_norm(x, (8,), eps=norm.eps)
    assert_equal(bare @ folded.weight + folded.shift + folded.bias, F.linear(norm(x), weight, bias))


@pytest.mark.parametrize("padded", [0, 3])
def test_attention_without_biases_on_keys_and_values(padded: int) -> None:
    """Padded tokens are zeros behind the norm, in front of the projections."""
    torch.manual_seed(1)
    norm, qkv, proj, x = random_norm(8), nn.Linear(8, 24).double(), nn.Linear(8, 8).double(), normal(1, 6, 8)
    normed = torch.cat((norm(x), torch.zeros(1, padded, 8)), 1)
    wanted = proj(attend(*qkv(normed).chunk(3, -1), heads=2))[:, :6]

    parts, bare = without_biases(norm, qkv, proj), F.layer_norm(x, (8,), eps=norm.eps)
    keys = torch.cat((bare @ parts.key, parts.pad_key.expand(1, padded, 8)), 1)
    values = torch.cat((bare @ parts.value, parts.pad_value.expand(1, padded, 8)), 1)
    assert_equal(attend(bare @ parts.query + parts.query_bias, keys, values, 2) @ parts.out + parts.out_bias, wanted)


def test_equal_tokens_are_one_with_a_weight() -> None:
    torch.manual_seed(2)
    q, k, v, pad_key, pad_value = normal(2, 5, 8), normal(2, 5, 8), normal(2, 5, 8), normal(1, 1, 8), normal(1, 1, 8)

    def with_pads(count: int) -> tuple[Tensor, Tensor]:
        return torch.cat((k, pad_key.expand(2, count, 8)), 1), torch.cat((v, pad_value.expand(2, count, 8)), 1)

    assert_equal(attend_with_scores(q, *with_pads(1), pad_scores(5, 11), 2), attend(q, *with_pads(11), 2))


@pytest.mark.parametrize(("grid", "window"), [(24, 8), (32, 14), (64, 14), (6, 4), (6, 8), (5, 5)])
def test_groups_are_the_windows_of_the_map(grid: int, window: int) -> None:
    order, groups = window_order(grid, window)
    assert sorted(order.tolist()) == list(range(grid * grid))
    assert [group.start for group in groups] == [0, *(group.stop for group in groups[:-1])]
    assert groups[-1].stop == grid * grid
    seen = set()
    for group in groups:
        assert group.tokens + group.padding == window * window
        for tokens in order[group.start : group.stop].view(group.windows, group.tokens).tolist():
            places = {(token // grid // window, token % grid // window) for token in tokens}
            assert len(places) == 1
            seen |= places
    assert len(seen) == sum(group.windows for group in groups) == (-(-grid // window)) ** 2


def test_what_is_padded_at_the_published_sizes() -> None:
    def summary(name: str) -> list[tuple[int, int, int]]:
        config = config_named(name)
        return [(g.windows, g.tokens, g.padding) for g in window_order(config.grid, config.vit_window)[1]]

    assert summary("etam-nano") == [(9, 64, 0)]
    assert summary("efficienttam_ti_512x512") == [(4, 196, 0), (4, 56, 140), (1, 16, 180)]
    assert summary("efficienttam_ti") == [(16, 196, 0), (8, 112, 84), (1, 64, 132)]


def test_patches_as_rows_in_any_order() -> None:
    torch.manual_seed(5)
    order = torch.randperm(36)
    model = model_with_norms().double()
    trunk = model.image_encoder.trunk
    image = 255 * torch.rand(1, 3, 96, 96, dtype=torch.float64)
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.inference_mode():
        wanted = trunk.patch_embed((image / 255 - mean) / std) + trunk.position(6)
        assert_equal(PatchRows(trunk, 6, order)(image), wanted.flatten(2)[0].T[order])


def test_convolution_on_tokens_in_any_order() -> None:
    torch.manual_seed(3)
    convolution, order = nn.Conv2d(4, 5, 3, padding=1, bias=False).double(), torch.randperm(36)
    image = normal(1, 4, 6, 6)
    found = TokenConvolution(convolution, 6, order)(image.flatten(2)[0].T[order])
    assert_equal(found, convolution(image).flatten(2)[0].T)


@pytest.mark.parametrize("window", [2, 3, 4, 8])
def test_the_whole_encoder_in_double_precision(window: int) -> None:
    """Windows that fit the map, that reach over its border, and one that is larger than it."""
    model = model_with_norms(window).double()
    image = 255 * torch.rand(1, 3, 96, 96, dtype=torch.float64)
    with torch.inference_mode():
        wanted = model.encode_image(image).flatten(2).transpose(1, 2)
        assert_equal(OrtImageEncoder(model)(image), wanted)


@pytest.mark.parametrize("window", [3, 4])
def test_the_graph_on_onnx_runtime(window: int) -> None:
    """Against the portable form in single precision; measured 7e-7."""
    model = model_with_norms(window)
    contract = ort_contract(geometry_of(model.config), Deployment(2, 2, (1,)))["image_encoder"]
    exported = export_graph(OrtImageEncoder(model).eval(), contract)
    image = np.random.default_rng(4).integers(0, 256, (1, 3, 96, 96)).astype(np.float32)
    session = ort.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": image})
    with torch.inference_mode():
        portable = PortableImageEncoder(model)(torch.from_numpy(image))[0]
    assert relative_error(found, portable.flatten(2).transpose(1, 2).numpy()) < 5e-6

    groups = len(window_order(6, window)[1])
    kinds = Counter(node.op_type for node in exported.graph.node)
    assert kinds["MultiHeadAttention"] == groups + 1, "one per group of the window block, one in the global block"
    assert kinds["Gelu"] == 2 and kinds["Erf"] == 0
    assert kinds["Transpose"] == kinds["Softmax"] == kinds["Conv"] == 0
