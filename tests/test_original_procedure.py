"""Whatever is done in whatever order, the video predictor answers as the original's procedure does."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
from fake_networks import FakeModel, numbered_frames
from original_procedure import OriginalProcedure, Points

from etam_onnx.runtime.video_predictor import VideoPredictor

FRAMES = 20
OPTIONS: list[dict[str, Any]] = [
    {},
    {"corrections_stick": True},
    {"clear_around": True},
    {"corrections_stick": True, "clear_around": True},
    {"corrections_stick": True, "attended_prompts": 2},
    {"attended_prompts": 3},
]


def some_points(rng: random.Random, most: int = 2) -> Points:
    return [(rng.uniform(0, 80), rng.uniform(0, 48), rng.choice((1, 1, 0))) for _ in range(rng.randint(1, most))]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_random_sessions(options: dict[str, Any], seed: int) -> None:
    rng = random.Random(f"{seed} {options}")
    ours, theirs = FakeModel(prompted_frames=4), FakeModel(prompted_frames=4)
    ours.absent = theirs.absent = set(rng.sample(range(FRAMES), 3))
    ours.iou = theirs.iou = tuple(rng.sample((0.2, 0.4, 0.6, 0.8), 4))
    ours.unstable = theirs.unstable = rng.random() < 0.5
    original = OriginalProcedure(theirs, FRAMES, **options)
    predictor = VideoPredictor(
        ours.networks(),
        add_all_frames_to_correct_as_cond=options.get("corrections_stick", False),
        clear_non_cond_mem_around_input=options.get("clear_around", False),
        max_cond_frames_in_attn=options.get("attended_prompts", -1),
    )
    state = predictor.init_state(numbered_frames(FRAMES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more prompted frames than the bundle attends to
        for _ in range(16):
            action = rng.choice(("click", "click", "paint", "propagate", "propagate", "withdraw", "remove"))
            if action == "click" or not original.things:
                frame, name, points = rng.randrange(FRAMES), rng.randint(1, 3), some_points(rng)
                earlier = original.things[name].points.get(frame, []) if name in original.things else []
                keep = rng.random() < 0.3 and len(earlier) < 3
                expected = original.click(frame, name, points, keep)
                xy, labels = [p[:2] for p in points], [p[2] for p in points]
                found = predictor.add_new_points_or_box(state, frame, name, xy, labels, clear_old_points=not keep)
                assert found[:2] == (frame, list(original.things))
                np.testing.assert_array_equal(found[2], expected)
            elif action == "paint":
                frame, name, mask = rng.randrange(FRAMES), rng.randint(1, 3), np.zeros((48, 80), bool)
                x, y = rng.randrange(70), rng.randrange(40)
                mask[y : y + rng.randrange(20), x : x + rng.randrange(30)] = True
                np.testing.assert_array_equal(
                    predictor.add_new_mask(state, frame, name, mask)[2], original.paint(frame, name, mask)
                )
            elif action == "propagate":
                if not all(thing.prompted or thing.new_prompted for thing in original.things.values()):
                    continue
                start = rng.choice((None, rng.randrange(FRAMES)))
                count, reverse = rng.choice((None, 0, rng.randrange(FRAMES))), rng.random() < 0.4
                answers = list(predictor.propagate_in_video(state, start, count, reverse))
                retold = list(original.propagate(start, count, reverse))
                assert [answer[:2] for answer in answers] == [answer[:2] for answer in retold]
                for answer, expected_answer in zip(answers, retold, strict=True):
                    np.testing.assert_array_equal(answer[2], expected_answer[2])
            elif action == "withdraw":
                name = rng.choice(sorted(original.things))
                thing = original.things[name]
                frame = rng.choice([*thing.points, *thing.prompted, 0])
                if not {*thing.prompted, *(() if thing.visited else thing.new_prompted)} - {frame}:
                    continue  # the original cannot go on without any prompted frame
                expected = original.withdraw(frame, name)
                withdrawn = predictor.clear_all_prompts_in_frame(state, frame, name)
                assert withdrawn is not None
                np.testing.assert_array_equal(withdrawn[2], expected)
            elif action == "remove" and len(original.things) > 1:
                name = rng.choice(sorted(original.things))
                del original.things[name]
                assert predictor.remove_object(state, name)[0] == list(original.things)
