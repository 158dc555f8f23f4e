"""Whether a processor adds products of bytes exactly, and what sessions are told where it does not."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest

from etam_onnx.runtime import onnxruntime_device, processor
from etam_onnx.runtime.onnxruntime_device import Device
from etam_onnx.runtime.processor import adds_bytes_exactly

ORDINARY = "processor\t: 0\nmodel name\t: any\nflags\t\t: fpu sse2 avx2 avx512f\n"


@pytest.mark.parametrize(
    ("machine", "text", "exact"),
    [
        ("x86_64", ORDINARY, False),
        ("x86_64", ORDINARY.replace("avx512f", "avx512f avx512_vnni"), True),
        ("AMD64", ORDINARY.replace("avx512f", "avx_vnni"), True),
        ("x86_64", None, False),
        ("aarch64", None, True),
        ("arm64", ORDINARY, True),
    ],
)
def test_what_the_system_says(
    machine: str, text: str | None, exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert adds_bytes_exactly() is exact


@pytest.mark.parametrize("exact", [True, False])
def test_sessions_take_exact_kernels_where_they_must(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    seen: list[dict[str, str]] = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[name-defined, misc]
        def add_session_config_entry(self, key: str, value: str) -> None:
            seen[-1][key] = value

    def open_nothing(path: str, options: Any, **_: Any) -> Any:
        raise RuntimeError("enough seen")

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_nothing)
    monkeypatch.setattr(onnxruntime_device, "adds_bytes_exactly", lambda: exact)
    seen.append({})
    with pytest.raises(Exception, match="enough seen"):
        Device("cpu").session(Path("any.onnx"))
    assert ("session.x64quantprecision" in seen[-1]) is not exact
