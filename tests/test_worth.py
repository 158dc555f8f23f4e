"""What each rewriting is worth: every pair computes the same, and the command says what it found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from ort_attention import exact_tables  # noqa: E402
from small_model import small_config  # noqa: E402
from torch import nn  # noqa: E402

from etam_onnx.config import CONFIGS, CrossAttention  # noqa: E402
from etam_onnx.conversion.worth.command import main  # noqa: E402
from etam_onnx.conversion.worth.registry import REWRITINGS  # noqa: E402
from etam_onnx.conversion.worth.rewriting import Array, Form, NotHereError, Rewriting, form  # noqa: E402
from etam_onnx.conversion.worth.subject import FRAME, Subject, random_model  # noqa: E402
from etam_onnx.conversion.worth.table import Measurements, as_json, as_text  # noqa: E402
from etam_onnx.conversion.worth.timing import MOST, Absent, Effort, Worth, difference, require_agreement, worth_of  # noqa: E402
from etam_onnx.model import position as model_position  # noqa: E402
from etam_onnx.runtime.onnxruntime_device import Device  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
DOUBLE = 2e-14
"""Largest difference of two forms in double precision; measured: at most 3e-15."""
ROUNDED_TABLES = 5e-7
"""The same where the portable form holds constants in single precision; measured: at most 8e-8."""
KINDS: tuple[CrossAttention, ...] = ("full", "pooled_score_bias", "pooled_key_constant")


def answers(form: Form) -> Sequence[Array]:
    """What a form gives when PyTorch runs it."""
    found = []
    with torch.no_grad():
        for step in form.steps:
            outputs = step.module(*step.inputs.values())
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            found.append([tensor.numpy() for tensor in outputs])
    return form.read(found)


@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_of_every_pair_are_the_same_function(kind: CrossAttention, monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision; what is done to graphs after their export shows in the next tests."""
    monkeypatch.setattr(model_position, "rotary_tables", exact_tables)
    subject = Subject(random_model(small_config(kind)).double())
    absent = []
    for rewriting in REWRITINGS:
        try:
            without, deployed = rewriting.build(subject)
        except NotHereError:
            absent.append(rewriting.name)
            continue
        limit = ROUNDED_TABLES if rewriting.scope == "portable against ort" else DOUBLE
        assert difference(answers(deployed), answers(without), rewriting.units) < limit, rewriting.name
    assert absent == (["pooled-before-projected"] if kind == "full" else [])


def test_what_is_compared_depends_on_every_memory() -> None:
    """Otherwise a form that loses one would pass."""
    subject = Subject(random_model(small_config()).double())
    inputs = subject.inputs("memory_attention")
    (wanted,) = answers(form(subject.module("memory_attention"), inputs))
    for slot in range(subject.slots):
        other = (slot + 1) % subject.slots
        swapped = {port: inputs[f"{port}_{other:02d}"] for port in ("memory", "keys")}
        changed = inputs | {f"{port}_{slot:02d}": value for port, value in swapped.items()}
        (found,) = answers(form(subject.module("memory_attention"), changed))
        assert difference([found], [wanted]) > 1e-3  # measured: at least 1.9e-3


ON_GRAPHS = (
    "fused-encoder-attention",
    "fused-gelu",
    "written-self-attention",
    "fused-memory-attention",
    "written-memory-attention",
    "score-column",
    "score-column-written",
    "int8-encoder",
    "int8-smoothing",
    "int8-encoder-scores",
    "int8-memory",
    "int8-memory-scores",
)
"""Pairs whose graphs are worked on after their export, where most of them differ in nothing else."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The command on these pairs, named in reverse: the folder of its file, and what it printed."""
    config, folder = replace(small_config(), memory_layers=1), tmp_path_factory.mktemp("worth")
    arguments = [
        "--model",
        config.name,
        "--threads",
        "1",
        "--rounds",
        "2",
        "--seconds",
        "0",
        "--json",
        str(folder / "worth.json"),
    ]
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setitem(CONFIGS, config.name, config)
        assert main([*arguments, "--only", *reversed(ON_GRAPHS)]) == 0
    return folder, printed.getvalue()


def test_the_command(run: tuple[Path, str]) -> None:
    folder, printed = run
    assert [path.name for path in folder.iterdir()] == ["worth.json"]
    written = json.loads((folder / "worth.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in written["rewritings"]] == list(ON_GRAPHS)
    frame = ["memory_attention_7" if name == "memory_attention" else name for name in FRAME]
    assert list(written["frame_graphs_ms"]) == frame
    assert np.isclose(sum(written["frame_graphs_ms"].values()), written["frame_ms"])
    lines = printed.splitlines()
    assert lines[0].startswith("small-test-model at 96 pixels, random weights, threads: 1, rounds: 2; ")
    assert [line.split()[0] for line in lines[5 : 5 + len(ON_GRAPHS)]] == list(ON_GRAPHS)
    assert "window-order" not in printed


@pytest.mark.parametrize("name", ON_GRAPHS)
def test_pairs_on_onnx_runtime(name: str, run: tuple[Path, str]) -> None:
    written = json.loads((run[0] / "worth.json").read_text(encoding="utf-8"))
    (entry,) = (entry for entry in written["rewritings"] if entry["name"] == name)
    assert len(entry["ratios"]) == 2 and min(entry["ratios"]) > 0
    assert min(entry["without_ms"], entry["with_ms"]) > 0
    if name.startswith("int8"):
        assert 1e-4 < entry["difference"] < 5e-2  # measured: 2e-3 to 3e-2
    else:
        assert entry["difference"] < 4e-6  # measured: at most 4e-7


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_on_onnx_runtime(kind: CrossAttention) -> None:
    subject = Subject(random_model(small_config(kind)))
    for rewriting in REWRITINGS:
        found = worth_of(rewriting, subject, Device("cpu", 1), Effort(1))
        assert isinstance(found, Absent) or found.agrees, rewriting.name


def test_forms_that_differ_are_found_out() -> None:
    torch.manual_seed(0)
    subject, device = Subject(random_model(small_config())), Device("cpu", 1)
    layer, x = nn.Linear(4, 4).eval().requires_grad_(False), torch.randn(2, 4)
    same = Rewriting("same", "nothing", "", lambda _: (form(layer, {"x": x}), form(layer, {"x": x})))
    scaled = Rewriting("scaled", "no identity", "", lambda _: (form(layer, {"x": x}), form(layer, {"x": 1.001 * x})))
    found = worth_of(scaled, subject, device, Effort(1))
    assert isinstance(found, Worth)
    assert 1e-4 < found.difference < 1e-2 and not found.agrees
    with pytest.raises(ValueError, match=r"scaled: both forms should agree to 1e-05, they differ by \d\.\de-0[34]"):
        require_agreement([Absent(same, "nothing to do"), found])
    found = worth_of(same, subject, device, Effort(3))
    assert isinstance(found, Worth)
    assert (found.difference, len(found.ratios), found.agrees) == (0, 3, True)
    cut = Rewriting(
        "cut", "no columns", "", lambda _: (form(layer, {"x": x}, read=lambda y: []), form(layer, {"x": x}))
    )
    with pytest.raises(ValueError, match=r"cut: the forms give \[\(2, 4\)\] and \[\]"):
        worth_of(cut, subject, device, Effort(1))


def test_short_calls_are_repeated_for_some_time() -> None:
    assert not Effort(3).enough(2, 100.0) and Effort(3).enough(3, 0.0)
    effort = Effort(3, seconds=2.0)
    assert not effort.enough(30, 1.9) and effort.enough(30, 2.0)
    assert not effort.enough(3 * MOST - 1, 0.1) and effort.enough(3 * MOST, 0.1)


def test_a_table_has_a_row_for_every_rewriting() -> None:
    found: list[Worth | Absent] = [Worth(r, 3.0, 2.0, (1.4, 1.5, 1.6), 2.5e-7) for r in REWRITINGS[1:]]
    found.insert(0, Absent(REWRITINGS[0], "it has no such thing"))
    frame = {name: 10.0 for name in FRAME}
    measured = Measurements("small", 96, "random weights", 2, 3, {"onnxruntime": "1"}, frame, found)
    lines = as_text(measured).splitlines()
    assert "60.0 ms" in lines[1]
    rows = {line.split()[0]: line for line in lines[5 : 5 + len(REWRITINGS)]}
    assert list(rows) == [rewriting.name for rewriting in REWRITINGS]
    assert "nothing: it has no such thing" in rows[REWRITINGS[0].name]
    # 2 ms that take half as long again without: 1 of 60 ms, and a fifth of it per object where five share.
    assert rows["window-order"].split()[-7:] == ["1", "3.00", "2.00", "1.500", "1.450..1.550", "1.7", "2.5e-07"]
    assert rows["shared-frame-attention"].split()[-2] == "0.3"
    assert rows["fewer-slots-2"].split()[-2] == "-"
    entries = as_json(measured)["rewritings"]
    assert entries[0]["absent"] == "it has no such thing"
    assert np.isclose(entries[2]["share_of_frame"], 1 / 60)
    assert len({rewriting.name for rewriting in REWRITINGS}) == len(REWRITINGS)


def test_the_list_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [rewriting.name for rewriting in REWRITINGS]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "magic"], "error: there is no rewriting 'magic', there are patch-rows, window-order,"),
        (["--model", "huge"], "error: unknown model 'huge', expected one of"),
        (["--rounds", "0"], "error: --rounds should be at least 1, found 0"),
        (["--seconds", "nan"], "error: --seconds should be 0 or more, found nan"),
        (["--threads", "-1"], "error: --threads should be at least 1, found -1"),
        (["--json", "nowhere/at/all.json"], "error: --json: the folder"),
        (["--json", "."], "error: --json: . is a folder"),
        (["--checkpoint", "missing.pt"], "error: there is no checkpoint at missing.pt"),
        (["--image-size", "100"], "error: image_size 100 is not a multiple of 32"),
    ],
)
def test_errors_are_sentences(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(sentence)
    assert captured.err.count("\n") == 1
    assert captured.out == ""
