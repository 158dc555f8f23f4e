"""What is written in the files of a bundle besides the graphs, field by field.  Standard library only."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from typing import Any

from .manifest import FORMAT, Constants, File, Manifest, Preprocessing
from .vectors import FOLDER, INDEX, ITEM_SIZE, TENSORS

MANIFEST_FIELDS = {
    "format": f"version of this layout: {FORMAT}; a host refuses any other",
    "model": "name of the configuration",
    "geometry": "the given sizes, see Sizes",
    "constants": "learned numbers that the host needs",
    "variants": "for each variant, see Variants, the file of every graph, relative to the bundle, with forward "
    "slashes; for Core ML the folder of its package",
    "deployment": "what the ports for ONNX Runtime need besides the geometry: `layers` of memory attention, side "
    "`pool` of its windows, `memory_counts` of its graphs; null without such a variant",
    "programs": "for each variant for Core ML, and each graph, what its package makes of it; "
    "empty without such a variant",
    "files": "identity of every file but `manifest.json`, external data and vectors included",
    "parity": "for each variant the error of every output measured at export: graph, port, calls, error, tolerance",
    "source": "where the weights come from: the configuration and, if known, the checkpoint's SHA-256",
    "card": "licence, data and limits of the weights; may be empty",
    "rules": "numbers that the host applies",
    "preprocessing": "how a frame becomes the input `image`",
    "graphs": "the contract in force at export, as in Graphs: for each graph `doc`, `inputs`, `outputs`",
}
"""Keys of ``manifest.json``."""

FIELDS: dict[type, dict[str, str]] = {
    Constants: {
        "no_object_pointer": "pointer of an absent object; `width` numbers",
        "mask_downsample": "4x4 stride-4 convolution of a mask prompt, row by row; 16 numbers",
        "mask_downsample_bias": "its bias; one number",
    },
    File: {
        "sha256": "of the whole file, hexadecimal",
        "size": "in bytes",
    },
    Preprocessing: {
        "video_filter": "frames of a video",
        "image_filter": "single images",
        "channels": "order of the three planes",
        "range": "values of the planes, not normalised",
    },
}
"""Meaning of the fields whose dataclass does not explain each in its docstring."""

PACKAGES = """\
A package for Core ML is a folder; the manifest lists every file in it.  From iOS 18 the graphs of memory attention are
functions of one package and share its weights; a package with one function calls it `main`.  All ports are float16
arrays, but for the frame: an RGB image of 8 bits, or a float32 array, as the manifest's `programs` say.  The two differ
only in what an app hands over: frames of a video are whole numbers in either, a single image is rounded to them."""
"""What the variants for Core ML have in common."""

_TYPES = ", ".join(f"{name} ({size} byte{'s' * (size > 1)})" for name, size in ITEM_SIZE.items())
VECTORS = f"""\
`{FOLDER}/` records a short clip: every tensor that crossed the edge of a graph, computed by PyTorch.
`{TENSORS}` holds raw little-endian numbers in C order, equal tensors once.  Types: {_TYPES}.
`{INDEX}` says where they are; wherever it refers to a tensor it gives the position in its list `tensors`."""

INDEX_FIELDS = {
    "tensors": "list of `offset` (bytes into the file), `shape`, `dtype`",
    "frames": "the clip: for each frame a tensor, uint8 RGB (height, width, 3)",
    "script": "what was done, step by step, see below",
    "calls": "every run in order: `graph`, `inputs` and `outputs` (tensor by port)",
    "results": "the answers in order: `frame`, `object`, `low_res` (tensor: low-resolution logits), `presence`, `iou`",
}
"""Keys of the index of the vectors."""

SCRIPT_STEPS = {
    "points": "`frame`, `object`, and `points` with `labels`, a `box`, or both, in pixels of the frame; they replace "
    "the object's earlier points on that frame",
    "mask": "`frame`, `object`, `mask` (tensor, uint8 (height, width), non-zero inside)",
    "propagate": "track forward from frame `start`, by default the earliest prompted one, to the end of the video or "
    "through `max` frames after it",
}
"""Values of ``do`` in the script and what comes with them."""

SCRIPT = """\
After a step with a prompt, `results` has one entry per object known so far that has an answer on that frame, in the
order in which objects were first prompted; after each frame of a propagation likewise.  Options are those of the
default: no hole filling, corrections remembered as prompted frames.

Test a port of the graphs call by call: feed the recorded inputs, compare the outputs with the tolerances above.  Do not
feed a call with what an earlier one returned, because some calls were not part of the clip (every slot used, the memory
of an absent object), and thresholded memories are recorded from rounded logits, so that no pixel lies on the threshold.
Test a port of the host by acting out the script on the frames and comparing with `results`."""


def described(kind: type) -> list[tuple[tuple[str, ...], str]]:
    """Names and meaning of the fields of a dataclass, from `FIELDS` or its docstring ("name, name: meaning.")."""
    names = [field.name for field in fields(kind)]
    if kind in FIELDS:
        return [((name,), FIELDS[kind][name]) for name in names]
    name = "|".join(names)
    parts = re.split(rf"\b((?:{name})(?:, (?:{name}))*): ", " ".join((kind.__doc__ or "").split()))[1:]
    found = zip(parts[::2], parts[1::2], strict=True)
    return [(tuple(group.split(", ")), meaning.strip().rstrip(".")) for group, meaning in found]


def default(field: Field[Any]) -> str:
    """A field's default as JSON shows it, empty if it has none."""
    if field.default is MISSING:
        return ""
    value = field.default
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{number:g}" for number in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def manifest_keys() -> list[str]:
    """Keys of ``manifest.json`` in the order of the page."""
    return ["format", *(field.name for field in fields(Manifest)), "graphs"]
