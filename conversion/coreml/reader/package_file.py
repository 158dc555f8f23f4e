"""Reading a saved package (a folder NAME.mlpackage) as plain data; everything read is checked against itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from . import protobuf
from .messages import parsed_model
from .program import FLOATS, Feature, Function, Package, ProgramError, Variable
from .weight_file import WeightFile

MANIFEST = "Manifest.json"
MODEL_PATH = "@model_path/"
OPSETS = ("CoreML5", "CoreML6", "CoreML7", "CoreML8")
"""Operator sets of iOS 15, 16, 17 and 18."""


def read_package(path: str | Path) -> Package:
    """The functions, constants and descriptions of a saved package.

    Needs coremltools, for its protobuf classes alone.

    Raises:
        FileNotFoundError: there is no such folder.
        ProgramError: it is not a package, is damaged, or holds something else than an ML program of fixed shapes;
            or coremltools is not installed.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no package at {path}")
    model_path = _inside(path / "Data", _model_name(path), path.name)
    model = parsed_model(model_path, path.name)
    if model.WhichOneof("Type") != "mlProgram":
        raise ProgramError(f"{path.name}: expected an ML program, found {model.WhichOneof('Type') or 'nothing'}")
    files = _weight_files(model_path.parent, path.name)
    try:
        functions = {name: protobuf.function(name, f, files) for name, f in sorted(model.mlProgram.functions.items())}
        package = _package(path.name, model, functions)
    except ProgramError as error:
        raise ProgramError(f"{path.name}: {error}") from error
    for function in functions.values():
        check_names(function, path.name)
    return package


def _model_name(path: Path) -> str:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return str(manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProgramError(f"{path.name}: {MANIFEST} is missing or names no model") from error


def _inside(folder: Path, name: str, package: str) -> Path:
    """A file that the package names, which has to lie inside it."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or not name.isprintable():
        raise ProgramError(f"{package}: it names the file {name!r}, which is not inside it")
    return folder.joinpath(*parts)


def _weight_files(folder: Path, package: str) -> Callable[[str], WeightFile]:
    opened: dict[str, WeightFile] = {}

    def weight_file(name: str) -> WeightFile:
        if name not in opened:
            if not name.startswith(MODEL_PATH):
                raise ProgramError(f"it names the weight file {name!r}, which is not inside it")
            opened[name] = WeightFile(_inside(folder, name.removeprefix(MODEL_PATH), package))
        return opened[name]

    return weight_file


def _package(name: str, model: Any, functions: dict[str, Function]) -> Package:
    described = {item.name: item for item in model.description.functions}
    default = model.description.defaultFunctionName or "main"
    if not described:
        described = {default: model.description}
    if default not in functions or sorted(described) != sorted(functions):
        raise ProgramError(f"its functions are {sorted(functions)}, it describes {sorted(described)}")
    inputs: dict[str, tuple[Feature, ...]] = {}
    outputs: dict[str, tuple[Feature, ...]] = {}
    for key, function in functions.items():
        inputs[key] = tuple(protobuf.feature(item) for item in described[key].input)
        outputs[key] = tuple(protobuf.feature(item) for item in described[key].output)
        _check_description("input", inputs[key], function.inputs)
        types = {variable.name: variable for item in function.operations for variable in item.outputs}
        types |= {variable.name: variable for variable in function.inputs}
        _check_description("output", outputs[key], tuple(types[out] for out in function.outputs if out in types))
    metadata = model.description.metadata
    facts = {
        "description": metadata.shortDescription,
        "version": metadata.versionString,
        "author": metadata.author,
        "licence": metadata.license,
        **metadata.userDefined,
    }
    metadata = {key: value for key, value in facts.items() if value}
    return Package(name, model.specificationVersion, functions, default, inputs, outputs, metadata)


def _check_description(side: str, described: tuple[Feature, ...], variables: tuple[Variable, ...]) -> None:
    wanted = {variable.name: variable.type for variable in variables}
    found = {}
    for feature in described:
        inside = wanted.get(feature.name)
        floats = feature.image and inside is not None and inside.dtype in FLOATS and inside.shape == feature.type.shape
        found[feature.name] = inside if floats else feature.type
    if found != wanted:
        raise ProgramError(f"the {side}s of its program are {_listed(wanted)}, those it describes {_listed(found)}")


def _listed(types: dict[str, Any]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in types.items()) or "none"


def check_names(function: Function, where: str) -> None:
    """Every value is defined once and before it is used, and the operator set is known.

    Raises:
        ProgramError: otherwise; names the value.
    """
    where = f"{where}: function {function.name}"
    if function.opset not in OPSETS:
        raise ProgramError(f"{where} is written for {function.opset}, known are {', '.join(OPSETS)}")
    known: set[str] = set()
    for variable in function.inputs:
        _define(variable.name, known, where)
    for operation in function.operations:
        for arguments in operation.arguments.values():
            for argument in arguments:
                if isinstance(argument, str) and argument not in known:
                    raise ProgramError(f"{where}: {operation.kind} {operation.name!r} uses {argument!r}, not yet there")
        for variable in operation.outputs:
            _define(variable.name, known, where)
    missing = [name for name in function.outputs if name not in known]
    if missing or not function.outputs:
        raise ProgramError(f"{where}: no operation gives its outputs {missing}")


def _define(name: str, known: set[str], where: str) -> None:
    if name in known:
        raise ProgramError(f"{where}: two values are called {name!r}")
    known.add(name)
