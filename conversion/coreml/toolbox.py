"""coremltools, which is an extra: imported when it is needed, and kept quiet."""

from __future__ import annotations

import gc
import importlib
import io
import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any


@contextmanager
def coremltools() -> Iterator[Any]:
    """The module `coremltools`, for a while in which it neither warns, logs nor draws progress bars.

    It asks for a collection of all garbage again and again; what is alive before is left out of that.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    gc.freeze()
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                module = importlib.import_module("coremltools")
            except ImportError as error:
                raise ImportError("Core ML packages need coremltools: pip install 'etam-onnx[coreml]'") from error
            yield module
    finally:
        gc.unfreeze()
        logger.setLevel(level)


def require_coremltools(systems: Collection[str]) -> None:
    """ImportError unless coremltools is installed and knows these systems, such as "iOS18"."""
    with coremltools() as tools:
        unknown = [system for system in sorted(systems) if not hasattr(tools.target, system)]
        if unknown:
            raise ImportError(
                f"packages for {unknown[0]} need a later coremltools than {tools.__version__}: "
                "pip install --upgrade coremltools"
            )
