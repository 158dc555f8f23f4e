"""The prompt encoder: points, box corners and a low-resolution mask become decoder inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import ChannelNorm

NOT_A_POINT = -1


class FourierPosition(nn.Module):
    """Random Fourier features of coordinates in [0, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) coordinates as (x, y) fractions of the image side to (..., width)."""
        angle = (2 * xy - 1) @ self.positional_encoding_gaussian_matrix * (2 * math.pi)
        return torch.cat((angle.sin(), angle.cos()), -1)

    def dense(self, grid: int) -> Tensor:
        """Features of the cell centres of a square grid, (1, width, grid, grid)."""
        line = (torch.arange(grid, device=self.positional_encoding_gaussian_matrix.device) + 0.5) / grid
        xy = torch.stack((line.expand(grid, grid), line[:, None].expand(grid, grid)), -1)
        return self(xy.to(self.positional_encoding_gaussian_matrix)).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Sparse (tokens) and dense (map) prompt embeddings in the frame of the square model input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.pe_layer = FourierPosition(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            ChannelNorm(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            ChannelNorm(16),
            nn.GELU(),
            nn.Conv2d(16, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def label_table(self) -> Tensor:
        """Embedding of each label as (5, C); rows are the labels -1, 0, 1, 2, 3."""
        return torch.cat((self.not_a_point_embed.weight, *(e.weight for e in self.point_embeddings)))

    def points(self, points: Tensor, labels: Tensor, image_size: int) -> Tensor:
        """Embed (B, T, 2) pixel coordinates (x, y) of the square input and (B, T) labels as (B, T, C)."""
        position = self.pe_layer((points + 0.5) / image_size)
        real = (labels != NOT_A_POINT)[..., None].to(position)
        return position * real + self.label_table()[labels.long() - NOT_A_POINT]

    def padding_point(self, batch: int) -> Tensor:
        """The padding point that follows every list of points, (B, 1, C)."""
        return self.not_a_point_embed.weight[None].expand(batch, -1, -1)

    def mask(self, mask_b1hw: Tensor) -> Tensor:
        """Dense embedding (B, C, g, g) of mask logits (B, 1, 4g, 4g)."""
        return self.mask_downscaling(mask_b1hw)

    def no_mask(self) -> Tensor:
        """Dense embedding (1, C, 1, 1) where no mask is given."""
        return self.no_mask_embed.weight[:, :, None, None]
