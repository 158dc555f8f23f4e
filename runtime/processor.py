"""What ONNX Runtime does not find out about the processor."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def adds_bytes_exactly() -> bool:
    """Whether products of bytes are added up in 32 bits: on Arm, and on x86 with VNNI (AVX-VNNI, AVX-512 VNNI).

    Older x86 processors add two of them in 16 bits, which may overflow.  False where the system does not tell.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return True
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return any(flag.endswith("vnni") for flag in flags.split())
