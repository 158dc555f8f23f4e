"""The memory rules, with strings for memories and for outputs."""

from __future__ import annotations

import random

import pytest

from etam_onnx.runtime.memory import MemoryBank, MemoryRules, Recall, Remembered, closest_frames

Bank = MemoryBank[str, str]


def bank_of(prompted: list[int], recent: list[int], rules: MemoryRules | None = None) -> Bank:
    bank: Bank = MemoryBank(rules or MemoryRules())
    for frame in recent:
        bank.store(frame, entry(frame), False)
    for frame in prompted:
        bank.store(frame, entry(frame), True)
    return bank


def entry(frame: int) -> Remembered[str, str]:
    return Remembered(f"memory {frame}", f"pointer {frame}")


def rows(recall: Recall[str, str]) -> dict[int, int]:
    """Temporal row by remembered frame."""
    found = {int(memory.split()[1]): row for memory, row in recall.memories}
    assert len(found) == len(recall.memories)
    return found


def pointers(recall: Recall[str, str]) -> list[int]:
    """Frames whose pointers are read."""
    return sorted(int(pointer.split()[1]) for pointer in recall.pointers)


def test_prompted_frames_take_the_last_row_and_recent_ones_count_from_the_newest() -> None:
    recall = bank_of([0], list(range(1, 20))).recall(20)
    assert rows(recall) == {0: 6, 19: 0, 18: 1, 17: 2, 16: 3, 15: 4, 14: 5}


def test_a_missing_frame_is_a_gap_and_not_a_shift() -> None:
    recall = bank_of([0], [13, 15, 18]).recall(20)
    assert rows(recall) == {0: 6, 18: 1, 15: 4}
    assert pointers(recall) == [0, 13, 15, 18]


def test_pointers_reach_fifteen_frames_back_besides_those_of_prompted_frames() -> None:
    recall = bank_of([0, 1, 2], list(range(3, 40))).recall(40)
    assert pointers(recall) == [0, 1, 2, *range(25, 40)]


def test_a_prompted_frame_within_reach_is_not_also_recent() -> None:
    recall = bank_of([18], [17, 19]).recall(20)
    assert rows(recall) == {18: 6, 19: 0, 17: 2}
    assert pointers(recall) == [17, 18, 19]


def test_in_reverse_later_frames_are_the_recent_ones() -> None:
    recall = bank_of([30], list(range(10, 30))).recall(9, reverse=True)
    assert rows(recall) == {30: 6, 10: 0, 11: 1, 12: 2, 13: 3, 14: 4, 15: 5}
    assert pointers(recall) == [*range(10, 25), 30]


def test_reverse_mirrors_forward() -> None:
    prompted, recent = [0, 7, 12], [3, 5, 11, 13, 14, 16, 18, 19]
    forward = bank_of(prompted, recent).recall(20)
    backward = bank_of([40 - t for t in prompted], [40 - t for t in recent]).recall(20, reverse=True)
    assert rows(backward) == {40 - t: row for t, row in rows(forward).items()}
    assert pointers(backward) == sorted(40 - t for t in pointers(forward))


def test_a_future_prompted_frame_gives_memory_and_no_pointer() -> None:
    bank = bank_of([5, 30], [9])
    assert rows(bank.recall(10)) == {5: 6, 30: 6, 9: 0}
    assert pointers(bank.recall(10)) == [5, 9]
    assert rows(bank.recall(10, reverse=True)) == {5: 6, 30: 6}
    assert pointers(bank.recall(10, reverse=True)) == [30]


def test_a_prompted_frame_sees_its_own_pointer_in_both_directions() -> None:
    bank = bank_of([10], [])
    assert pointers(bank.recall(10)) == pointers(bank.recall(10, reverse=True)) == [10]


@pytest.mark.parametrize(
    ("frame", "count", "chosen"),
    [
        (20, 4, [0, 10, 20, 30]),
        (20, 3, [10, 20, 30]),
        (20, 2, [10, 20]),  # the frame itself counts as after
        (21, 2, [20, 30]),
        (21, 3, [10, 20, 30]),
        (25, 3, [10, 20, 30]),  # 10 and 40 are equally far: the earlier one
        (39, 3, [20, 30, 40]),
        (100, 2, [30, 40]),  # nothing after
        (-5, 2, [0, 10]),  # nothing before
        (14, 1, [10]),
        (15, 1, [10]),
        (16, 1, [20]),
    ],
)
def test_the_closest_prompted_frames_are_chosen(frame: int, count: int, chosen: list[int]) -> None:
    assert closest_frames(frame, [40, 0, 10, 30, 20], count) == chosen


@pytest.mark.parametrize("seed", range(40))
def test_the_choice_always_holds_both_neighbours_and_the_nearest_others(seed: int) -> None:
    rng = random.Random(seed)
    candidates = rng.sample(range(100), rng.randint(1, 12))
    frame, count = rng.randrange(100), rng.randint(2, 6)
    chosen = closest_frames(frame, candidates, count)
    assert len(chosen) == min(count, len(candidates))
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(candidates)
    before, after = [t for t in candidates if t < frame], [t for t in candidates if t >= frame]
    neighbours = {max(before)} if before else set()
    neighbours |= {min(after)} if after else set()
    assert neighbours <= set(chosen)
    others = sorted(abs(t - frame) for t in set(candidates) - neighbours)
    assert sorted(abs(t - frame) for t in set(chosen) - neighbours) == others[: len(chosen) - len(neighbours)]


def test_prompted_frames_that_are_not_chosen_count_as_recent() -> None:
    bank = bank_of([0, 15, 18, 19], [16, 17], MemoryRules(prompted_frames=2))
    recall = bank.recall(20)
    assert rows(recall) == {19: 6, 18: 6, 17: 2, 16: 3, 15: 4}
    assert pointers(recall) == [15, 16, 17, 18, 19]  # frame 0 is out of reach of the pointers


def test_a_tracked_frame_goes_before_an_unchosen_prompted_one_of_the_same_number() -> None:
    bank = bank_of([17, 19], [], MemoryRules(prompted_frames=1))
    bank.recent[17] = Remembered("memory 1017", "pointer 1017")
    assert rows(bank.recall(20)) == {19: 6, 1017: 2}


def test_storing_a_prompt_displaces_the_tracked_frame() -> None:
    bank = bank_of([0, 3], [1, 2, 3])
    assert sorted(bank.recent) == [1, 2]
    assert sorted(bank.prompted) == [0, 3]


def test_forgetting_around_a_frame_takes_seven_on_each_side_and_no_prompted_ones() -> None:
    bank = bank_of([18, 20], [t for t in range(40) if t not in (18, 20)])
    bank.forget_around(20)
    assert sorted(bank.recent) == [*range(13), *range(28, 40)]
    assert sorted(bank.prompted) == [18, 20]


def test_what_has_passed_keeps_its_pointer_longer_than_its_memory() -> None:
    bank = bank_of([0], list(range(1, 31)))
    bank.forget_passed(30)
    assert sorted(bank.recent) == list(range(16, 31))
    assert [t for t, kept in bank.recent.items() if kept.memory is not None] == list(range(25, 31))
    assert bank.prompted[0].memory == "memory 0"


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("reverse", [False, True])
def test_forgetting_what_has_passed_never_changes_a_later_recall(seed: int, reverse: bool) -> None:
    rng = random.Random(seed)
    rules = MemoryRules(rng.randint(1, 8), rng.randint(1, 20), rng.randint(1, 4))
    lean: Bank = MemoryBank(rules)
    full: Bank = MemoryBank(rules)
    for bank in (lean, full):  # leftovers of an earlier run in either direction
        for t in random.Random(seed).sample(range(60), 20):
            bank.store(t, entry(t), t % 7 == 0)
    for frame in sorted(range(60), reverse=reverse):
        expected, found = full.recall(frame, reverse), lean.recall(frame, reverse)
        assert set(found.memories) == set(expected.memories)
        assert set(found.pointers) == set(expected.pointers)
        if rng.random() < 0.8:
            prompted = rng.random() < 0.15
            for bank in (lean, full):
                if prompted or frame not in bank.prompted:
                    bank.store(frame, entry(frame), prompted)
        lean.forget_passed(frame, reverse)
    assert len(lean.recent) <= max(rules.recent_memories, rules.recent_pointers)


@pytest.mark.parametrize("seed", range(20))
def test_a_recall_fits_the_declared_slots(seed: int) -> None:
    rng = random.Random(seed)
    rules = MemoryRules(prompted_frames=rng.randint(1, 5))
    frames = range(80)
    bank = bank_of(rng.sample(frames, 12), rng.sample(frames, 60), rules)
    for frame in frames:
        recall = bank.recall(frame, rng.random() < 0.5)
        assert 1 <= len(recall.memories) <= rules.prompted_frames + rules.recent_memories
        assert len(recall.pointers) <= rules.prompted_frames + rules.recent_pointers


def test_at_capacity_the_first_and_the_latest_prompted_frames_stay() -> None:
    bank = bank_of([0, 4, 9, 11, 15], [14], MemoryRules(prompted_frames=3))
    assert bank.keep_first_and_latest()
    assert sorted(bank.prompted) == [0, 11, 15]
    assert sorted(bank.recent) == [4, 9, 14]  # the others are tracked frames now
    assert not bank.keep_first_and_latest()


def test_a_capacity_of_one_keeps_the_first_prompted_frame() -> None:
    bank = bank_of([3, 8], [], MemoryRules(prompted_frames=1))
    assert bank.keep_first_and_latest()
    assert (sorted(bank.prompted), sorted(bank.recent)) == ([3], [8])
