"""The variants a bundle may have: which edges their graphs have, and how they compute.  Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

PORTABLE = "portable"
"""The variant with the graphs of `contract`, which anything can run."""
ORT = "ort"
"""The variant with the graphs of `ort_contract`, and the name of those edges."""
COREML = "coreml"
"""Folder of the Core ML packages, and what the names of their variants begin with."""


@dataclass(frozen=True)
class Variant:
    """One way to deploy the graphs.

    edges: whose ports the graphs have, `PORTABLE` or `ORT`.  precision: of the weights and products, a key of the
    contract's tolerances.  doc: what it is for.  system: oldest one whose Core ML runs it; empty for graphs in ONNX.
    """

    name: str
    edges: str
    precision: str
    doc: str
    system: str = ""


_WEIGHTS = {
    "fp16": "half precision",
    "int8": "half precision, weights in 8-bit integers",
    "palette6": "half precision, weights from palettes of 64 numbers",
}


def _coreml(system: str, precision: str) -> Variant:
    name = "-".join((COREML, system.lower(), *([precision] if precision != "fp16" else [])))
    number = system.removeprefix("iOS")
    return Variant(name, PORTABLE, precision, f"Core ML from iOS {number}, {_WEIGHTS[precision]}.", system)


_KNOWN = (
    Variant(PORTABLE, PORTABLE, "fp32", "Standard operators only: anything that reads ONNX."),
    Variant(ORT, ORT, "fp32", "Written for ONNX Runtime's fused operators, CPU and CUDA."),
    Variant(f"{ORT}-int8", ORT, "int8", "The same with linear layers and attention scores in 8-bit integers: CPU."),
    Variant(f"{ORT}-fp16", ORT, "fp16", "The same in half precision where that holds the digits: CUDA."),
    *(_coreml(system, precision) for system in ("iOS18", "iOS17") for precision in _WEIGHTS),
)
VARIANTS = {variant.name: variant for variant in _KNOWN}
"""By name."""
PRECISIONS = {variant.precision: variant.name for variant in _KNOWN if variant.edges == ORT}
"""Names of the variants written for ONNX Runtime, by their precision."""
PACKAGED = {(variant.system, variant.precision): variant.name for variant in _KNOWN if variant.system}
"""Names of the variants for Core ML, by their oldest system and the precision of their weights."""


def edges_of(variant: str) -> str:
    """Whose ports a variant's graphs have; a variant that is not known here has those of `PORTABLE`."""
    return VARIANTS[variant].edges if variant in VARIANTS else PORTABLE


def precision_of(variant: str) -> str:
    """The precision of a variant; of one that is not known here it is that of `PORTABLE`."""
    return VARIANTS[variant if variant in VARIANTS else PORTABLE].precision


def system_of(variant: str) -> str:
    """Oldest system whose Core ML runs a variant; empty for one whose graphs are in ONNX, or that is not known here."""
    return VARIANTS[variant].system if variant in VARIANTS else ""
