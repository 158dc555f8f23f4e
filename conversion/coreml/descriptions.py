"""What Xcode and an app read of a package: the contract's sentences, licence and version, the frame as an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...graphs.contract import Graph, Port
from .converter import IMAGE
from .package_writer import Program

TOOL = "com.github.apple.coremltools.version"
"""The one fact about the conversion that is kept; the others are versions of other things and the day."""
BUILD = "coremltools-version"
RGB = 20
"""Number of this colour space among Core ML's."""


@dataclass(frozen=True)
class Facts:
    """Author, licence and version of the weights, and the name of the model; empty where unknown."""

    model: str
    author: str = ""
    licence: str = ""
    version: str = ""

    @classmethod
    def of_card(cls, model: str, card: Mapping[str, Any], version: str) -> Facts:
        """Those that the card of the weights states; `version` where it states none."""
        return cls(
            model, str(card.get("author", "")), str(card.get("licence", "")), str(card.get("version") or version)
        )


def describe(program: Program, graphs: Iterable[Graph], facts: Facts) -> None:
    """Write descriptions into a program, in place.

    Args:
        graphs: those that its functions compute, one graph if it has one function, which is called ``main`` then.
    """
    description = program.message.description
    functions = {item.name: item for item in description.functions}
    docs = {graph.name: graph.doc for graph in graphs}
    for graph in graphs:
        described = functions.get(graph.name, description)
        _explain(described.input, graph.inputs)
        _explain(described.output, graph.outputs)
    metadata = description.metadata
    tool = metadata.userDefined[TOOL]
    metadata.Clear()
    metadata.author, metadata.license, metadata.versionString = facts.author, facts.licence, facts.version
    if functions:
        metadata.shortDescription = f"{facts.model}: {', '.join(sorted(docs))}, one function each."
        metadata.userDefined.update(docs)
    else:
        (doc,) = docs.values()
        metadata.shortDescription = f"{facts.model}: {doc}"
    metadata.userDefined[TOOL] = tool
    _forget(program.message.mlProgram.attributes)


def take_pixels(program: Program) -> None:
    """Describe the frame as an RGB image of 8 bits, in place; the program is the same for both."""
    for feature in program.message.description.input:
        if feature.name == IMAGE:
            _, _, height, width = feature.type.multiArrayType.shape
            image = feature.type.imageType
            image.height, image.width, image.colorSpace = height, width, RGB


def _explain(features: Any, ports: Iterable[Port]) -> None:
    docs = {port.name: port.doc for port in ports}
    for feature in features:
        feature.shortDescription = docs[feature.name]


def _forget(attributes: Any) -> None:
    """Drop what a program notes about its making, but for the converter's version."""
    for value in attributes.values():
        noted = value.immediateValue.dictionary.values
        kept = [item for item in noted if item.key.immediateValue.tensor.strings.values[:] == [BUILD]]
        del noted[:]
        noted.extend(kept)
