"""Several programs as the functions of one, which share the weights that are equal (iOS 18)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from .package_writer import Program, read_program, write_package
from .toolbox import coremltools


def as_functions(programs: Mapping[str, Program]) -> Program:
    """One program with a function per entry, called as its key; the last is what runs if none is asked for."""
    with TemporaryDirectory() as folder, coremltools() as ct:
        several = ct.utils.MultiFunctionDescriptor()
        for name, program in programs.items():
            source = Path(folder) / f"{name}.mlpackage"
            write_package(program, source)
            several.add_function(str(source), src_function_name="main", target_function_name=name)
        several.default_function_name = list(programs)[-1]
        merged = Path(folder) / "functions.mlpackage"
        ct.utils.save_multifunction(several, str(merged))
        return read_program(merged)
