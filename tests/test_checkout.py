"""The shape of the checkout: sizes and names of files, the README, and what the CI script runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("etam_onnx", "graphs", "runtime", "conversion", "tests")
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "misc", "manager"}
TEST_COMMAND = "pip install -e '.[dev]' && pytest"
USER_COMMAND = "pip install '.[cpu]' && etam-onnx track --demo -o tracked.mp4"


def python_files() -> list[Path]:
    return sorted({path.resolve() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")})


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    assert len(lengths) > 30
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_names_say_something() -> None:
    paths = [path.relative_to(ROOT) for path in python_files()]
    assert [str(path) for path in paths if VAGUE_NAMES & {*path.parent.parts, path.stem}] == []


def test_no_path_of_one_machine_is_written_down() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *(ROOT / ".github").rglob("*.md")]
    pattern = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")
    files = [path for path in [*python_files(), *documents] if pattern.search(path.read_text(encoding="utf-8"))]
    assert files == []


def test_the_readme_is_short_and_gives_both_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 200
    assert TEST_COMMAND in readme
    assert USER_COMMAND in readme
    for folder in FOLDERS:
        assert f"`{folder}/`" in readme


@pytest.mark.parametrize("command", [TEST_COMMAND, USER_COMMAND])
def test_the_ci_script_runs_the_commands_of_the_readme(command: str) -> None:
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert command in lines


def test_the_licence_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
