"""Whether MKL, with which PyTorch computes on x86, takes its fast path, and how to make it.

MKL asks two functions of its own whether it runs on a processor made by Intel, and uses plain instructions for much of
its work where it does not.  A library that is loaded before it and defines both gives the answers in their place.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SOURCE = "".join(f"int {name}(void) {{ return 1; }}\n" for name in ("mkl_serv_intel_cpu_true", "mkl_serv_intel_cpu"))
COMPILERS = ("cc", "gcc", "clang")
ANNOUNCED = re.compile(
    r"MKL_VERBOSE \S*MKL (?P<version>.+?) for Intel\(R\) 64 architecture (?P<path>.+?), (?:Lnx|Win|OSX)"
)
WIDEST = (("AVX512", "AVX-512"), ("AVX2", "AVX2"))
"""What PyTorch calls the processor's vector instructions, and the word for them in MKL's own announcement."""


@dataclass(frozen=True)
class MklPath:
    """What MKL says of itself.

    version: such as ``2024.0 Update 2``.  instructions: what it says its code is for.  slow: these are less than
    `processor`, the vector instructions that PyTorch found.
    """

    version: str
    instructions: str
    processor: str
    slow: bool

    def as_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def mkl_path() -> MklPath | None:
    """The path that MKL takes in this process; None when this PyTorch has no MKL or says nothing of it.

    MKL announces itself on the standard output of the process, which is diverted meanwhile.
    """
    import torch

    backend: Any = torch.backends.mkl
    if os.name != "posix" or not backend.is_available():
        return None
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    kept = os.dup(1)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 1)
        try:
            matrix = torch.ones(64, 64)
            with backend.verbose(backend.VERBOSE_ON):
                torch.mm(matrix, matrix)
        finally:
            libc.fflush(None)
            os.dup2(kept, 1)
            os.close(kept)
        heard.seek(0)
        return read_announcement(heard.read().decode(errors="replace"), torch.backends.cpu.get_cpu_capability())


def read_announcement(text: str, processor: str) -> MklPath | None:
    """What MKL's announcement says, next to what PyTorch calls the processor; None when there is no announcement."""
    found = ANNOUNCED.search(text)
    if found is None:
        return None
    instructions = found["path"]
    wanted = next((word for name, word in WIDEST if name in processor), None)
    return MklPath(found["version"], instructions, processor, wanted is not None and wanted not in instructions)


def check_unlockable(vendor: str) -> str:
    """The compiler with which `build_unlocking_library` will work.

    Raises:
        ValueError: MKL cannot be told here, or need not be.
    """
    if not sys.platform.startswith("linux"):
        raise ValueError("--mkl-fast needs Linux, where a library can be loaded before MKL is")
    if vendor == "GenuineIntel":
        raise ValueError(
            "--mkl-fast is for processors that are not Intel's; on this one MKL takes its fast path anyway"
        )
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise ValueError(f"--mkl-fast needs a C compiler, and none of {', '.join(COMPILERS)} is installed")
    return compiler


def build_unlocking_library(folder: Path, compiler: str) -> Path:
    """Compile the library into `folder`.

    Raises:
        RuntimeError: the compiler failed.
    """
    source, library = folder / "mkl_fast_path.c", folder / "mkl_fast_path.so"
    source.write_text(SOURCE)
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(source)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        words = made.stderr.strip().splitlines() or [f"it ended with {made.returncode}"]
        raise RuntimeError(f"--mkl-fast: {compiler} failed: {words[0]}")
    return library


def preloaded(library: Path) -> dict[str, str]:
    """The environment variable with which a child process loads `library` before MKL."""
    before = os.environ.get("LD_PRELOAD")
    return {"LD_PRELOAD": f"{library}:{before}" if before else str(library)}
