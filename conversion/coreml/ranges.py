"""What half precision may not hold: how large and how small values become in a package, call by recorded call.

    python -m etam_onnx.conversion.coreml.ranges BUNDLE --variant coreml-ios18

A program that declares half precision is computed in single precision, and every operator is asked for

- its largest value, against 65,504, the largest finite number of half precision;
- its largest sum of magnitudes (of the products of a matrix product or convolution, of what a normalisation or a mean
  adds up): where hardware adds in half precision, no partial sum is larger, whatever the order;
- its smallest divisor other than zero, and how many are below 2**-14, the smallest normal number: hardware that has no
  smaller ones divides by zero there;
- the largest share of a softmax that is made of probabilities below 2**-14, which the same hardware drops.

These are facts of the program and the recorded calls.  How an operator is computed on a device is not known here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...graphs.bundle import Bundle
from ...graphs.errors import BundleError
from ...graphs.variants import system_of
from ...graphs.vectors import INDEX, TENSORS, read_vectors
from .interpreter import Package, ProgramError, read_package
from .interpreter.loading import Step, load
from .magnitudes import divisors, dropped, sums

LARGEST = 65_504.0
NORMAL = 2.0**-14
NOTEWORTHY = LARGEST / 4
"""Values and sums above this are listed."""
NOTEWORTHY_SHARE = 0.01
"""Shares of a softmax above this are listed."""


@dataclass
class Range:
    """One operator over all calls: largest magnitude and sum of magnitudes, smallest divisor but zero, divisors that
    are not normal numbers, largest dropped share of a softmax.

    place: the name of its result, and of its weight where it has one.
    """

    kind: str
    place: str
    largest: float = 0.0
    total: float = 0.0
    divisor: float = np.inf
    small: int = 0
    dropped: float = 0.0

    def see(self, arguments: Mapping[str, Any], step: Step, result: Any) -> None:
        """Take one call into account."""
        self.largest = max(self.largest, magnitude(result))
        self.total = max(self.total, magnitude(sums(step.operator, arguments)))
        below = divisors(step.kind, arguments)
        below = below[below > 0]
        self.divisor = min(self.divisor, float(below.min(initial=np.inf)))
        self.small += int(np.count_nonzero(below < NORMAL))
        self.dropped = max(self.dropped, dropped(step.kind, arguments, NORMAL))

    @property
    def noteworthy(self) -> bool:
        """Whether it comes near to what half precision cannot hold."""
        large = max(self.largest, self.total) > NOTEWORTHY
        return large or self.small > 0 or self.dropped > NOTEWORTHY_SHARE


def magnitude(values: Any) -> float:
    """The largest magnitude; infinite if anything is not a number."""
    largest = float(np.abs(values).max(initial=0))
    return largest if largest == largest else np.inf


class Ranges:
    """The operators of one function that are declared to compute in half precision, and its inputs.

    Attributes:
        ranges: one per input and operator, in order.

    Args:
        package: with the function.
        function: its name; without one the package's default.

    Raises:
        ProgramError: the interpreter does not cover it.
    """

    def __init__(self, package: Package, function: str | None = None) -> None:
        program = package.function(function)
        self._constants, self._steps = load(program, None)
        self._kept = set(program.outputs)
        halves = [variable.name for variable in program.inputs if variable.type.dtype == "fp16"]
        self._inputs = {name: Range("input", name) for name in halves}
        self._ranges = [
            Range(step.kind, _place(step)) if step.outputs[0].type.dtype == "fp16" else None for step in self._steps
        ]

    @property
    def ranges(self) -> list[Range]:
        """Of the calls so far."""
        return [*self._inputs.values(), *(each for each in self._ranges if each is not None)]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute in single precision and take every value into account.

        Args:
            inputs: float32 arrays of the declared shapes.

        Returns:
            The outputs by name.

        Raises:
            ProgramError: an operator fails, or a result is not of its declared type or shape.
        """
        for port in self._inputs.values():
            port.largest = max(port.largest, magnitude(inputs[port.place]))
        values: dict[str, Any] = {**self._constants, **inputs}
        last = {name: index for index, step in enumerate(self._steps) for name in step.needs}
        for index, (step, each) in enumerate(zip(self._steps, self._ranges, strict=True)):
            results = step.results(values, None)
            if each is not None:
                arguments = {key: bound.value(values) for key, bound in step.single.items()}
                arguments |= {key: tuple(b.value(values) for b in bounds) for key, bounds in step.several.items()}
                for result in results:
                    each.see(arguments, step, result)
            for variable, result in zip(step.outputs, results, strict=True):
                values[variable.name] = result
            for name in step.needs - self._kept:
                if last[name] == index:
                    del values[name]
        return {name: values[name] for name in self._kept}


def _place(step: Step) -> str:
    weight = step.single.get("weight", step.single.get("gamma"))
    named = f" ({weight.name})" if weight is not None and weight.name else ""
    return f"{step.outputs[0].name}{named}"


def ranges_of(bundle: Bundle, variant: str) -> dict[str, tuple[int, list[Range]]]:
    """By graph the number of recorded calls, and what they make of its operators.

    Raises:
        BundleError: the bundle lacks the variant or vectors, or the variant is not for Core ML.
        ProgramError: a package cannot be read.
    """
    if variant not in bundle.manifest.variants or not system_of(variant):
        packaged = [name for name in bundle.manifest.variants if system_of(name)]
        raise BundleError(f"the bundle {bundle.root} has the Core ML variants {packaged}, asked for is {variant!r}")
    if INDEX not in bundle.manifest.files:
        raise BundleError(f"the bundle {bundle.root} has no test vectors: export it again with them")
    programs = bundle.manifest.programs.get(variant, {})
    packages: dict[Path, Package] = {}
    running: dict[str, Ranges] = {}
    for name, path in bundle.graph_paths(variant).items():
        if path not in packages:
            packages[path] = read_package(path)
        running[name] = Ranges(packages[path], programs[name].function if name in programs else None)
    counts = dict.fromkeys(running, 0)
    for name, inputs, _ in read_vectors(bundle.check_file(INDEX), bundle.check_file(TENSORS)).calls():
        if name in running:
            running[name].run({port: np.frombuffer(t.data, "<f4").reshape(t.shape) for port, t in inputs.items()})
            counts[name] += 1
    return {name: (counts[name], each.ranges) for name, each in running.items()}


def table(found: Mapping[str, tuple[int, list[Range]]]) -> Iterable[str]:
    """Lines of text: per graph the extremes, then the operators that come near to what half precision cannot hold."""
    yield f"a quarter of the largest number is {NOTEWORTHY:,.0f}, the smallest normal number {NORMAL:.1e}"
    for graph, (calls, ranges) in found.items():
        large = max(ranges, key=lambda each: each.largest)
        total = max(ranges, key=lambda each: each.total)
        least = min(ranges, key=lambda each: each.divisor)
        least_share = max(ranges, key=lambda each: each.dropped)
        values = sum(each.largest > NOTEWORTHY for each in ranges)
        totals = sum(each.total > NOTEWORTHY for each in ranges)
        yield ""
        yield f"{graph}: {calls} calls, {len(ranges)} inputs and operators in half precision"
        yield f"  largest value        {large.largest:>12,.4g}  {large.kind} {large.place}; {values} above a quarter"
        yield f"  largest sum          {total.total:>12,.4g}  {total.kind} {total.place}; {totals} above a quarter"
        if np.isfinite(least.divisor):
            small = sum(each.small for each in ranges)
            yield f"  smallest divisor     {least.divisor:>12.2e}  {least.kind} {least.place}; {small} not normal"
        if least_share.dropped:
            yield f"  dropped of a softmax {least_share.dropped:>12.2%}  {least_share.kind} {least_share.place}"
        for each in ranges:
            if each.noteworthy:
                yield f"    {each.kind} {each.place}: {', '.join(_noted(each))}"


def _noted(each: Range) -> Iterable[str]:
    if each.largest > NOTEWORTHY:
        yield f"value {each.largest:,.4g}"
    if each.total > NOTEWORTHY:
        yield f"sum {each.total:,.4g}"
    if each.small:
        yield f"{each.small} divisors from {each.divisor:.1e}"
    if each.dropped > NOTEWORTHY_SHARE:
        yield f"{each.dropped:.1%} of a softmax dropped"


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 if the bundle cannot be looked at."""
    parser = argparse.ArgumentParser(prog="python -m etam_onnx.conversion.coreml.ranges", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("bundle", metavar="BUNDLE", help="name or folder")
    parser.add_argument("--variant", metavar="NAME", default="coreml-ios18", help="default: coreml-ios18")
    options = parser.parse_args(arguments)
    try:
        for line in table(ranges_of(Bundle.open(options.bundle), options.variant)):
            print(line)
    except (BundleError, FileNotFoundError, ProgramError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
