"""The protobuf class of saved models, which coremltools brings; imported when it is needed, and quietly."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

from .program import ProgramError


def parsed_model(path: Path, package: str) -> Any:
    """The `Model` message in a file; `package` is for the error message.

    Raises:
        ProgramError: coremltools is not installed, or the file is missing or damaged.
    """
    logger = logging.getLogger("coremltools")
    before = logger.level
    logger.setLevel(logging.ERROR)  # on import it reports everything that only macOS has
    try:
        messages = importlib.import_module("coremltools.proto.Model_pb2")
    except ImportError as error:
        raise ProgramError("reading Core ML packages needs coremltools: pip install 'etam-onnx[coreml]'") from error
    finally:
        logger.setLevel(before)
    model = messages.Model()
    damaged = importlib.import_module("google.protobuf.message").DecodeError
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, damaged) as error:
        raise ProgramError(f"{package}: {path.name} is missing or damaged") from error
    return model
