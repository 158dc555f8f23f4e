"""Core ML packages as a table."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("coremltools", reason="coremltools is not installed")

from small_model import small_model  # noqa: E402

from etam_onnx.conversion.coreml.tables import KINDS, Cell, Row, main, markdown, rows  # noqa: E402


def test_the_memory_encoder_of_the_small_model() -> None:
    steps: list[str] = []
    (row,) = rows(small_model(), "iOS17", KINDS, ["memory_encoder"], steps.append)
    assert (row.package, list(row.cells)) == ("memory_encoder", list(KINDS))
    assert steps[:2] == ["recording the reference", "tracing memory_encoder"] and len(steps) == 2 + len(KINDS)
    errors = [row.cells[kind].error for kind in KINDS]
    assert errors == sorted(errors) and errors[0] < 1e-5 < errors[1] < 5e-3  # measured 1e-6 and 1.6e-3
    sizes = [row.cells[kind].size for kind in KINDS]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1.5 * sizes[1]
    assert all(0 < cell.seconds < 600 for cell in row.cells.values())


def test_the_table() -> None:
    first = Row("one", 10, {"fp32": Cell(1e-6, 4_000_000, 1.2), "int8": Cell(2e-3, 1_000_000, 2.4)})
    second = Row("two", 5, {"fp32": Cell(3e-6, 8_000_000, 3.0), "int8": Cell(1e-3, 2_500_000, 1.0)})
    assert list(markdown([first, second], ["fp32", "int8"])) == [
        "| package | operators | fp32 error | int8 error | MB | s |",
        "|---|---|---|---|---|---|",
        "| `one` | 10 | 1.0e-06 | 2.0e-03 | 1.00 | 2 |",
        "| `two` | 5 | 3.0e-06 | 1.0e-03 | 2.50 | 1 |",
        "| all | 15 | 3.0e-06 | 2.0e-03 | 3.50 | 3 |",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--packages", "nothing"], "there is no package nothing; iOS18 has image_encoder, memory_attention, "),
        (["--model", "nothing"], "nothing"),
        (["--checkpoint", "nothing.pt"], "nothing.pt"),
    ],
)
def test_requests_that_make_no_sense(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
