"""The manifest of a bundle: what ``manifest.json`` says, as typed data.  Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .contract import Geometry, Graph, as_dict, contract
from .errors import BundleError
from .ort_contract import Deployment, ort_contract
from .variants import ORT, edges_of

FORMAT = 1
"""Version of the bundle format that this package reads and writes."""
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Rules:
    """Numbers that the host applies.  Logits are before the sigmoid.

    presence_threshold: presence logits at or below it mean the object is absent.  absent_logit: mask logits of an
    absent object.  stability_delta, stability_threshold: the single mask is kept if area(logits > delta) /
    area(logits > -delta) reaches the threshold.  mask_input_limit: earlier logits are clamped to +- this as mask
    input.  mask_scale, mask_bias: a mask prompt becomes scale * mask + bias as logits.  hole_logit: value of filled
    holes.  overlap_logit: upper bound of losing objects.
    """

    presence_threshold: float = 0.0
    absent_logit: float = -1024.0
    stability_delta: float = 0.05
    stability_threshold: float = 0.98
    mask_input_limit: float = 32.0
    mask_scale: float = 20.0
    mask_bias: float = -10.0
    hole_logit: float = 0.1
    overlap_logit: float = -10.0


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes the input `image`: filters of video frames and of single images, channel order, range."""

    video_filter: str = "bicubic, antialiased, on uint8 (Pillow)"
    image_filter: str = "bilinear, antialiased, on float"
    channels: str = "RGB"
    range: tuple[float, float] = (0.0, 255.0)


@dataclass(frozen=True)
class Constants:
    """Learned numbers that the host needs.

    no_object_pointer: pointer of a frame on which the object is absent, one number per channel.  mask_downsample:
    the 4x4 stride-4 convolution, row-major, that turns a 0/1 mask at input size into the decoder's mask input;
    mask_downsample_bias.
    """

    no_object_pointer: tuple[float, ...]
    mask_downsample: tuple[float, ...]
    mask_downsample_bias: float


@dataclass(frozen=True)
class File:
    """Identity of one file of the bundle."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Program:
    """What a Core ML package makes of one graph.

    function: of the package that computes the graph.  frame: how the graph takes a frame, pixels (an RGB image of 8
    bits) or numbers (an array); empty if it takes none.  operators: operations of each kind, constants not counted.
    """

    function: str
    frame: str
    operators: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """Everything a host must know.  `variants` maps a variant to the file of each of its graphs, relative to the
    bundle; for Core ML it is the folder of a package, which several graphs may share, and `programs` says more.
    `deployment` is what the edges of the variants for ONNX Runtime need besides the geometry.
    """

    model: str
    geometry: Geometry
    constants: Constants
    variants: dict[str, dict[str, str]]
    deployment: Deployment | None = None
    programs: dict[str, dict[str, Program]] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def graphs_of(self, variant: str) -> dict[str, Graph]:
        """The contract of a variant's graphs by name.

        Raises:
            BundleError: it has edges of `ort_contract`, and the manifest has no deployment.
        """
        if edges_of(variant) != ORT:
            return contract(self.geometry)
        if self.deployment is None:
            raise BundleError(f"the manifest of {self.model} has the variant {variant!r} but no 'deployment'")
        return ort_contract(self.geometry, self.deployment)

    def to_json(self) -> str:
        """The text of ``manifest.json``; equal manifests give equal text."""
        data: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        data["geometry"] = self.geometry.as_dict()
        data["deployment"] = self.deployment and self.deployment.as_dict()
        data["graphs"] = {name: as_dict(graph) for name, graph in contract(self.geometry).items()}
        return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _section(data: dict[str, Any], name: str, kind: type, where: Path) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        found = "nothing" if value is None else type(value).__name__
        raise BundleError(f"{where}: '{name}' should be of type {kind.__name__}, found {found}")
    return value


def _file_names(variant: str, graphs: Any, where: Path) -> dict[str, str]:
    if not isinstance(graphs, dict) or not all(isinstance(name, str) for name in graphs.values()):
        raise BundleError(f"{where}: the variant {variant!r} should map graphs to names of files")
    return dict(graphs)


def _programs(stated: Any, where: Path) -> dict[str, dict[str, Program]]:
    """By variant and graph; bundles from before there were packages state nothing."""
    try:
        return {
            variant: {
                graph: Program(
                    str(entry["function"]),
                    str(entry["frame"]),
                    {str(kind): int(count) for kind, count in entry["operators"].items()},
                )
                for graph, entry in graphs.items()
            }
            for variant, graphs in (stated or {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{where}: 'programs' is malformed: {error}") from error


def _preprocessing(stated: dict[str, Any], where: Path) -> Preprocessing:
    """There is one way to prepare a frame in this format; a bundle that asks for another cannot be served."""
    known = Preprocessing()
    expected = json.loads(json.dumps(asdict(known)))
    if stated != expected:
        raise BundleError(f"{where}: this package prepares frames as {expected}, the bundle asks for {stated}")
    return known


def _deployment(stated: Any, geometry: Geometry, where: Path) -> Deployment | None:
    """The deployment, if any, whose graphs hold exactly what the geometry asks for."""
    if stated is None:
        return None
    expected = set(Deployment.__dataclass_fields__)
    if not isinstance(stated, dict) or set(stated) != expected:
        found = sorted(stated) if isinstance(stated, dict) else type(stated).__name__
        raise BundleError(f"{where}: deployment: expected the fields {sorted(expected)}, found {found}")
    counts = stated["memory_counts"]
    for name, value in (("layers", stated["layers"]), ("pool", stated["pool"])):
        if type(value) is not int or value < 1:
            raise BundleError(f"{where}: deployment: {name} must be a positive integer, found {value!r}")
    if geometry.grid % stated["pool"]:
        raise BundleError(
            f"{where}: deployment: a window of {stated['pool']} does not divide the grid of {geometry.grid}"
        )
    most = geometry.prompted_frames + geometry.recent_memories
    whole = isinstance(counts, list) and all(type(count) is int for count in counts)
    if not whole or counts != sorted(set(counts)) or not counts or (counts[0], counts[-1]) != (1, most):
        raise BundleError(
            f"{where}: deployment: memory_counts must be integers that ascend from 1 to {most}, found {counts!r}"
        )
    return Deployment(stated["layers"], stated["pool"], tuple(counts))


def _port(port: tuple[Any, ...]) -> str:
    return " ".join(str(part) for part in port)


def _check_contract(stated: dict[str, Any], geometry: Geometry, where: Path) -> None:
    """The contract a bundle was written with must be the one this package computes from the same geometry."""
    expected = contract(geometry)
    if set(stated) != set(expected):
        raise BundleError(f"{where}: expected the graphs {sorted(expected)}, found {sorted(stated)}")
    for name, graph in expected.items():
        for side in ("inputs", "outputs"):
            want = [(p["name"], p["shape"], p["dtype"]) for p in as_dict(graph)[side]]
            try:
                have = [(p["name"], p["shape"], p["dtype"]) for p in stated[name][side]]
            except (KeyError, TypeError) as error:
                raise BundleError(f"{where}: graph {name} has a malformed list of {side}") from error
            for expected_port, found_port in zip(want, have, strict=False):
                if expected_port != found_port:
                    raise BundleError(
                        f"{where}: graph {name}, {side}: expected {_port(expected_port)}, found {_port(found_port)}"
                    )
            if len(want) != len(have):
                raise BundleError(f"{where}: graph {name} should have {len(want)} {side}, found {len(have)}")


def read_manifest(path: Path) -> Manifest:
    """Read and check a ``manifest.json``.

    Raises:
        BundleError: it is missing, not JSON, of another format version, or disagrees with the contract.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path.parent} is not a bundle: it has no {MANIFEST}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path} should hold a JSON object, found {type(data).__name__}")
    if data.get("format") != FORMAT:
        raise BundleError(f"{path}: this package reads bundle format {FORMAT}, found {data.get('format')!r}")
    try:
        geometry = Geometry.from_dict(_section(data, "geometry", dict, path))
        constants = _section(data, "constants", dict, path)
        manifest = Manifest(
            model=_section(data, "model", str, path),
            geometry=geometry,
            constants=Constants(
                tuple(float(v) for v in constants["no_object_pointer"]),
                tuple(float(v) for v in constants["mask_downsample"]),
                float(constants["mask_downsample_bias"]),
            ),
            variants={k: _file_names(k, v, path) for k, v in _section(data, "variants", dict, path).items()},
            deployment=_deployment(data.get("deployment"), geometry, path),
            programs=_programs(data.get("programs"), path),
            files={k: File(str(v["sha256"]), int(v["size"])) for k, v in _section(data, "files", dict, path).items()},
            parity=_section(data, "parity", dict, path),
            source=_section(data, "source", dict, path),
            card=_section(data, "card", dict, path),
            rules=Rules(**{k: float(v) for k, v in _section(data, "rules", dict, path).items()}),
            preprocessing=_preprocessing(_section(data, "preprocessing", dict, path), path),
        )
    except BundleError:
        raise
    except KeyError as error:
        raise BundleError(f"{path} is malformed: it lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path} is malformed: {error}") from error
    if len(manifest.constants.no_object_pointer) != geometry.width:
        raise BundleError(
            f"{path}: no_object_pointer should have {geometry.width} numbers, "
            f"found {len(manifest.constants.no_object_pointer)}"
        )
    if len(manifest.constants.mask_downsample) != 16:
        raise BundleError(
            f"{path}: mask_downsample should have 16 numbers, found {len(manifest.constants.mask_downsample)}"
        )
    _check_contract(_section(data, "graphs", dict, path), geometry, path)
    return manifest
