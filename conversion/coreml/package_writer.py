"""Writing a package (a folder NAME.mlpackage) so that equal programs give equal bytes.

coremltools draws new identifiers and notes the day each time it saves; here identifiers follow from the content.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from .toolbox import coremltools

MODEL = PurePosixPath("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = PurePosixPath("Data/com.apple.CoreML/weights/weight.bin")
MANIFEST = PurePosixPath("Manifest.json")
AUTHOR = "com.apple.CoreML"


@dataclass(frozen=True, eq=False)
class Program:
    """What a package holds: the `Model` message, and the weight file it refers to."""

    message: Any
    weights: bytes


def program_of(model: Any) -> Program:
    """The program of a model of coremltools."""
    with TemporaryDirectory() as folder, coremltools():
        path = Path(folder) / "model.mlpackage"
        model.save(str(path))
        return read_program(path)


def read_program(path: Path) -> Program:
    """The program of a package that coremltools saved."""
    with coremltools() as ct:
        return Program(ct.utils.load_spec(str(path)), (path / WEIGHTS).read_bytes())


def write_package(program: Program, path: Path) -> list[str]:
    """Write a package; its folder must not exist.

    Returns:
        Its files, relative to the folder.
    """
    files = {
        MODEL: program.message.SerializeToString(deterministic=True),
        WEIGHTS: program.weights,
    }
    files[MANIFEST] = _manifest(files)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=name != MODEL)
        (path / name).write_bytes(content)
    return sorted(str(name) for name in files)


def _manifest(files: Mapping[PurePosixPath, bytes]) -> bytes:
    """Lists what lies in the folder `Data`: the model, and the folder of its weights."""
    items = ((MODEL, MODEL, "CoreML Model Specification"), (WEIGHTS, WEIGHTS.parent, "CoreML Model Weights"))
    entries = {
        _identifier(files[file]): {
            "author": AUTHOR,
            "description": description,
            "name": item.name,
            "path": str(item.relative_to("Data")),
        }
        for file, item, description in items
    }
    data = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": _identifier(files[MODEL])}
    return (json.dumps(data, indent=4, sort_keys=True) + "\n").encode()


def _identifier(content: bytes) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=4)).upper()
