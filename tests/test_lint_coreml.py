"""Lint of Core ML packages: ours are clean, every breach is reported under its rule's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("coremltools", reason="coremltools is not installed")

from coreml_programs import mb, saved_program  # noqa: E402
from linted_programs import BREACHES, Breach, change_program, half  # noqa: E402
from test_lint import PUBLISHED, assert_clean, reports  # noqa: E402

from etam_onnx import Bundle  # noqa: E402
from etam_onnx.cli.main import main  # noqa: E402
from etam_onnx.config import CONFIGS  # noqa: E402
from etam_onnx.conversion.coreml.converter import converted, exported  # noqa: E402
from etam_onnx.conversion.coreml.forms import coreml_graph  # noqa: E402
from etam_onnx.conversion.coreml.linted_function import linted_functions  # noqa: E402
from etam_onnx.conversion.coreml.package_writer import write_package  # noqa: E402
from etam_onnx.conversion.coreml.placement import (  # noqa: E402
    BY_TYPE,
    EPSILONS,
    LEAVES,
    SINCE_IOS18,
    STAYS,
    WHY_IT_LEAVES,
)
from etam_onnx.conversion.coreml.rules import OPSETS, RULES, linted  # noqa: E402
from etam_onnx.conversion.lint import lint_file, linted_variants  # noqa: E402
from etam_onnx.graphs.contract import contract  # noqa: E402
from etam_onnx.graphs.variants import PACKAGED  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.model import EfficientTAM  # noqa: E402

VARIANT = "coreml-ios18"


def test_the_small_model_is_clean(small_packages: Path) -> None:
    bundle = Bundle.open(small_packages)
    assert linted_variants(bundle) == ["portable", VARIANT]
    found = reports(bundle, VARIANT)
    assert_clean(found)
    assert {report.graph for report in found} == set(bundle.graphs_of(VARIANT))
    for report in found:
        stated = bundle.manifest.programs[VARIANT][report.graph].operators
        assert (report.operators, report.placed, report.partitions) == (sum(stated.values()),) * 2 + (None,)
    exempted = {(report.graph, finding.rule.name) for report in found for finding in report.exempted}
    assert exempted == {
        ("image_encoder", "half precision"),
        ("image_encoder", "no casts"),
        ("mask_decoder", "no sine or cosine"),
    }


def test_the_command_on_a_bundle_and_on_a_package(small_packages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(small_packages), "--variant", VARIANT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [VARIANT, "  graph                operators  placed  findings  exceptions"]
    assert lines[2].split() == ["image_encoder", *lines[2].split()[1:2] * 2, "clean", "1", "x", "(1),", "1", "x", "(2)"]
    assert lines[-1] == "6 graphs: clean"
    assert main(["lint", str(small_packages / "coreml/ios18/memory_attention.mlpackage")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "memory_attention.mlpackage" and lines[-1] == "3 graphs: clean"


def test_there_is_a_program_for_every_rule() -> None:
    assert list(BREACHES) == [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", BREACHES)
def test_a_program_that_breaks_a_rule(rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    breach = BREACHES[rule]
    path = breach.saved(tmp_path / "bad.mlpackage")
    assert main(["lint", str(path)]) == 1
    assert f"  main, {rule}: " in capsys.readouterr().out
    (report,) = lint_file(path)
    assert {finding.rule.name for finding in report.breaches} == {rule, *breach.also}


def test_what_cannot_be_read_is_not_called_placed(tmp_path: Path) -> None:
    for rule in ("static shapes", "no state"):
        (report,) = lint_file(BREACHES[rule].saved(tmp_path / f"{rule}.mlpackage"))
        assert (report.operators, report.placed) == (1, 0)
        assert "no other rule" in report.breaches[0].rule.reason


def test_a_clean_program(tmp_path: Path) -> None:
    (report,) = lint_file(Breach().saved(tmp_path / "good.mlpackage"))
    assert report.findings == () and (report.operators, report.placed) == (1, 1)


@pytest.mark.parametrize("kind", sorted(WHY_IT_LEAVES))
def test_an_operator_that_leaves_is_named_with_its_reason(kind: str, tmp_path: Path) -> None:
    """Planted into a program under a wrong name, so that every one of them can be."""
    path = Breach().saved(tmp_path / "bad.mlpackage")

    def plant(function: object) -> None:
        for operation in function.block_specializations["CoreML8"].operations:  # type: ignore[attr-defined]
            operation.type = kind if operation.type == "relu" else operation.type

    change_program(path, plant)
    (report,) = lint_file(path)
    places = {finding.rule.name: finding.place for finding in report.breaches}
    assert places["no operator that leaves"].startswith(f"{kind} ")
    assert places["no operator that leaves"].endswith(WHY_IT_LEAVES[kind])
    assert (report.operators, report.placed) == (1, 0)


def test_exceptions_cover_no_more_than_they_say(tmp_path: Path) -> None:
    """Few numbers, or the frame; not many numbers, another input, or another cast."""

    def breaches(build: object, array: object, rename: bool = False) -> set[str]:
        path = saved_program(tmp_path / f"{len(list(tmp_path.iterdir()))}.mlpackage", build, [array])  # type: ignore[arg-type]
        (function,) = linted_functions(path).values()
        return {finding.rule.name for finding in linted(function) if finding.exemption is None}

    assert breaches(lambda x: mb.sin(x=x), half(1, 4096)) == set()
    assert breaches(lambda x: mb.cos(x=x), half(2, 4096)) == {"no sine or cosine"}
    pixels = np.ones((1, 3, 4, 4), np.float32)
    assert breaches(lambda x: mb.cast(x=x, dtype="fp16"), pixels) == {"half precision", "no casts"}


def test_a_package_newer_than_its_variant(tmp_path: Path) -> None:
    path = Breach().saved(tmp_path / "new.mlpackage")
    for system, wanted in (("iOS17", ["CoreML8 in a package for iOS17"]), ("iOS18", []), ("", [])):
        (function,) = linted_functions(path, system).values()
        assert [finding.place for finding in linted(function)] == wanted
    assert set(OPSETS) == {system for system, _ in PACKAGED}


def test_lists_of_operators_do_not_overlap_and_name_what_there_is() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    lists = (STAYS, BY_TYPE, set(EPSILONS), *map(set, LEAVES.values()))
    together = [kind for kinds in lists for kind in kinds]
    assert len(together) == len(set(together))
    known = SSAOpRegistry.core_ops
    assert set(together) <= set(known)
    first = {kind: min(target.name for target in classes) for kind, classes in known.items()}
    oldest = {kind: min(target.value for target in classes) for kind, classes in known.items()}
    assert "iOS18" in first["read_state"]
    newest = {kind for kind, value in oldest.items() if value == oldest["read_state"]}
    assert newest | {"coreml_update_state"} == SINCE_IOS18


def test_what_is_missing_is_said_with_its_extra(tmp_path: Path) -> None:
    path = Breach().saved(tmp_path / "good.mlpackage")
    for package, sentence in (
        ("coremltools", "reading Core ML packages needs coremltools: pip install 'etam-onnx[coreml]'"),
        ("torch", "lint needs torch: pip install 'etam-onnx[coreml]'"),
    ):
        code = (
            f"import sys; sys.modules[{package!r}] = None\n"
            f"from etam_onnx.cli.main import main; sys.exit(main(['lint', {str(path)!r}]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].endswith(f"error: {sentence}")


def test_what_is_no_ml_program_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Breach().saved(tmp_path / "odd.mlpackage")
    model = path / "Data/com.apple.CoreML/model.mlmodel"
    model.write_bytes(b"\x08\x01")
    assert main(["lint", str(path)]) == 1
    assert capsys.readouterr().err.endswith("error: odd.mlpackage: expected an ML program, found nothing\n")
    model.unlink()
    assert main(["lint", str(path)]) == 1
    assert "is not a Core ML package: its model" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_packages_are_clean(name: str, tmp_path: Path) -> None:
    """Every graph for both systems, as the exporter converts them."""
    model = EfficientTAM(CONFIGS[name]).eval()
    geometry = geometry_of(model.config)
    for graph in contract(geometry).values():
        source = exported(coreml_graph(model, geometry, graph.name), graph)
        for system in OPSETS:
            path = tmp_path / f"{graph.name}-{system}.mlpackage"
            write_package(converted(source, graph, system), path)
            (function,) = linted_functions(path, system).values()
            assert [(f.rule.name, f.place) for f in linted(function) if f.exemption is None] == [], path.name
