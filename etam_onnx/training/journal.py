"""What a run tells while it runs: a progress bar or plain lines, two tables, and TensorBoard."""

import csv
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .validation import Scores

STEPS_FILE = "steps.csv"
VALIDATION_FILE = "validation.csv"
BOARD_FOLDER = "tensorboard"
TERMS = ("mask", "iou", "presence", "matching", "teacher")


class Journal:
    """The journal of the process that leads; the others keep none. To be closed.

    On a terminal a bar on stderr shows the last step; elsewhere `report` gets a line now and then.
    """

    def __init__(
        self, folder: Path, report: Callable[[str], None], steps_done: int, steps: int | None, tensorboard: bool
    ) -> None:
        """`steps`: the budget in steps, if that is what the run has. Rows after `steps_done` are forgotten."""
        self.folder, self._report = folder, report
        for name in (STEPS_FILE, VALIDATION_FILE):
            _forget_after(folder / name, steps_done)
        self._board = _open_board(folder / BOARD_FOLDER, steps_done) if tensorboard else None
        self._bar: Any = tqdm(
            total=steps, initial=steps_done, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True
        )

    def say(self, line: str) -> None:
        """One line to `report`, above the bar if there is one."""
        if self._bar.disable:
            self._report(line)
        else:
            with tqdm.external_write_mode(file=sys.stderr):
                self._report(line)

    def step(self, step: int, terms: Mapping[str, float], minutes: float) -> None:
        """After every step: moves the bar and fills the board."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {terms['loss']:.3f}, J {terms['overlap']:.2f}, {minutes:.1f} min")
            self._bar.update(1)
        if self._board is not None:
            for name, value in terms.items():
                if math.isfinite(value):
                    self._board.add_scalar(f"step/{name}", value, step)

    def log(self, step: int, size: int, means: Mapping[str, float], minutes: float) -> None:
        """Now and then: a row of means and, without a bar, a line."""
        row = {"minutes": round(minutes, 2), "step": step, "size": size}
        _append(self.folder / STEPS_FILE, {**row, **{key: round(value, 6) for key, value in means.items()}})
        if self._bar.disable:
            terms = ", ".join(f"{name} {means[name]:.3f}" for name in TERMS if name in means)
            self._report(
                f"step {step}, {minutes:.1f} min, {size} px: loss {means['loss']:.3f} ({terms}), "
                f"overlap {means['overlap']:.3f}, gradient {means['norm']:.2f}, "
                f"{means['seconds']:.2f} s per step, waited {means['waited']:.2f} s for clips"
            )

    def validated(self, step: int, scores: Scores, minutes: float) -> None:
        found = {"tracking": scores.tracking, "click": scores.click, "presence": scores.presence}
        row = {"minutes": round(minutes, 2), "step": step}
        _append(self.folder / VALIDATION_FILE, {**row, **{key: round(value, 4) for key, value in found.items()}})
        if self._board is not None:
            for name, value in found.items():
                if math.isfinite(value):
                    self._board.add_scalar(f"validation/{name}", value, step)
        self.say(
            f"validation at step {step}, {minutes:.1f} min: tracking J {scores.tracking:.3f}, "
            f"one-click IoU {scores.click:.3f}, presence {scores.presence:.3f}"
        )

    def close(self) -> None:
        self._bar.close()
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, steps_done: int) -> Any:
    """A TensorBoard writer, or None where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=steps_done + 1)


def _append(path: Path, row: dict[str, object]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _forget_after(path: Path, step: int) -> None:
    """Leaves out the rows that a resumed run will write again, and everything of an earlier run at step 0."""
    if not path.exists():
        return
    if step == 0:
        path.unlink()
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if (row.get("step") or "").isdigit() and int(row["step"]) <= step]
        names = list(reader.fieldnames or ())
    draft = path.with_name(path.name + ".part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(draft, path)
