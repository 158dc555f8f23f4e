"""The pictures of a run, pixel by pixel where it matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from written_videos import make_sequence

from etam_onnx.evaluation.baselines import copy_first_mask
from etam_onnx.evaluation.chart import COLOURS, Line, line_chart
from etam_onnx.evaluation.comparison import AGREES, MISSING, SURPLUS, TINT, compared, grid
from etam_onnx.evaluation.conventions import CONVENTIONS
from etam_onnx.evaluation.sheets import run_overview, sequence_sheet, worst_of_run
from etam_onnx.evaluation.tracked import score_tracked


def rows_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows of the chart's left two thirds, away from the legend, that hold a colour."""
    hits = (np.abs(picture[:, : picture.shape[1] * 2 // 3].astype(int) - colour) < 12).all(axis=2)
    return np.flatnonzero(hits.any(axis=1))


def test_a_line_lies_where_its_percentage_says() -> None:
    lines = [Line("low", [0, 9], [25.0, 25.0], 0), Line("high", [0, 9], [100.0, 100.0], 1)]
    picture = np.asarray(line_chart("a title", lines, "frame", "J %", (900, 300)))
    assert picture.shape == (300, 900, 3)
    top, bottom = 34, 300 - 40
    low, high = rows_of(picture, COLOURS[0]), rows_of(picture, COLOURS[1])
    assert abs(high.mean() - top) < 1.5
    assert abs(low.mean() - (bottom - 0.25 * (bottom - top))) < 1.5


def test_a_single_point_and_no_line_at_all_are_drawn() -> None:
    single = np.asarray(line_chart("one", [Line("a", [3], [50.0])], "frame", "J %"))
    assert len(rows_of(single, COLOURS[0])) >= 6
    assert np.asarray(line_chart("none", [], "frame", "J %")).std() > 0


def test_agreement_and_both_errors_have_their_colours() -> None:
    frame = np.full((40, 60, 3), 100, np.uint8)
    truth, found = np.zeros((40, 60), np.bool_), np.zeros((40, 60), np.bool_)
    truth[5:30, 5:30] = True
    found[5:30, 18:45] = True
    picture = np.asarray(compared(frame, {1: found}, {1: truth}, 60))
    for (y, x), colour in (((15, 24), AGREES), ((15, 10), MISSING), ((15, 38), SURPLUS)):
        expected = (1 - TINT) * 100 + TINT * np.array(colour)
        assert np.abs(picture[y, x] - expected).max() <= 1
    assert picture[36, 50].tolist() == [100, 100, 100]
    swapped = np.asarray(compared(frame, {1: found}, {2: found}, 60))
    assert np.abs(swapped[15, 30] - ((1 - TINT) * 100 + TINT * np.array(MISSING))).max() <= 1


def test_the_sheets_of_a_run(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0, 8: 2}, n_frames=9)
    tracked = score_tracked(sequence, copy_first_mask(sequence), CONVENTIONS["folders"])
    sheet = sequence_sheet(sequence, tracked.objects, tracked.worst)
    assert len(tracked.worst) == 3
    assert sheet.width == 960 and sheet.height > 270 + 200
    assert run_overview({"clip": tracked.objects, "other": tracked.objects}).width == 2 * 640 + 8
    pixels = np.asarray(worst_of_run([(sequence, worst) for worst in tracked.worst]))
    for colour in (AGREES, MISSING, SURPLUS):
        tint = (1 - TINT) * np.array((220, 30, 30)) + TINT * np.array(colour)
        background = (1 - TINT) * 120 + TINT * np.array(colour)
        assert any((np.abs(pixels - wanted).max(axis=2) <= 2).any() for wanted in (tint, background))
    assert grid([sheet, sheet, sheet], 2).height == 2 * sheet.height + 8
