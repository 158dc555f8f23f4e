"""Lint: our graphs are clean, every breach is reported under its rule's name, and the page about it is current."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from linted_graphs import BREACHES as ONNX_BREACHES  # noqa: E402
from linted_graphs import clean_graph, graph_with  # noqa: E402

from etam_onnx import Bundle  # noqa: E402
from etam_onnx.cli.lint import listed, summary  # noqa: E402
from etam_onnx.cli.main import main  # noqa: E402
from etam_onnx.config import CONFIGS  # noqa: E402
from etam_onnx.conversion import lint_page, portable_rules  # noqa: E402
from etam_onnx.conversion.lint import Report, lint_bundle, lint_file, linted_variants  # noqa: E402
from etam_onnx.conversion.onnx_graph import export_graph  # noqa: E402
from etam_onnx.conversion.portable import portable_graph  # noqa: E402
from etam_onnx.conversion.portable_rules import ONE_PARTITION, InferredGraph  # noqa: E402
from etam_onnx.graphs.contract import contract  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.model import EfficientTAM  # noqa: E402

PUBLISHED = ("efficienttam_ti_512x512", "efficienttam_ti_1")
"""At 512 and at 1024 pixels."""


def reports(bundle: Bundle, *variants: str) -> list[Report]:
    return list(lint_bundle(bundle, variants or linted_variants(bundle)))


def assert_clean(found: list[Report]) -> None:
    assert [(report.variant, report.graph, finding.place) for report in found for finding in report.breaches] == []


def test_the_small_model_is_clean(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    assert linted_variants(bundle) == ["portable"]
    found = reports(bundle)
    assert {report.graph for report in found} == set(bundle.graphs_of("portable"))
    assert_clean(found)
    for report in found:
        assert (report.partitions, report.placed) == (1, None) and report.operators > 30


def test_the_shipped_bundle_is_clean_and_the_page_shows_it(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "etam-nano"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith(
        "not linted: ort, ort-int8, written for ONNX Runtime's own operators, for CPUs and CUDA\n6 graphs: clean\n"
    )
    assert "(1) no casts, except casts of stored constants: " in printed
    page = (repository / "docs/lint.md").read_text(encoding="utf-8")
    assert "".join(f"    {line}\n" if line else "\n" for line in printed.splitlines()) in page


def test_the_page_is_current(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = repository / "docs/lint.md"
    written = path.read_text(encoding="utf-8")
    assert lint_page.updated(written) == written, "run python -m etam_onnx.conversion.lint_page docs/lint.md"
    old = tmp_path / "lint.md"
    old.write_text(written.replace("rank at most 4", "rank at most 9"))
    assert lint_page.main([str(old)]) == 0 and old.read_text(encoding="utf-8") == written
    old.write_text("no marks")
    assert lint_page.main([str(old)]) == 1
    assert capsys.readouterr().err == f"error: {old} has no part between the marks of its rules\n"


@pytest.mark.parametrize("rule", [rule.name for rule in (*portable_rules.RULES, ONE_PARTITION)])
def test_an_onnx_graph_that_breaks_a_rule(rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    breach = ONNX_BREACHES[rule]
    path = tmp_path / "bad.onnx"
    onnx.save(graph_with(breach), path)
    assert main(["lint", str(path)]) == 1
    assert f"  bad, {rule}: " in " ".join(capsys.readouterr().out.split("\n"))
    (report,) = lint_file(path)
    assert {finding.rule.name for finding in report.breaches} == {rule, *breach.also}


def test_a_clean_onnx_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(clean_graph(), tmp_path / "good.onnx")
    assert main(["lint", str(tmp_path / "good.onnx")]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "good.onnx",
        "  graph  operators  partitions  findings  exceptions",
        "  good           2           1     clean  1 x (1)",
    ]


def test_a_damaged_graph_of_a_bundle_is_no_clean_one(small_bundle: Path, tmp_path: Path) -> None:
    """One planted operator in one graph of ours is found, and nothing else."""
    path = shutil.copy(small_bundle / "portable/mask_decoder.onnx", tmp_path)
    model = onnx.load(path, load_external_data=False)
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if output == name else output for output in node.output]
    model.graph.node.append(onnx.helper.make_node("Reciprocal", ["before"], [name], "planted"))
    onnx.save(model, path)
    (report,) = lint_file(Path(path))
    assert [(finding.rule.name, finding.place) for finding in report.breaches] == [
        ("no Reciprocal", "planted (Reciprocal)")
    ]
    assert report.partitions == 1


def test_places_are_listed_up_to_a_number(tmp_path: Path) -> None:
    breach = ONNX_BREACHES["no Reciprocal"]
    model = graph_with(breach)
    for number in range(7):
        model.graph.node.add().CopyFrom(onnx.helper.make_node("Reciprocal", ["x"], [f"r{number}"], f"more{number}"))
    onnx.save(model, tmp_path / "many.onnx")
    found = list(lint_file(tmp_path / "many.onnx"))
    lines = list(listed(found))
    assert [line for line in lines if line.startswith("    - ")][-1] == "    - and 3 more"
    assert sum(line.startswith("    - ") for line in listed(found, None)) == 8
    assert summary(found) == "1 graph: 8 findings in 1"
    assert summary(found * 2) == "2 graphs: 16 findings in 2"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["no-such-bundle"], "there is no bundle 'no-such-bundle': it is neither a folder nor one of the shipped"),
        (["missing.onnx"], "there is no file missing.onnx"),
        (["missing.mlpackage"], "there is no package at missing.mlpackage"),
        (["missing.onnx", "--variant", "portable"], "--variant is for bundles, a file has none"),
        (["etam-nano", "--variant", "ort"], "there are no rules for the variant 'ort': it is written for ONNX Runtime"),
        (["etam-nano", "--variant", "fast"], "the bundle "),
        (["empty.onnx"], "empty.onnx is not an ONNX model, or one without operators"),
        (["text.onnx"], "text.onnx is not an ONNX model, or a damaged one"),
        (["empty.mlpackage"], "empty.mlpackage is not a Core ML package: its Manifest.json is missing or names no"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str],
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.onnx").touch()
    Path("text.onnx").write_text("nothing of the kind")
    Path("empty.mlpackage").mkdir()
    assert main(["lint", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.splitlines()[-1].lstrip("\r ").startswith(f"error: {error}")


@pytest.mark.parametrize(("package", "extra"), [("onnx", "convert"), ("onnxruntime", "convert")])
def test_what_is_missing_is_said_with_its_extra(package: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from etam_onnx.cli.main import main; sys.exit(main(['lint', 'etam-nano']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith(f"error: lint needs {package}: pip install 'etam-onnx[{extra}]'")


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_portable_graphs_are_clean(name: str) -> None:
    model = EfficientTAM(CONFIGS[name]).eval()
    geometry = geometry_of(model.config)
    for graph in contract(geometry).values():
        subject = InferredGraph(export_graph(portable_graph(model, geometry, graph.name), graph))
        found = portable_rules.linted(subject)
        assert [(f.rule.name, f.place) for f in found if f.exemption is None] == [], graph.name
        assert subject.partitions == (1, frozenset())
