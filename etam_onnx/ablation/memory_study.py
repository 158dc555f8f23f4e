"""Tracks a clip and measures every cross-attention on the way; keeps the tokens of the last frame for a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..evaluation.table import aligned_table
from ..model import EfficientTAM
from ..model.cross_attention import full, strategy_for
from ..runtime.video_predictor import VideoPredictor
from ..torch_backend import torch_networks
from .attention_error import ErrorRow, Locality, Surrogates, Tokens, captured_tokens, errors_at, locality_at


@dataclass
class MemoryStudy:
    """All errors of one or more clips, and the cross-attention of the last layer on the last frame."""

    rows: list[ErrorRow] = field(default_factory=list)
    locality: list[Locality] = field(default_factory=list)
    last: Tokens | None = None

    def mean(self, surrogate: str, layer: int | None = None, measure: str = "output") -> float:
        """Mean of a measure, ``output`` or ``weights``, over frames and objects, of one layer or of all."""
        values = [
            getattr(row, measure)
            for row in self.rows
            if row.surrogate == surrogate and layer in (None, row.layer) and getattr(row, measure) is not None
        ]
        return float(np.mean(values)) if values else float("nan")

    @property
    def layers(self) -> list[int]:
        """Numbers of the layers measured."""
        return sorted({row.layer for row in self.rows})

    @property
    def surrogates(self) -> list[str]:
        """Names of the surrogates measured, in order."""
        return list(dict.fromkeys(row.surrogate for row in self.rows))


def study_clip(
    study: MemoryStudy,
    model: EfficientTAM,
    frames: Any,
    masks: Mapping[int, NDArray[np.bool_]],
    surrogates: Surrogates,
    *,
    start: int = 0,
    count: int | None = None,
    weights: bool = True,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Add one clip to a study.

    Args:
        model: in evaluation mode; it tracks with its own cross-attention.
        frames: anything that `VideoPredictor.init_state` takes.
        masks: object id -> mask (H, W) on the frame `start`.
        count: frames to track, the first included; by default all.
        weights: measure the weights too, which takes as much memory as full attention's scores.
    """
    predictor = VideoPredictor(torch_networks(model))
    state = predictor.init_state(frames)
    for object_id, mask in masks.items():
        predictor.add_new_mask(state, start, object_id, mask)
    last = None if count is None else count - 1
    with captured_tokens(model) as captured, torch.inference_mode():
        for frame, _, _ in predictor.propagate_in_video(state, start, last):
            for layer, tokens in captured:
                study.rows += errors_at(frame, layer, tokens, surrogates, weights)
                study.locality += locality_at(frame, layer, tokens)
                if tokens[1].shape[1] > 1:
                    study.last = tokens
            captured.clear()
            progress()


def study_as_json(study: MemoryStudy) -> dict[str, Any]:
    """Every measurement, and the means per surrogate and layer."""
    return {
        "measure": "||full - surrogate||_F / ||full||_F of outputs and of attention weights",
        "means": {
            name: {
                measure: {
                    "all": study.mean(name, None, measure),
                    "layers": [study.mean(name, layer, measure) for layer in study.layers],
                }
                for measure in ("output", "weights")
                if any(getattr(row, measure) is not None for row in study.rows)
            }
            for name in study.surrogates
        },
        "rows": [asdict(row) for row in study.rows],
        "locality": [asdict(row) for row in study.locality],
    }


def study_as_table(study: MemoryStudy) -> str:
    """Mean relative errors in percent: a row per surrogate; outputs per layer and over all, then weights over all."""
    weights = any(row.weights is not None for row in study.rows)
    header = ["surrogate", *(f"layer {layer + 1} %" for layer in study.layers), "output %", *(["weights %"] * weights)]
    body: list[list[str | float]] = []
    for name in study.surrogates:
        cells = [study.mean(name, layer) for layer in (*study.layers, None)]
        cells += [study.mean(name, None, "weights")] * weights
        body.append([name, *(100 * cell for cell in cells)])
    lines = [aligned_table(header, body)]
    for window in sorted({row.window for row in study.locality}):
        found = [row for row in study.locality if row.window == window]
        keys, values = (100 * float(np.mean([getattr(row, name) for row in found])) for name in ("keys", "values"))
        lines.append(f"averages of {window}x{window} tokens: keys {keys:.1f} % off, values {values:.1f} %")
    return "\n".join(lines)


def outputs(tokens: Tokens, surrogates: Surrogates) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Full attention's output (N, C) for some tokens, and |full - surrogate| (N, C) for each surrogate."""
    exact = full(*tokens)
    memories = tokens[1].shape[1]
    differences = {
        name: (strategy_for(kind, memories, window)(*tokens) - exact).abs()[0].float().cpu().numpy()
        for name, (kind, window) in surrogates.items()
    }
    return exact[0].float().cpu().numpy(), differences
