"""The image encoder of `ort.image_encoder` with one of its rewritings undone at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model import EfficientTAM
from ...model.image_encoder import Block
from ..ort.gelu import gelu
from ..ort.image_encoder import OrtImageEncoder, TokenBlock, TokenNeck, WindowAttention
from ..ort.operators import attend
from ..ort.patch_rows import PatchRows
from ..ort.window_order import WindowGroup, window_order


class OpenBlock(TokenBlock):
    """`TokenBlock` in two parts, of which a subclass replaces one."""

    def attended(self, x_nc: Tensor) -> Tensor:
        """What attention adds to the tokens."""
        y = F.layer_norm(x_nc, x_nc.shape[-1:], eps=self.eps[0])
        q, k, v = torch.addmm(self.query_bias, y, self.query), y @ self.key, y @ self.value
        return torch.addmm(self.out_bias, self.mixed(q, k, v), self.out)

    def mixed(self, q_nc: Tensor, k_nc: Tensor, v_nc: Tensor) -> Tensor:
        """What the tokens read of each other."""
        parts = [group(q_nc, k_nc, v_nc) for group in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def expanded(self, x_nc: Tensor) -> Tensor:
        """What the MLP adds to the tokens."""
        y = gelu(torch.addmm(self.widen_bias, F.layer_norm(x_nc, x_nc.shape[-1:], eps=self.eps[1]), self.widen))
        return torch.addmm(self.narrow_bias, y, self.narrow)

    def forward(self, x_nc: Tensor) -> Tensor:
        x_nc = x_nc + self.attended(x_nc)
        return x_nc + self.expanded(x_nc)


class SortingBlock(OpenBlock):
    """Row-major tokens, which every window block puts in the order of its windows and back."""

    def __init__(self, block: Block, groups: tuple[WindowGroup, ...], order: Tensor) -> None:
        super().__init__(block, groups)
        self.register_buffer("order", order)
        self.register_buffer("back", torch.argsort(order))

    def attended(self, x_nc: Tensor) -> Tensor:
        return torch.index_select(super().attended(torch.index_select(x_nc, 0, self.order)), 0, self.back)


class BiasedBlock(OpenBlock):
    """Norms that scale and shift, and biases on queries, keys and values."""

    def __init__(self, block: Block, groups: tuple[WindowGroup, ...]) -> None:
        super().__init__(block, groups)
        self.norm1, self.norm2 = block.norm1, block.norm2
        qkv, mlp = block.attn.qkv, block.mlp.layers[0]
        for name, weight, bias in zip("qkv", qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True):
            self.register_buffer(f"{name}_weight", weight.detach().T.contiguous())
            self.register_buffer(f"{name}_bias", bias.detach().clone())
        pads = (self.k_bias, self.v_bias)
        self.groups = nn.ModuleList(WindowAttention(group, block.attn.heads, *pads) for group in groups)
        self.register_buffer("plain_out_bias", block.attn.proj.bias.detach().clone())
        self.register_buffer("plain_widen", mlp.weight.detach().T.contiguous())
        self.register_buffer("plain_widen_bias", mlp.bias.detach().clone())

    def projected(self, y_nc: Tensor) -> list[Tensor]:
        """Queries, keys and values."""
        return [torch.addmm(getattr(self, f"{n}_bias"), y_nc, getattr(self, f"{n}_weight")) for n in "qkv"]

    def attended(self, x_nc: Tensor) -> Tensor:
        return torch.addmm(self.plain_out_bias, self.mixed(*self.projected(self.norm1(x_nc))), self.out)

    def expanded(self, x_nc: Tensor) -> Tensor:
        y = gelu(torch.addmm(self.plain_widen_bias, self.norm2(x_nc), self.plain_widen))
        return torch.addmm(self.narrow_bias, y, self.narrow)


class PaddedBlock(BiasedBlock):
    """Windows that reach over the border are filled with zeros, which are projected and attended to like the rest."""

    def __init__(self, block: Block, groups: tuple[WindowGroup, ...]) -> None:
        super().__init__(block, groups)
        self.parts, self.heads = groups, block.attn.heads
        width = block.attn.proj.in_features
        for index, group in enumerate(groups):
            zeros = torch.zeros(group.windows, group.padding, width, dtype=self.q_bias.dtype)
            self.register_buffer(f"zeros_{index}", zeros)

    def attended(self, x_nc: Tensor) -> Tensor:
        y, width = self.norm1(x_nc), x_nc.shape[-1]
        windows = []
        for index, group in enumerate(self.parts):
            rows = y[group.start : group.stop].reshape(group.windows, group.tokens, width)
            windows.append(torch.cat((rows, getattr(self, f"zeros_{index}")), 1) if group.padding else rows)
        padded = torch.cat(windows)
        shape = padded.shape
        q, k, v = (x.reshape(shape) for x in self.projected(padded.reshape(-1, width)))
        out = torch.addmm(self.plain_out_bias, attend(q, k, v, self.heads).reshape(-1, width), self.out).reshape(shape)
        kept = [
            rows[:, : group.tokens].reshape(-1, width)
            for group, rows in zip(self.parts, out.split([group.windows for group in self.parts]), strict=True)
        ]
        return torch.cat(kept)


class ConvolvedPatches(PatchRows):
    """Patches by a convolution with the stride of its kernel, which gives a map."""

    def __init__(self, model: EfficientTAM, order: Tensor) -> None:
        super().__init__(model.image_encoder.trunk, model.config.grid, order)
        self.register_buffer("order", order)
        self.kernel = nn.Parameter(self.weight.T.reshape(-1, 3, self.stride, self.stride), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        tokens = F.conv2d(image, self.kernel, stride=self.stride).flatten(2)[0].T
        return torch.index_select(tokens, 0, self.order) + self.table


class ConvolvedNeck(TokenNeck):
    """The 3x3 convolution on a map, to which tokens are put back, and from which they are taken."""

    def __init__(self, model: EfficientTAM, order: Tensor) -> None:
        level = model.image_encoder.neck.convs[0]
        super().__init__(level, model.config.grid, order)
        self.convolution, self.grid = level.conv_3x3, model.config.grid
        self.register_buffer("back", torch.argsort(order))

    def forward(self, x_nc: Tensor) -> Tensor:
        first, second = self.norms
        y = F.layer_norm(x_nc @ self.first, first.weight.shape, first.weight, first.bias, first.eps)
        y = torch.index_select(y, 0, self.back).T.reshape(1, -1, self.grid, self.grid)
        y = self.convolution(y).flatten(2)[0].T
        return F.layer_norm(y, second.weight.shape, second.weight, second.bias, second.eps)


def encoder_without(model: EfficientTAM, what: str) -> nn.Module:
    """The image encoder with one rewriting undone: ``order``, ``biases``, ``pad token``, ``patches`` or ``neck``."""
    encoder = OrtImageEncoder(model)
    trunk, neck = model.image_encoder.trunk, model.image_encoder.neck.convs[0]
    grid = model.config.grid
    order, groups = window_order(grid, model.config.vit_window)
    everything = (WindowGroup(0, 1, grid * grid, 0),)

    def replaced(block: Block, fast: nn.Module) -> nn.Module:
        if what == "biases":
            return BiasedBlock(block, groups if block.window else everything)
        if what == "order" and block.window:
            return SortingBlock(block, groups, order)
        return PaddedBlock(block, groups) if what == "pad token" and block.window else fast

    if what in ("biases", "order", "pad token"):
        pairs = zip(trunk.blocks, encoder.blocks, strict=True)
        encoder.blocks = nn.ModuleList(replaced(block, fast) for block, fast in pairs)
    if what == "order":
        straight = torch.arange(grid * grid)
        encoder.patches = PatchRows(trunk, grid, straight)
        encoder.neck = TokenNeck(neck, grid, straight)
    elif what == "patches":
        encoder.patches = ConvolvedPatches(model, order)
    elif what == "neck":
        encoder.neck = ConvolvedNeck(model, order)
    return encoder.eval()
