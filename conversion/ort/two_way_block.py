"""The second half of a two-way block: tokens that have read each other read the image, and the image reads them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ...model.mask_decoder import TwoWayBlock
from .absorbed_attention import ImageReadsTokens, TokensReadImage
from .projected_attention import ProjectedImageReadsTokens, ProjectedTokensReadImage
from .token_self_attention import TokenSelfAttention


class Prompt(NamedTuple):
    """What does not change from block to block.

    position: (T, C), the tokens as they began.  bias: (T, 1), see `TokenSelfAttention`.  image_position: (N, C).
    """

    position: Tensor
    bias: Tensor
    image_position: Tensor


class OrtTwoWayBlock(nn.Module):
    """One block of the two-way transformer on rows of tokens.

    shift: (C,), a constant of all cells that the image lacks when it comes in.  many: project the cells, which is
    cheaper with many tokens (no shift then).
    """

    def __init__(self, block: TwoWayBlock, shift: Tensor | None = None, many: bool = False) -> None:
        super().__init__()
        assert shift is None or not many
        self.self_attn = TokenSelfAttention(block.self_attn)
        to_image, to_tokens = block.cross_attn_token_to_image, block.cross_attn_image_to_token
        self.to_image = ProjectedTokensReadImage(to_image) if many else TokensReadImage(to_image, shift)
        self.to_tokens = ProjectedImageReadsTokens(to_tokens) if many else ImageReadsTokens(to_tokens, shift)
        self.mlp = block.mlp
        self.norm1, self.norm2, self.norm3, self.norm4 = block.norm1, block.norm2, block.norm3, block.norm4

    def talk(self, tokens: Tensor, prompt: Prompt, first: bool) -> Tensor:
        """Tokens (T, C) after they read each other; the `first` block takes no residual and no positions."""
        if first:
            return self.norm1(self.self_attn(tokens, tokens, prompt.bias))
        return self.norm1(tokens + self.self_attn(tokens + prompt.position, tokens, prompt.bias))

    def meet(
        self, tokens: Tensor, queries: Tensor, image: Tensor, placed: Tensor, prompt: Prompt
    ) -> tuple[Tensor, Tensor]:
        """Tokens (T, C) and image (N, C) after they read each other.

        Args:
            tokens: of `talk`.
            queries: `to_image.queries` of the tokens with their positions.
            image, placed: the cells without and with their positions; `image` without `shift`, `placed` with it.
        """
        tokens = self.norm2(tokens + self.to_image.read(queries, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        return tokens, self.norm4(self.to_tokens(image, placed, tokens + prompt.position, tokens, prompt.bias))

    def forward(self, tokens: Tensor, image: Tensor, prompt: Prompt, first: bool) -> tuple[Tensor, Tensor]:
        """A whole block."""
        tokens = self.talk(tokens, prompt, first)
        queries = self.to_image.queries(tokens + prompt.position)
        return self.meet(tokens, queries, image, image + prompt.image_position, prompt)
