"""What a host does around the graphs of the portable variant, as data: situations, their steps, and the rules between.

Every number comes from the contract or the manifest.  Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .contract import LABELS, MASKS
from .manifest import Rules

MEMORY_ATTENTION = "memory_attention_N"
"""Stands for the memory-attention graph that fits the number of memories."""
RULES = Rules()
LIMIT = f"{RULES.mask_input_limit:g}"

RAW = "`features` of this frame"
WITHOUT_MEMORY = "`features_without_memory` of this frame"
PROMPT = "the prompt's points, then the padding point; unused slots zeros"
NO_PROMPT = "two padding points; unused slots zeros"
EARLIER = (
    "low-resolution logits of this object's latest answer on this frame, after hole filling, clamped to "
    f"+-{LIMIT}; zeros if none"
)
EARLIER_USED = "1 if there is such an answer, else 0"


@dataclass(frozen=True)
class Step:
    """One run of a graph: what the host passes by port, and what it does with the outputs."""

    graph: str
    inputs: dict[str, str]
    then: str


@dataclass(frozen=True)
class Situation:
    """What happens to one object on one frame: graphs in the order they run."""

    title: str
    when: str
    steps: tuple[Step, ...]


def _decode(features: str, points: str, mask_input: str, mask_used: str, then: str) -> Step:
    inputs = {
        "features": features,
        "points": points,
        "point_label": "the labels of the same points",
        "mask_input": mask_input,
        "mask_used": mask_used,
    }
    return Step("mask_decoder", inputs, then)


ENCODE = Step(
    "image_encoder",
    {"image": "the frame, resized to the square (`preprocessing.video_filter`)"},
    "Once per frame whatever the number of objects: the outputs serve all steps on this frame.",
)
ATTEND = Step(
    MEMORY_ATTENTION,
    {
        "features": RAW,
        "memory_00, memory_01, ...": "the recalled memories in any order; in unused slots any of them again",
        "memory_row": "per slot the one-hot temporal row of its memory; unused slots zeros",
        "pointers": "the recalled object pointers in any order; unused rows zeros",
        "pointer_used": "1 per row with a pointer, else 0",
    },
    "N is the smallest of the `memory_counts` that holds the recalled memories (see Memory).",
)
CHOOSE = "Choose a mask and gate it (see Answer)."

FIRST_POINTS = Situation(
    "First prompted frame: points or a box",
    "The object has not been tracked on this frame yet, or no prompted frame of it is remembered.  Prompting "
    "again, while neither has changed, does the same with the new points.",
    (ENCODE, _decode(WITHOUT_MEMORY, PROMPT, EARLIER, EARLIER_USED, CHOOSE)),
)
FIRST_MASK = Situation(
    "First prompted frame: a mask",
    "Also on a frame on which the object was tracked: a mask is taken as it is, memories are not read.",
    (
        ENCODE,
        _decode(
            RAW,
            NO_PROMPT,
            "the mask, downsampled by the host (see Mask prompts)",
            "1",
            "Only `presence` and row 0 of `mask_pointers` are used; the mask is the answer (see Mask prompts).",
        ),
    ),
)
TRACKED = Situation(
    "Tracked frame",
    "The object has a remembered prompted frame, and this one is none: there the remembered answer stays.",
    (ENCODE, ATTEND, _decode("`fused`", NO_PROMPT, "zeros", "0", CHOOSE)),
)
CORRECTION = Situation(
    "Correction: points or a box on a tracked frame",
    "Tracking has passed this frame before, be it that the object was tracked there or that it was prompted.  The "
    "memories are those recalled for this frame in the direction in which it was passed last.",
    (ENCODE, ATTEND, _decode("`fused`", PROMPT, EARLIER, EARLIER_USED, CHOOSE)),
)
REMEMBER = Situation(
    "End of a frame: its memory",
    "For each object with an answer, present or absent.  On a tracked frame right after the answer; on a prompted "
    "frame once its prompts are final, before the first frame that is tracked with it.  A streaming host does both "
    "when the next frame arrives.",
    (
        Step(
            "memory_encoder",
            {
                "features": RAW,
                "mask_logits": "the answer's low-resolution logits; on a prompted frame after hole filling, "
                "on a tracked frame before it",
                "binarize": "1 on a prompted or corrected frame, 0 on a tracked one",
            },
            "Store `memory` with the answer's object pointer under the frame's number (see Memory).  The graph "
            "itself upsamples the logits to the input size, thresholds them or takes their sigmoid, and scales.",
        ),
    ),
)
IMAGE = Situation(
    "Single image",
    "An image that is no part of a video: no memory, no presence gate.",
    (
        replace(ENCODE, inputs={"image": "the image, resized to the square (`preprocessing.image_filter`)"}),
        _decode(
            WITHOUT_MEMORY,
            f"{PROMPT}; without points and box all slots are unused, there is no padding point either",
            "low-resolution logits of an earlier answer, if the user passes them; else zeros",
            "1 if there are such logits, else 0",
            f"Three masks: 1 to {MASKS - 1} with their `iou`.  One mask: as for two or more points (see Answer).  "
            f"Low-resolution logits are handed out clamped to +-{LIMIT}.",
        ),
    ),
)
SITUATIONS = (FIRST_POINTS, FIRST_MASK, TRACKED, CORRECTION, REMEMBER, IMAGE)
"""In the order of the page."""

WHO = (
    ("decodes, turns upright, orders RGB", "host", "uint8"),
    ("resizes the frame", "host", "to image_size x image_size; the aspect ratio is not kept"),
    ("normalises colours", "graph", "`image` is 0..255"),
    (
        "places points",
        "both",
        "the host passes x * image_size / frame width and y * image_size / frame height; the graph adds the half pixel",
    ),
    ("adds the padding point", "host", "see Points"),
    ("downsamples a mask prompt", "host", "with the manifest's `constants`, see Mask prompts"),
    ("chooses memories, pointers and the graph", "host", "see Memory"),
    ("adds temporal rows and positions to memories", "graph", "the host gives one-hot rows"),
    ("masks unused slots", "graph", "an all-zero row of `memory_row`, `point_label`, or a zero in `pointer_used`"),
    ("chooses the mask, gates by presence", "host", "see Answer"),
    ("fills holes, removes overlaps", "host", "options, see Output"),
    ("upsamples masks for output", "host", "low-resolution logits to the frame's size, see Output"),
    ("upsamples, thresholds and scales the mask for memory", "graph", "`memory_encoder`, from low-resolution logits"),
)
"""What, who, how."""

_COLUMNS = {
    -1: "not a point: the padding point",
    0: "a point off the object",
    1: "a point on the object",
    2: "first corner of a box (x0, y0)",
    3: "second corner of a box (x1, y1)",
}
POINT_LABELS = tuple((column, label, _COLUMNS[label]) for column, label in enumerate(LABELS))
"""Column of `point_label`, label, meaning."""

POINTS = """\
A prompt is all points of an object on a frame: pixels (x, y) of the square input.  A box is two points, and they come
before the clicks.  After the last point the host always appends one padding point: (0, 0) with label -1.  Without a
prompt there are two padding points.  So a prompt has at most prompt_slots - 1 points.  Every slot after these is
unused: zeros in `points` and an all-zero row in `point_label`.  That is not the same as a padding point: an unused slot
is masked, a padding point is a token."""

ANSWER = f"""\
With at most one point (a tracked frame, or one click; a box counts as two points, padding does not count): mask
1 + argmax(`iou`[1:]), and the object pointer is the row of `mask_pointers` of the same number.

With two or more points: mask 0 if it is stable, else mask 1 + argmax(`iou`[1:]); the object pointer is row 0 of
`mask_pointers` in either case.  Stable: over the low-resolution logits of mask 0, count(logits > stability_delta) /
count(logits > -stability_delta), or 1 if the denominator is 0, is at least stability_threshold
({RULES.stability_delta:g} and {RULES.stability_threshold:g}).

Then, if `presence` <= presence_threshold ({RULES.presence_threshold:g}), the object is absent: all its low-resolution
logits become absent_logit ({RULES.absent_logit:g}), and its pointer becomes the manifest's `no_object_pointer`.
The memory of such a frame is written all the same."""

MASK_PROMPTS = f"""\
1. Non-zero pixels are 1, others 0; unless the frame is image_size x image_size already, resize bilinearly with
   antialiasing to that size and set to 1 what is >= 0.5, else 0: the mask m.
2. `mask_input`[y][x] = mask_downsample_bias + sum over i, j in 0..3 of mask_downsample[4 i + j] * m[4 y + i][4 x + j].
3. Run the decoder.  The object pointer is row 0 of `mask_pointers`, or `no_object_pointer` where
   `presence` <= presence_threshold or m is empty.
4. The answer's low-resolution logits are mask_scale * m + mask_bias ({RULES.mask_scale:g} and {RULES.mask_bias:g}),
   resized bilinearly with antialiasing to mask_size x mask_size; its presence is mask_scale + mask_bias, or mask_bias
   for an empty m; its predicted IoU is 1."""

OUTPUT = f"""\
Resize the low-resolution logits bilinearly, without antialiasing, to the frame's size; the mask is where they exceed 0.
Two options come before and after that.  Hole filling: in the low-resolution logits, 8-connected components of the
background (<= 0) of at most the given number of pixels become hole_logit ({RULES.hole_logit:g}).  No overlaps: at each
pixel of the frame all objects but the one with the highest logit (of equals the first) are lowered to at most
overlap_logit ({RULES.overlap_logit:g}); memories are not affected.

Bilinear resizing puts pixel centres at half integers and repeats the border.  With antialiasing, when shrinking, the
triangle of weights is as many times wider as the image gets smaller, and the weights that fall inside the image are
normalised to sum 1."""

MEMORY = """\
Memory belongs to one object.  A frame is remembered as prompted (any prompt on it, corrections included) or as tracked;
a prompted entry replaces a tracked one of the same frame, never the other way round.  For frame t, tracking forward:

1. Prompted frames: all of them if there are at most prompted_frames, later ones than t included.  Otherwise the nearest
   before t, the nearest at or after t, then the nearest of the rest, earlier ones first where two are equally near (a
   capacity of one takes the nearest of all).  Their temporal row is the last one, number recent_memories.
2. Recent frames: t - d for d = 1 .. recent_memories, where that frame is remembered as tracked, or as prompted but was
   not taken in 1.  The temporal row is d - 1.  A frame that is not remembered leaves a gap; nothing moves up.
3. Object pointers: of the frames taken in 1 that are not after t, and of t - d for d = 1 .. recent_pointers under the
   condition of 2.  Pointers have no temporal row.

Tracking backward, t - d becomes t + d, and "not after t" becomes "not before t".  Order plays no part: a memory may lie
in any slot as long as its row is in the same slot.  Exactly one memory takes the graph of one slot, which never pools;
a graph of more slots may, even when all but one are unused.

A streaming host keeps memory constant: beyond prompted_frames prompted frames the first one and the latest
prompted_frames - 1 stay, the others count as tracked from then on; memories and pointers of tracked frames that are too
old for the next frame to read are dropped."""
