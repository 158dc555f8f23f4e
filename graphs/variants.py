"""The variants a bundle may have: which edges their graphs have, and how they compute.  Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

PORTABLE = "portable"
"""The variant with the graphs of `contract`, which anything can run."""
ORT = "ort"
"""The variant with the graphs of `ort_contract`, and the name of those edges."""


@dataclass(frozen=True)
class Variant:
    """One way to deploy the graphs.

    edges: whose ports the graphs have, `PORTABLE` or `ORT`.  precision: of the weights and products, a key of the
    contract's tolerances.  doc: what it is for.
    """

    name: str
    edges: str
    precision: str
    doc: str


_KNOWN = (
    Variant(PORTABLE, PORTABLE, "fp32", "Standard operators only: anything that reads ONNX."),
    Variant(ORT, ORT, "fp32", "Written for ONNX Runtime's fused operators, CPU and CUDA."),
    Variant(f"{ORT}-int8", ORT, "int8", "The same with linear layers and attention scores in 8-bit integers: CPU."),
    Variant(f"{ORT}-fp16", ORT, "fp16", "The same in half precision where that holds the digits: CUDA."),
)
VARIANTS = {variant.name: variant for variant in _KNOWN}
"""By name."""
PRECISIONS = {variant.precision: variant.name for variant in _KNOWN if variant.edges == ORT}
"""Names of the variants written for ONNX Runtime, by their precision."""


def edges_of(variant: str) -> str:
    """Whose ports a variant's graphs have; a variant that is not known here has those of `PORTABLE`."""
    return VARIANTS[variant].edges if variant in VARIANTS else PORTABLE


def precision_of(variant: str) -> str:
    """The precision of a variant; of one that is not known here it is that of `PORTABLE`."""
    return VARIANTS[variant if variant in VARIANTS else PORTABLE].precision
