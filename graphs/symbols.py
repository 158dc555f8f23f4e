"""Sizes that remember how they were computed, so that the contract's shapes can be shown as formulas.

A symbolic geometry goes through the same `contract` as any other; the formulas in the documentation are therefore the
ones that are executed, not a second copy of them.  Standard library only.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from .contract import Geometry
from .ort_contract import Deployment


class Symbol(int):
    """A number with the formula it came from."""

    formula: str

    def __new__(cls, value: int, formula: str) -> Symbol:
        symbol = super().__new__(cls, value)
        symbol.formula = formula
        return symbol

    def __add__(self, other: int) -> Symbol:
        return Symbol(int(self) + int(other), f"{formula(self)} + {formula(other)}")

    def __radd__(self, other: int) -> Symbol:
        return Symbol(int(other) + int(self), f"{formula(other)} + {formula(self)}")

    def __mul__(self, other: int) -> Symbol:
        return Symbol(int(self) * int(other), f"{_factor(self)} * {_factor(other)}")

    def __rmul__(self, other: int) -> Symbol:
        return Symbol(int(other) * int(self), f"{_factor(other)} * {_factor(self)}")

    def __pow__(self, power: int) -> Symbol:  # type: ignore[override]
        return Symbol(int(self) ** power, f"{_factor(self)}**{power}")

    def __floordiv__(self, other: int) -> Symbol:
        return Symbol(int(self) // int(other), f"{_factor(self)} / {_factor(other)}")


def formula(size: int) -> str:
    """The formula of a size; of a plain number its digits."""
    return size.formula if isinstance(size, Symbol) else str(size)


def _factor(size: int) -> str:
    text = formula(size)
    return f"({text})" if " " in text else text


class SymbolicGeometry(Geometry):
    """A geometry whose fields and derived sizes carry their own names as formulas."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return Symbol(value, name) if isinstance(value, int) else value


def symbolic(geometry: Geometry) -> SymbolicGeometry:
    """The same sizes with names."""
    return SymbolicGeometry(**geometry.as_dict())


def symbolic_deployment(deployment: Deployment) -> Deployment:
    """The same sizes with names; memory counts stay numbers."""
    return replace(deployment, layers=Symbol(deployment.layers, "layers"), pool=Symbol(deployment.pool, "pool"))


def derived_sizes(geometry: Geometry) -> dict[str, tuple[str, str, str]]:
    """Formula, number and meaning of every size that a geometry computes from its fields, by name."""
    named = symbolic(geometry)
    found = {}
    for name, attribute in vars(Geometry).items():
        if isinstance(attribute, property) and attribute.fget:
            value = attribute.fget(named)
            sizes = value if isinstance(value, tuple) else (value,)
            meaning = " ".join((attribute.__doc__ or "").split())
            found[name] = (", ".join(map(formula, sizes)), ", ".join(str(int(size)) for size in sizes), meaning)
    return found


def field_names() -> tuple[str, ...]:
    """The sizes that are given, in order."""
    return tuple(field.name for field in fields(Geometry))
