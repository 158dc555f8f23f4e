"""Distils the features of a pretrained image encoder, given as an ONNX file, into the one that is trained.

For every patch of a clip's first frame the student predicts what the teacher says there, as in feature
distillation of plain ViTs (Ranzinger et al. 2024). Needs little data, and no labels. Only used in training.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Teacher:
    """An ONNX graph from pictures float32 (N, 3, S, S), RGB 0..255, to features (N, C, h, w), its first output."""

    def __init__(self, path: Path, threads: int) -> None:
        """Raises FileNotFoundError, or ValueError with a sentence for a file that is no such graph."""
        import onnxruntime

        if not path.is_file():
            raise FileNotFoundError(f"There is no teacher at {path}.")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds
            raise ValueError(f"The teacher {path} cannot be loaded by ONNX Runtime.") from error
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(output.shape) != 4:
            raise ValueError(f"The teacher {path} must turn pictures (N, 3, S, S) into features (N, C, h, w).")
        if not isinstance(output.shape[1], int):
            raise ValueError(f"The teacher {path} does not say how many channels its features have.")
        self._input, self._output = inputs[0].name, output.name
        self.channels: int = output.shape[1]

    def features(self, frames: Tensor) -> Tensor:
        """Of uint8 RGB (N, S, S, 3): float32 (N, C, h, w) on the same device.

        Raises ValueError if the graph does not take frames of that size.
        """
        pixels = frames.permute(0, 3, 1, 2).float().contiguous().cpu().numpy()
        try:
            (found,) = self._session.run([self._output], {self._input: pixels})
        except Exception as error:
            raise ValueError(f"The teacher does not take {len(pixels)} frames of {pixels.shape[-1]} pixels.") from error
        return torch.from_numpy(found).to(frames.device)


class Distillation(nn.Module):
    """Predicts a teacher's `channels` from features of `width` channels, patch by patch."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.predict = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.out = nn.Linear(2 * width, channels)

    def sum(self, features: Tensor, target: Tensor) -> Tensor:
        """The squared error, mean over channels, summed over the patches of features (N, width, g, g); scalar.

        The target (N, C, h, w) is averaged or interpolated to g x g.
        """
        target = F.interpolate(target, features.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
        predicted = self.out(self.predict(features.flatten(2).transpose(1, 2)))
        return (predicted.float() - target.flatten(2).transpose(1, 2)).square().mean(-1).sum()
