"""What a host does around the graphs written for ONNX Runtime, as data: where that differs from the portable ones.

Standard library only.
"""

from __future__ import annotations

from dataclasses import replace

from .host_guide import (
    CORRECTION,
    FIRST_MASK,
    FIRST_POINTS,
    IMAGE,
    MEMORY_ATTENTION,
    RAW,
    REMEMBER,
    TRACKED,
    WITHOUT_MEMORY,
    Situation,
    Step,
)

START = Step(
    "frame_attention",
    {"features": RAW},
    "Once per frame, when the first object on it reads memory: the outputs serve all objects and all corrections.",
)
ATTEND = Step(
    MEMORY_ATTENTION,
    {
        "started": "`started` of this frame",
        "query": "`query` of this frame",
        "memory_00, memory_01, ...": "as in the portable graphs; where memory attention pools, `pooled` of the "
        "memories, but the memory itself in the graph of one slot",
        "keys_00, keys_01, ...": "`keys` of the same memories; the graph of one slot has none where memory attention "
        "pools",
        "memory_row": "as in the portable graphs",
        "pointers": "as in the portable graphs",
        "pointer_used": "as in the portable graphs",
    },
    "N is the smallest of the manifest's `deployment.memory_counts` that holds the recalled memories.",
)
TRACK = Step(
    "tracked_decoder",
    {"features": "`fused`"},
    "The graph has chosen the mask; gate it by presence (see Answer).",
)
KEEP = Step(
    "memory_keys",
    {"memory": "`memory` of the step before"},
    "Store `pooled`, where memory attention pools, and `keys` with the memory.",
)


def _decoded(step: Step) -> Step:
    """A run of the prompted decoder: raw features, and a flag instead of features without memory."""
    alone = step.inputs["features"] == WITHOUT_MEMORY
    inputs = {"features": RAW if alone else step.inputs["features"], "without_memory": "1" if alone else "0"}
    return replace(step, inputs=inputs | {name: text for name, text in step.inputs.items() if name != "features"})


def _prompted(situation: Situation) -> Situation:
    """A situation whose last step is the prompted decoder."""
    *before, decode = situation.steps
    attends = [START, ATTEND] if any(step.graph == MEMORY_ATTENTION for step in before) else []
    kept = [step for step in before if step.graph != MEMORY_ATTENTION]
    return replace(situation, steps=(*kept, *attends, _decoded(decode)))


SITUATIONS = (
    _prompted(FIRST_POINTS),
    _prompted(FIRST_MASK),
    replace(TRACKED, steps=(TRACKED.steps[0], START, ATTEND, TRACK)),
    _prompted(CORRECTION),
    replace(REMEMBER, steps=(*REMEMBER.steps, KEEP)),
    _prompted(IMAGE),
)
"""In the order of the portable ones."""
