"""What rules about graphs have in common: a name, a reason, the places that break them, and stated exceptions.

Knows neither ONNX nor Core ML but the limits they share: what a rule looks at is its own business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST_RANK = 4
LARGEST_DIMENSION = 16_384
LARGEST_KERNEL = 13
"""What the Neural Engine takes, by whatever way a graph gets there."""


@dataclass(frozen=True)
class Place:
    """Where a graph breaks a rule.  text: for people.  item: what is there, for exemptions to look at."""

    text: str
    item: Any = None


@dataclass(frozen=True)
class Exemption:
    """What a rule lets pass.

    what: in words.  reason: why it cannot be otherwise, or need not.  covers: of the subject and a place's item.
    """

    what: str
    reason: str
    covers: Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Rule:
    """One rule: what it asks, why, the places where a subject breaks it, and what it lets pass."""

    name: str
    reason: str
    places: Callable[[Any], Iterable[Place]]
    exemptions: tuple[Exemption, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A place and its rule; `exemption` if one covers it, which makes it no breach."""

    rule: Rule
    place: str
    exemption: Exemption | None = None


def findings(rules: Sequence[Rule], subject: Any) -> Iterator[Finding]:
    """Every place of every rule, in the order of the rules."""
    for rule in rules:
        for place in rule.places(subject):
            covering = (exemption for exemption in rule.exemptions if exemption.covers(subject, place.item))
            yield Finding(rule, place.text, next(covering, None))
