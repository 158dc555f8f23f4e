"""The decoders of the `ort` variant against the plain model: rewritings in double precision, graphs in single."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from small_model import small_model  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from etam_onnx.conversion.onnx_graph import export_graph  # noqa: E402
from etam_onnx.conversion.ort.absorbed_attention import ImageReadsTokens, TokensReadImage  # noqa: E402
from etam_onnx.conversion.ort.decoder_heads import DecoderHeads  # noqa: E402
from etam_onnx.conversion.ort.mask_decoder import OrtMaskDecoder  # noqa: E402
from etam_onnx.conversion.ort.projected_attention import (  # noqa: E402
    ProjectedImageReadsTokens,
    ProjectedTokensReadImage,
)
from etam_onnx.conversion.ort.token_self_attention import TokenSelfAttention  # noqa: E402
from etam_onnx.conversion.ort.token_upscaling import TokenUpscaling, in_place  # noqa: E402
from etam_onnx.conversion.ort.tracked_decoder import OrtTrackedDecoder  # noqa: E402
from etam_onnx.conversion.portable.memory_attention import MASKED  # noqa: E402
from etam_onnx.graphs.contract import LABELS  # noqa: E402
from etam_onnx.graphs.ort_contract import Deployment, ort_contract  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.model import EfficientTAM  # noqa: E402
from etam_onnx.model.mask_decoder import TokenAttention  # noqa: E402

WIDTH, CELLS, TOKENS = 64, 36, 5
EXACT = 5e-14
"""Largest error of a rewriting in double precision, relative to the largest value; measured: at most 7e-15."""
SINGLE = 1e-5
"""The same of a whole graph in single precision, the contract's tolerance; measured: at most 3e-6."""


def error(found: Tensor, wanted: Tensor, unit: float = 0.0) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(unit))


@pytest.fixture(scope="module")
def single() -> EfficientTAM:
    model = small_model()
    with torch.no_grad():  # prompts, presence and IoU that differ from frame to frame
        for layer in (model.sam_mask_decoder.iou_prediction_head, model.sam_mask_decoder.pred_obj_score_head):
            layer.layers[-1].weight.mul_(8)
        for token in (model.sam_mask_decoder.mask_tokens, model.sam_prompt_encoder.not_a_point_embed):
            token.weight.mul_(2)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def double(single: EfficientTAM) -> EfficientTAM:
    return copy.deepcopy(single).double()


def attention(inner: int) -> TokenAttention:
    torch.manual_seed(inner)
    attn = TokenAttention(WIDTH, inner, 8).double().requires_grad_(False)
    for layer in (attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj):
        layer.weight.mul_(2)
        nn.init.normal_(layer.bias)
    return attn


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("many", [False, True])
def test_tokens_read_cells(many: bool) -> None:
    attn = attention(WIDTH // 2)
    tokens, image, position = draw(TOKENS, WIDTH), draw(CELLS, WIDTH), draw(CELLS, WIDTH)
    shift = draw(WIDTH) * (not many)
    wanted = attn(tokens[None], (image + shift + position)[None], (image + shift)[None])[0]
    read = ProjectedTokensReadImage(attn) if many else TokensReadImage(attn, shift)
    assert error(read.read(read.queries(tokens), image + position, image), wanted) < EXACT
    assert wanted.std(0).max() > 0.01, "the tokens read different things"


def image_reads(attn: TokenAttention, many: bool, shift: Tensor | None = None) -> nn.Module:
    return ProjectedImageReadsTokens(attn) if many else ImageReadsTokens(attn, shift)


@pytest.mark.parametrize("many", [False, True])
def test_cells_read_tokens(many: bool) -> None:
    attn = attention(WIDTH // 2)
    tokens, places, image, position = (draw(count, WIDTH) for count in (TOKENS, TOKENS, CELLS, CELLS))
    shift = draw(WIDTH) * (not many)
    wanted = image + shift + attn((image + position)[None], (tokens + places)[None], tokens[None])[0]
    read = image_reads(attn, many, shift)
    assert error(read(image, image + position, tokens + places, tokens, torch.zeros(TOKENS, 1)), wanted) < EXACT


@pytest.mark.parametrize("many", [False, True])
def test_a_token_of_weight_two_stands_for_two_and_a_masked_one_for_none(many: bool) -> None:
    tokens, places, image = draw(TOKENS, WIDTH), draw(TOKENS, WIDTH), draw(CELLS, WIDTH)
    bias = torch.zeros(TOKENS, 1, dtype=torch.float64)
    bias[3], bias[4] = MASKED, np.log(2)
    index = [0, 1, 2, 4, 4]
    to_tokens, among = attention(WIDTH // 2), attention(WIDTH)
    wanted = image + to_tokens(image[None], (tokens + places)[index][None], tokens[index][None])[0]
    assert error(image_reads(to_tokens, many)(image, image, tokens + places, tokens, bias), wanted) < EXACT
    placed = (tokens + places)[index][None]
    wanted = among(placed, placed, tokens[index][None])[0, [0, 1, 2, 4]]
    found = TokenSelfAttention(among)(tokens + places, tokens, bias)[[0, 1, 2, 4]]
    assert error(found, wanted) < EXACT


@pytest.mark.parametrize("many", [False, True])
def test_scores_far_above_what_exp_can_hold_are_no_trouble(many: bool) -> None:
    attn = attention(WIDTH // 2).float()
    tokens, image = draw(TOKENS, WIDTH).float() * 100, draw(CELLS, WIDTH).float() * 100
    scores = attn.split(attn.q_proj(image[None])) @ attn.split(attn.k_proj(tokens[None])).transpose(2, 3)
    assert scores.abs().max() > 1e4
    found = image_reads(attn, many)(image, image, tokens, tokens, torch.zeros(TOKENS, 1))
    wanted = image + attn(image[None], tokens[None], tokens[None])[0]
    assert error(found, wanted) < SINGLE


def test_upscaling_on_rows_is_two_transposed_convolutions(double: EfficientTAM) -> None:
    grid, decoder = double.config.grid, double.sam_mask_decoder
    image = draw(grid * grid, WIDTH)
    wanted = decoder.output_upscaling(image.T.reshape(1, WIDTH, grid, grid))
    assert error(in_place(TokenUpscaling(decoder)(image).T, grid), wanted) < EXACT


@pytest.mark.parametrize("masks", [(0, 1, 2, 3), (1, 2, 3), (2,)])
def test_heads_are_one_batch(double: EfficientTAM, masks: tuple[int, ...]) -> None:
    decoder = double.sam_mask_decoder
    tokens = draw(6, WIDTH)
    kept = [0, 1, *(2 + mask for mask in masks)]
    presence, iou, weights = DecoderHeads(decoder, masks)(tokens[kept])
    assert error(presence, decoder.pred_obj_score_head(tokens[:1])[0]) < EXACT
    assert error(iou, decoder.iou_prediction_head(tokens[1:2]).sigmoid()[:, list(masks)]) < EXACT
    assert error(weights, decoder.mask_weights(tokens[None, 2:])[0, list(masks)]) < EXACT


def as_map(features: Tensor, grid: int) -> Tensor:
    return features.transpose(1, 2).reshape(1, -1, grid, grid)


def best_alternative(model: EfficientTAM, features: Tensor) -> tuple[int, tuple[Tensor, ...]]:
    """What tracking takes of the plain decoder: which mask, and its logits, IoU, pointer and presence."""
    out = model.decode(as_map(features, model.config.grid))
    best = 1 + int(out.iou[0, 1:].argmax())
    one = slice(best, best + 1)
    return best, (out.mask_logits[:, one], out.iou[:, one], out.pointers[0, one], out.presence[0])


def test_a_tracked_frame_gets_its_best_alternative(double: EfficientTAM) -> None:
    decoder = OrtTrackedDecoder(double)
    chosen, presences = set(), []
    for seed in range(12):
        torch.manual_seed(seed)
        features = draw(1, CELLS, WIDTH) * 8
        best, wanted = best_alternative(double, features)
        chosen.add(best)
        presences.append(float(wanted[3]))
        for found, value in zip(decoder(features), wanted, strict=True):
            assert error(found, value) < EXACT
    assert len(chosen) > 1, "another alternative on another frame"
    assert max(presences) - min(presences) > 1


def test_the_first_of_equally_good_alternatives_is_taken(double: EfficientTAM) -> None:
    model = copy.deepcopy(double)
    last = model.sam_mask_decoder.iou_prediction_head.layers[-1]
    last.weight[2:], last.bias[2:] = last.weight[1], last.bias[1]
    features = draw(1, CELLS, WIDTH)
    out = model.decode(as_map(features, model.config.grid))
    assert out.iou[0, 1] == out.iou[0, 2] == out.iou[0, 3]
    assert error(OrtTrackedDecoder(model)(features)[0], out.mask_logits[:, 1:2]) < EXACT


def prompt_ports(labels: list[int], slots: int, size: int) -> tuple[Tensor, Tensor]:
    points, one_hot = torch.zeros(1, slots, 2), torch.zeros(1, slots, len(LABELS))
    points[0, : len(labels)] = torch.rand(len(labels), 2) * size
    for slot, label in enumerate(labels):
        one_hot[0, slot, LABELS.index(label)] = 1
    return points.double(), one_hot.double()


def plain_answer(model: EfficientTAM, ports: tuple[Tensor, ...], labels: list[int]) -> tuple[Tensor, ...]:
    """The plain decoder on the ports of the contract."""
    features, without_memory, points, _, mask_input, mask_used = ports
    encoder, grid = model.sam_prompt_encoder, model.config.grid
    image = as_map(features, grid)
    if without_memory.item():
        image = model.without_memory(image)
    sparse = encoder.points(points[:, : len(labels)], torch.tensor([labels]), model.config.image_size)
    dense = encoder.mask(mask_input) if mask_used.item() else encoder.no_mask()
    out = model.sam_mask_decoder(image, encoder.pe_layer.dense(grid), sparse, dense)
    return out.mask_logits, out.iou, model.obj_ptr_proj(out.tokens)[0], out.presence[0]


def prompted(model: EfficientTAM, labels: list[int], without_memory: float, mask_used: float) -> tuple[Tensor, ...]:
    torch.manual_seed(len(labels))
    grid = model.config.grid
    points, label = prompt_ports(labels, geometry_of(model.config).prompt_slots, model.config.image_size)
    mask = draw(1, 1, 4 * grid, 4 * grid) * 5
    raw, used = (torch.tensor([value], dtype=torch.float64) for value in (without_memory, mask_used))
    return draw(1, CELLS, WIDTH), raw, points, label, mask, used


PROMPTS = (([1, -1], 1.0, 0.0), ([2, 3, 0, 1, -1], 0.0, 1.0), ([-1, -1], 1.0, 1.0), ([1, 0] * 7 + [1, -1], 0.0, 0.0))


@pytest.mark.parametrize(("labels", "without_memory", "mask_used"), PROMPTS)
def test_a_prompted_frame(double: EfficientTAM, labels: list[int], without_memory: float, mask_used: float) -> None:
    ports = prompted(double, labels, without_memory, mask_used)
    for found, wanted in zip(OrtMaskDecoder(double)(*ports), plain_answer(double, ports, labels), strict=True):
        assert error(found, wanted) < EXACT


def session(module: nn.Module, name: str, model: EfficientTAM) -> ort.InferenceSession:
    graph = ort_contract(geometry_of(model.config), Deployment(model.config.memory_layers, 1, (1, 7)))[name]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    content = export_graph(module.eval(), graph).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(graph: ort.InferenceSession, ports: tuple[Tensor, ...]) -> list[Tensor]:
    names = [port.name for port in graph.get_inputs()]
    feeds = {name: port.float().numpy() for name, port in zip(names, ports, strict=True)}
    return [torch.from_numpy(value).double() for value in graph.run(None, feeds)]


def test_the_tracked_graph(single: EfficientTAM, double: EfficientTAM) -> None:
    graph = session(OrtTrackedDecoder(single), "tracked_decoder", single)
    for seed in range(4):
        torch.manual_seed(seed)
        features = (draw(1, CELLS, WIDTH) * 8).float().double()
        _, wanted = best_alternative(double, features)
        for unit, found, value in zip((1, 1, 0, 1), run(graph, (features,)), wanted, strict=True):
            assert error(found, value, unit) < SINGLE


def test_the_prompted_graph(single: EfficientTAM, double: EfficientTAM) -> None:
    graph = session(OrtMaskDecoder(single), "mask_decoder", single)
    for labels, without_memory, mask_used in PROMPTS:
        ports = tuple(port.float().double() for port in prompted(double, labels, without_memory, mask_used))
        wanted = plain_answer(double, ports, labels)
        for unit, found, value in zip((1, 1, 0, 1), run(graph, ports), wanted, strict=True):
            assert error(found, value, unit) < SINGLE
