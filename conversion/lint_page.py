"""The part of docs/lint.md that lists the rules, written from them.

`python -m etam_onnx.conversion.lint_page docs/lint.md` brings it up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..graphs.page import table
from . import portable_rules
from .coreml import rules as coreml_rules
from .coreml.placement import EPSILONS, LEAVES, SINCE_IOS18, STAYS
from .rules import Rule

BEGIN = (
    "<!-- Written by `python -m etam_onnx.conversion.lint_page docs/lint.md` from here; change the rules instead. -->"
)
END = "<!-- Up to here. -->"


def rules_part() -> str:
    """All rules, exceptions and lists of operators in Markdown."""
    parts = (
        _rules("Rules for portable ONNX graphs", (*portable_rules.RULES, portable_rules.ONE_PARTITION)),
        _rules("Rules for Core ML packages", coreml_rules.RULES),
        _operators(),
    )
    return "\n\n".join("\n".join(part) for part in parts)


def updated(text: str) -> str:
    """The text of the page with the part about rules as it should be.

    Raises:
        ValueError: it has no such part.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("has no part between the marks of its rules")
    return f"{before}{BEGIN}\n\n{rules_part()}\n\n{END}{after}"


def _rules(title: str, rules: Sequence[Rule]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield from table(("rule", "because"), ((rule.name, _sentence(rule.reason)) for rule in rules))
    yield ""
    yield "Stated exceptions:"
    yield ""
    rows = ((rule.name, exemption.what, _sentence(exemption.reason)) for rule in rules for exemption in rule.exemptions)
    yield from table(("rule", "lets pass", "because"), rows)


def _operators() -> Iterator[str]:
    yield "## Operators of Core ML programs"
    yield ""
    yield from table(
        ("leaves the Neural Engine", "because"), ((_code(kinds), _sentence(why)) for why, kinds in LEAVES.items())
    )
    yield ""
    yield from table(("hidden epsilon", "because"), ((f"`{kind}`", _sentence(why)) for kind, why in EPSILONS.items()))
    yield ""
    yield f"Stays: {_code(sorted(STAYS))}."
    yield ""
    yield f"Unknown before iOS 18: {_code(sorted(SINCE_IOS18))}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the page up to date whose path is given; 1 if it cannot be."""
    (name,) = sys.argv[1:] if arguments is None else arguments
    path = Path(name)
    try:
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
    except ValueError as error:
        print(f"error: {path} {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {path} cannot be brought up to date: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
