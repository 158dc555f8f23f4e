"""How to train, as data: three recipes. Code elsewhere reads them; nothing here computes.

`nano` trains the small default from scratch or fine-tunes it. `images` and `video` are the two stages of the
EfficientTAM paper (arXiv 2411.18933, section 4.1); where it is silent they follow SAM 2 (arXiv 2408.00714, table 13 and
section C.2) and then its published fine-tuning configuration. Drop path is left out, as the paper does.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """Up to progress `until`: frames of `share` of the model's image size, in clips of `lengths` frames.

    A step has `clips` clips, or, where that is 0, as many as make about `frames` frames.
    """

    until: float
    share: float
    lengths: tuple[int, ...]
    chances: tuple[float, ...]
    frames: int = 0
    clips: int = 0

    def size(self, image_size: int) -> int:
        """Side of the frames in pixels, a multiple of 32."""
        return max(32, 32 * round(self.share * image_size / 32))

    def clips_of(self, length: int) -> int:
        """Clips of `length` frames in one step of all processes together."""
        return self.clips or max(1, round(self.frames / length))


@dataclass(frozen=True)
class Optimization:
    """AdamW. `layer_decay` multiplies the encoder's rate once per block, from the last down to the patches.

    `clip` bounds the norm of the whole gradient, `clip_each` first that of every tensor.
    """

    rate: float
    encoder_rate: float
    betas: tuple[float, float]
    weight_decay: float
    layer_decay: float = 1.0
    clip: float = 1.0
    clip_each: float | None = None


@dataclass(frozen=True)
class Schedule:
    """The factor on the learning rates; shares are of the whole run, so that a shorter run keeps the shape.

    Warm-up is linear over `warm_up_steps` steps or over `warm_up` of the run. "cosine" falls to `floor`;
    "reciprocal square root" falls as 1 / sqrt(progress / timescale) and then linearly to 0 over `cool_down`.
    """

    kind: Literal["cosine", "reciprocal square root"]
    warm_up_steps: int = 0
    warm_up: float = 0.0
    floor: float = 0.0
    timescale: float = 1.0
    cool_down: float = 0.0


@dataclass(frozen=True)
class Prompting:
    """How a user is simulated. `shares`: mask, click, box on the first frame; single images get no mask.

    `first_clicks[n]` is the chance of n corrections on a first frame that was clicked (and boxed, if
    `correct_boxes`). Later frames: with chance `later_chance` up to `later_frames` of them get `later_clicks`
    clicks, only after point prompts if `later_after_points`. A click is drawn from the true mask instead of
    the error with chance `from_truth`. `uniform`: clicks anywhere in the error at full resolution and boxes
    moved by up to a tenth of their sides (at most 20 pixels), as in SAM 2; else clicks keep away from edges.
    With chance `every_frame` a step that prompts with masks also clicks or boxes every frame by itself.
    """

    shares: tuple[float, float, float]
    first_clicks: tuple[float, ...]
    correct_boxes: bool
    later_chance: float
    later_frames: int
    later_clicks: int
    later_after_points: bool
    from_truth: float
    uniform: bool
    every_frame: float = 0.0


@dataclass(frozen=True)
class Losses:
    """Weights and rules of the loss. `teacher` counts only where a run is given one.

    `soft`: targets are the covered shares of low-resolution cells; else pixels of the input, to which logits are
    enlarged. Of three masks the best takes the loss but for `others` (`others_tracked` without a prompt), which
    is shared by all. `average`: a term is divided by the frames that show the object ("seen") or, summed over
    frames and clicks, by the objects ("objects", as SAM 2 does). `mask_prompt`: weight of decoding a frame whose
    mask was given.
    `feedback`: gradients flow through masks that go to memory or back into the decoder, and what is
    remembered is gated by the predicted presence; else neither, and the true presence.
    """

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    presence: float = 1.0
    matching: float = 0.0
    teacher: float = 0.0
    focal_alpha: float = 0.25
    soft: bool = False
    others: float = 0.0
    others_tracked: float = 0.0
    average: Literal["seen", "objects"] = "objects"
    mask_prompt: float = 0.0
    feedback: bool = True


@dataclass(frozen=True)
class Recipe:
    """A way to train. `steps` or `minutes` is the budget where none is given; `objects`: at most so many of a
    still image and of a clip. `average`: largest decay of the weight average, 0 for none. `taught`: the share
    of the run in which memories of new weights are also written from true masks (linearly fewer). `augment`:
    how real images and video are varied; synthetic clips vary themselves."""

    name: str
    stages: tuple[Stage, ...]
    optimization: Optimization
    schedule: Schedule
    prompting: Prompting
    losses: Losses
    objects: tuple[int, int]
    average: float
    augment: Literal["none", "paper", "strong"]
    steps: int | None = None
    minutes: float | None = None
    fine_tuning: tuple[Stage, ...] | None = None
    taught: float = 0.0
    consecutive: float = 0.0  # share of clips of neighbouring frames; the gaps of the others are drawn
    largest_gap: int = 1
    largest_first_gap: int = 1

    def alternates(self, fine_tuning: bool) -> bool:
        """Whether steps of single pictures alternate with steps of video; each kind then has its own data."""
        lengths = {length for stage in self.stages_for(fine_tuning) for length in stage.lengths}
        return min(lengths) == 1 < max(lengths)

    def stages_for(self, fine_tuning: bool) -> tuple[Stage, ...]:
        return self.fine_tuning or self.stages if fine_tuning else self.stages


_NANO_LENGTHS = (3, 4, 6, 8)
_NANO_STILLS = Stage(0.25, 1.0, (1,), (1.0,), frames=20)
_NANO_MIDDLE = Stage(0.65, 2 / 3, _NANO_LENGTHS, (0.35, 0.35, 0.2, 0.1), frames=28)
_NANO_LAST = Stage(1.0, 1.0, (3, 4, 5, 7), (0.4, 0.3, 0.2, 0.1), frames=16)

NANO = Recipe(
    name="nano",
    stages=(Stage(0.20, 1 / 3, _NANO_LENGTHS, (0.6, 0.25, 0.1, 0.05), frames=48), _NANO_MIDDLE, _NANO_LAST),
    fine_tuning=(
        _NANO_STILLS,
        Stage(0.5, 2 / 3, (1, *_NANO_LENGTHS), (0.2, 0.3, 0.25, 0.15, 0.1), frames=28),
        Stage(1.0, 1.0, (1, 3, 4, 5, 7), (0.25, 0.3, 0.2, 0.15, 0.1), frames=16),
    ),
    optimization=Optimization(7e-4, 7e-4, (0.9, 0.98), weight_decay=0.05, clip=1.0, clip_each=1.0),
    schedule=Schedule("cosine", warm_up_steps=100, floor=0.01),
    prompting=Prompting(
        shares=(0.7, 0.2, 0.1),
        first_clicks=(0.45, 0.2, 0.15, 0.1, 0.1),
        correct_boxes=False,
        later_chance=0.12,
        later_frames=1,
        later_clicks=1,
        later_after_points=False,
        from_truth=0.0,
        uniform=False,
        every_frame=0.5,
    ),
    losses=Losses(
        matching=0.7,
        teacher=1.0,
        focal_alpha=0.5,
        soft=True,
        others=0.05,
        others_tracked=0.5,
        average="seen",
        mask_prompt=0.3,
        feedback=False,
    ),
    objects=(8, 2),
    average=0.998,
    augment="strong",
    minutes=90.0,
    taught=0.4,
    consecutive=0.4,
    largest_gap=4,
    largest_first_gap=10,
)

# SAM 2's; the paper does not say how it prompts.
_REFERENCE_PROMPTING = Prompting(
    shares=(0.5, 0.25, 0.25),
    first_clicks=(0.0,) * 7 + (1.0,),
    correct_boxes=True,
    later_chance=0.5,
    later_frames=1,
    later_clicks=7,
    later_after_points=True,
    from_truth=0.1,
    uniform=True,
)

IMAGES = Recipe(
    name="images",
    stages=(Stage(1.0, 1.0, (1,), (1.0,), clips=256),),
    optimization=Optimization(4e-4, 4e-4, (0.9, 0.999), weight_decay=0.1, layer_decay=0.8, clip=0.1),
    schedule=Schedule("reciprocal square root", warm_up=1 / 90, timescale=1 / 90, cool_down=5 / 90),
    prompting=_REFERENCE_PROMPTING,
    # The paper names focal and dice; the IoU term, which chooses among masks, is SAM 2's.
    losses=Losses(presence=0.0, teacher=1.0),
    objects=(64, 64),
    average=0.0,
    augment="paper",
    steps=90_000,
)

# SAM 2 draws batches of pictures and of video as 15.2 to 70, without its internal videos; the paper gives no share.
# Both papers say "cosine": that it ends at a tenth is from the fine-tuning configuration.
VIDEO = Recipe(
    name="video",
    stages=(Stage(1.0, 1.0, (1, 8), (0.18, 0.82), clips=256),),
    optimization=Optimization(3e-4, 6e-5, (0.9, 0.999), weight_decay=0.1, layer_decay=0.8, clip=0.1),
    schedule=Schedule("cosine", warm_up=0.05, floor=0.1),
    prompting=_REFERENCE_PROMPTING,
    losses=Losses(teacher=1.0),
    objects=(64, 3),
    average=0.0,
    augment="paper",
    steps=300_000,
    consecutive=1.0,
)

RECIPES = {recipe.name: recipe for recipe in (NANO, IMAGES, VIDEO)}


def recipe_named(name: str) -> Recipe:
    """The recipe `name`; raises ValueError with the names that there are."""
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}; there are: {', '.join(RECIPES)}.")
    return RECIPES[name]


def adjusted(
    recipe: Recipe,
    *,
    clips: int | None = None,
    length: int | None = None,
    rate: float | None = None,
    objects: int | None = None,
) -> Recipe:
    """The recipe with clips per step, frames per clip, learning rate or objects per clip replaced.

    A new rate scales that of the encoder with it. Raises ValueError for values that are not positive.
    """
    given = {"batch": clips, "number of frames": length, "learning rate": rate, "number of objects": objects}
    for what, value in given.items():
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"The {what} must be positive, not {value}.")

    def stage(old: Stage) -> Stage:
        new = old if clips is None else replace(old, clips=clips)
        return new if length is None else replace(new, lengths=(length,), chances=(1.0,))

    old = recipe.optimization
    factor = 1.0 if rate is None else rate / old.rate
    return replace(
        recipe,
        stages=tuple(stage(s) for s in recipe.stages),
        fine_tuning=None if recipe.fine_tuning is None else tuple(stage(s) for s in recipe.fine_tuning),
        optimization=replace(old, rate=factor * old.rate, encoder_rate=factor * old.encoder_rate),
        objects=recipe.objects if objects is None else (objects, objects),
    )
