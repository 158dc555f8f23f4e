"""A bundle on disk: opening it proves that its files are the ones its manifest describes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .contract import Graph
from .errors import BundleError
from .external_data import external_locations
from .manifest import MANIFEST, File, Manifest, read_manifest
from .package_files import SUFFIX, contained_files, referenced_files
from .variants import ORT, edges_of, system_of

SHIPPED = Path(__file__).resolve().parent / "shipped"
"""Where the bundles live that come with the package."""
DEFAULT = "etam-nano"
"""The bundle that is used when none is named."""


def shipped_names() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}"))


def file_identity(path: Path) -> File:
    """Hash and size of a file as the manifest records them."""
    with path.open("rb") as stream:
        return File(hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size)


def inside(root: Path, relative: str) -> Path:
    """The path of a bundle's file.

    Raises:
        BundleError: the name is absolute, climbs out of the bundle, or is a link that leaves it.
    """
    name = PurePosixPath(relative)
    if not relative.isprintable():
        raise BundleError(f"{root / MANIFEST}: {relative!r} is not a file name")
    if not relative or name.is_absolute() or ".." in name.parts or "\\" in relative or ":" in relative:
        raise BundleError(f"{root / MANIFEST}: the file name {relative!r} leaves the bundle")
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{root / MANIFEST}: the file {relative!r} is a link that leaves the bundle")
    return path


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: `root`, its folder, and `manifest`.  The files of a variant are checked when its paths are
    asked for.
    """

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, name_or_path: str | Path | Bundle = DEFAULT) -> Bundle:
        """Open a bundle by the name of a shipped one or by its folder.

        Raises:
            BundleError: no such bundle, or its manifest is unreadable or disagrees with the contract.
        """
        if isinstance(name_or_path, Bundle):
            return name_or_path
        text = str(name_or_path)
        root = SHIPPED / text if text in shipped_names() else Path(text)
        if not root.exists():
            raise BundleError(
                f"there is no bundle {text!r}: it is neither a folder nor one of the shipped bundles "
                f"({', '.join(shipped_names()) or 'none in this installation'})"
            )
        if not root.is_dir():
            raise BundleError(f"{root} is not a bundle: a bundle is a folder with a {MANIFEST}")
        manifest = read_manifest(root / MANIFEST)
        for variant, graphs in manifest.variants.items():
            if edges_of(variant) == ORT and manifest.deployment is None:
                raise BundleError(f"{root / MANIFEST}: the variant {variant!r} needs a 'deployment', found nothing")
            if set(graphs) != set(manifest.graphs_of(variant)):
                raise BundleError(
                    f"{root / MANIFEST}: the variant {variant!r} does not have exactly the contract's graphs"
                )
            if system_of(variant) and set(manifest.programs.get(variant, {})) != set(graphs):
                raise BundleError(f"{root / MANIFEST}: the variant {variant!r} does not have a program for each graph")
        return cls(root, manifest)

    def graphs_of(self, variant: str) -> dict[str, Graph]:
        """The contract of a variant's graphs by name; see `variants`."""
        return self.manifest.graphs_of(variant)

    def check_file(self, relative: str) -> Path:
        """The path of a file whose size and hash are those of the manifest; BundleError otherwise."""
        path = inside(self.root, relative)
        recorded = self.manifest.files.get(relative)
        if recorded is None:
            raise BundleError(f"{self.root / MANIFEST} does not list the file {relative}")
        if not path.is_file():
            raise BundleError(f"the bundle {self.root} lacks the file {relative}")
        size = path.stat().st_size
        if size != recorded.size:
            raise BundleError(f"{path} is damaged: expected {recorded.size} bytes, found {size}")
        if file_identity(path).sha256 != recorded.sha256:
            raise BundleError(f"{path} is damaged: its SHA-256 is not the one in the manifest")
        return path

    def check_package(self, relative: str) -> Path:
        """The folder of a Core ML package that holds what the manifest lists there, all of it and nothing else.

        Raises:
            BundleError: the package is missing; a file in it is missing, damaged, or not listed; or the package refers
                to a file that is none of these.
        """
        path = inside(self.root, relative)
        listed = {name for name in self.manifest.files if name.startswith(f"{relative}/")}
        if not listed:
            raise BundleError(f"{self.root / MANIFEST} does not list the files of {relative}")
        if not path.is_dir():
            raise BundleError(f"the bundle {self.root} lacks the package {relative}")
        for name in sorted(listed):
            self.check_file(name)
        foreign = {f"{relative}/{name}" for name in contained_files(path)} - listed
        if foreign:
            raise BundleError(f"{self.root / MANIFEST} does not list the file {min(foreign)}")
        try:
            missing = {f"{relative}/{name}" for name in referenced_files(path)} - listed
        except ValueError as error:
            raise BundleError(f"{path} is not a Core ML package: {error}") from error
        if missing:
            raise BundleError(f"{path} refers to {min(missing)}, which {self.root / MANIFEST} does not list")
        return path

    def graph_paths(self, variant: str) -> dict[str, Path]:
        """Path of each graph of a variant, after checking every file that the variant reads, external data included.

        For Core ML it is the folder of a package, the same for graphs that are functions of one.

        Raises:
            BundleError: the variant is not in the bundle; a file is missing or damaged; a file refers to data
                outside the bundle or to data that the manifest does not list.
        """
        if variant not in self.manifest.variants:
            raise BundleError(
                f"the bundle {self.root} has no variant {variant!r}, it has {sorted(self.manifest.variants)}"
            )
        paths: dict[str, Path] = {}
        checked: set[str] = set()
        for name, relative in self.manifest.variants[variant].items():
            if relative.endswith(SUFFIX):
                known = [paths[other] for other in paths if self.manifest.variants[variant][other] == relative]
                paths[name] = known[0] if known else self.check_package(relative)
                continue
            path = paths[name] = self.check_file(relative)
            if path.suffix != ".onnx":
                continue
            try:
                locations = external_locations(path)
            except ValueError as error:
                raise BundleError(f"{path} is not an ONNX file: {error}") from error
            for data in sorted({str(PurePosixPath(relative).parent / location) for location in locations} - checked):
                try:
                    self.check_file(data)
                except BundleError as error:
                    raise BundleError(f"{path} reads external data: {error}") from error
                checked.add(data)
        return paths
