"""Which files a Core ML package (a folder NAME.mlpackage) refers to, read from its bytes alone.

So a bundle's references are known before Core ML opens a package, and on systems that have no Core ML.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .wire_format import delimited_fields

SUFFIX = ".mlpackage"
MANIFEST = "Manifest.json"
DATA = PurePosixPath("Data")
HERE = "@model_path/"
"""How a program writes the folder of its own file."""

# Field numbers of Model.proto and MIL.proto: message -> fields that lead to the name of a weight file.
_INTO = {
    "model": {502: "program"},
    "program": {2: "functions", 4: "values"},
    "functions": {2: "function"},
    "function": {3: "blocks", 4: "values"},
    "blocks": {2: "block"},
    "block": {3: "operation", 4: "values"},
    "operation": {2: "arguments", 4: "block", 5: "values"},
    "arguments": {2: "argument"},
    "argument": {1: "binding"},
    "binding": {2: "value"},
    "values": {2: "value"},
    "value": {5: "file"},
}


def contained_files(package: Path) -> set[str]:
    """The files in a package, relative to it, with forward slashes; a link to a folder counts as a file."""
    found = set()
    for folder, folders, files in os.walk(package):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found |= {Path(folder, name).relative_to(package).as_posix() for name in (*files, *links)}
    return found


def referenced_files(package: Path) -> set[str]:
    """The model that a package names, and the weight files that the model names, relative to the package.

    Names are given as they are written and may lead anywhere.

    Raises:
        ValueError: the package has no readable manifest or no readable model.
    """
    try:
        stated = json.loads((package / MANIFEST).read_text(encoding="utf-8"))
        paths = [str(entry["path"]) for entry in stated["itemInfoEntries"].values()]
        root = str(stated["itemInfoEntries"][stated["rootModelIdentifier"]]["path"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its {MANIFEST} is missing or names no model") from error
    model = DATA / root
    outside = [path for path in paths if _leaves(path)]
    if outside:
        raise ValueError(f"it names {outside[0]!r}, which is outside of it")
    try:
        names = set(_walk(memoryview((package / model).read_bytes()), "model"))
    except (OSError, ValueError, IndexError, RecursionError) as error:
        raise ValueError(f"its model {root} is missing or damaged") from error
    weights = {_beside(model, name) for name in names}
    return {str(model)} | weights


def _leaves(path: str) -> bool:
    return not path.isprintable() or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _beside(model: PurePosixPath, name: str) -> str:
    if not name.startswith(HERE) or _leaves(name.removeprefix(HERE)):
        raise ValueError(f"it reads weights from {name!r}, which is outside of it")
    return str(model.parent / name.removeprefix(HERE))


def _walk(data: memoryview, message: str) -> Iterator[str]:
    for number, content in delimited_fields(data):
        inner = _INTO[message].get(number)
        if inner == "file":
            names = [bytes(text) for key, text in delimited_fields(content) if key == 1]
            yield names[-1].decode("utf-8", "replace") if names else ""
        elif inner:
            yield from _walk(content, inner)
