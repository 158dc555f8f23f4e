"""The machine and the versions of what computes: without them a time means nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("etam-onnx", "numpy", "pillow", "av", "onnxruntime", "onnxruntime-gpu", "torch")
VECTOR_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")
CPUINFO = Path("/proc/cpuinfo")
BUSY = 0.5
"""Other work above this many cores makes times unreliable."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> dict[str, Any]:
    """Vendor, model and vector instructions of the CPU, as far as the system tells."""
    facts: dict[str, str] = {}
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "model": facts.get("model name") or platform.processor() or platform.machine(),
        "vendor": facts.get("vendor_id", ""),
        "vector_instructions": [flag for flag in VECTOR_FLAGS if flag in flags],
    }


def versions() -> dict[str, str]:
    """Versions of the installed packages that matter here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """All of it, with how busy the machine was in the minute before."""
    return {
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "versions": versions(),
        "busy_cores_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
