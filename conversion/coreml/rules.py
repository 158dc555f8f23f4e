"""The rules of Core ML packages, as data with their reasons: what keeps a converted program on the Neural Engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..rules import LARGEST_DIMENSION, LARGEST_KERNEL, LARGEST_RANK, Exemption, Finding, Place, Rule, findings
from .linted_function import LintedFunction, kinds_of_values, operations_of
from .placement import BY_TYPE, EPSILONS, SINCE_IOS18, STAYS, TYPES_SINCE_IOS18, WHY_IT_LEAVES
from .reader import Operation, Variable
from .reader.program import FLOATS

FRAME = "image"
"""The input that takes a frame."""
FEW = 4096
"""Numbers that may well be computed elsewhere."""
LARGEST_IMMEDIATE = 1024
"""Bytes of a constant that may stand in the program itself."""
OPSETS = {"iOS17": "CoreML7", "iOS18": "CoreML8"}
"""Operator set of each system that packages are made for."""
UNREAD = "where this is broken no other rule but that of the weight file is applied"
PARAMETERS = {
    "slice_by_index": ("begin", "end", "stride"),
    "slice_by_size": ("begin", "size"),
    "split": ("split_sizes",),
    "reshape": ("shape",),
    "tile": ("reps",),
    "transpose": ("perm",),
}
"""Operator -> parameters that have to be constants."""
WEIGHTS = {"conv": ("weight", "bias"), "conv_transpose": ("weight", "bias"), "linear": ("weight", "bias")}
"""Operator -> parameters that are weights."""
PLACED = STAYS | BY_TYPE | set(EPSILONS)
"""Operators that are not known to leave, whatever other rules say of what they compute."""


def _open_shape(subject: LintedFunction) -> Iterator[Place]:
    return (Place(name) for name, kind in kinds_of_values(subject.message) if kind == "open")


def _state(subject: LintedFunction) -> Iterator[Place]:
    yield from (Place(name) for name, kind in kinds_of_values(subject.message) if kind == "state")
    yield from (Place(item.type) for item in operations_of(subject.message) if item.type.endswith("_state"))


def _high_rank(subject: LintedFunction) -> Iterator[Place]:
    return (place for place, shape in _shapes(subject) if len(shape) > LARGEST_RANK)


def _large_dimension(subject: LintedFunction) -> Iterator[Place]:
    return (place for place, shape in _shapes(subject) if max(shape, default=0) > LARGEST_DIMENSION)


def _shapes(subject: LintedFunction) -> Iterator[tuple[Place, tuple[int, ...]]]:
    """Of everything computed, and of the constants that it is computed with."""
    for variable in subject.values:
        yield Place(f"{variable.name} {variable.type}", variable), variable.type.shape
    for operation in subject.operations:
        for key, arguments in operation.arguments.items():
            for argument in filter(subject.is_constant, arguments):
                found = subject.type_of(argument)
                yield Place(f"{key} of {operation.kind} {operation.name} {found}"), found.shape


def _wide_kernel(subject: LintedFunction) -> Iterator[Place]:
    for operation in subject.operations:
        sizes: tuple[int, ...] = ()
        if operation.kind in ("conv", "conv_transpose"):
            sizes = subject.type_of(operation.arguments["weight"][0]).shape[2:]
        elif "kernel_sizes" in operation.arguments:
            given = subject.literal(operation.arguments["kernel_sizes"][0])
            sizes = () if given is None else tuple(given.array.tolist())
        if max(sizes, default=0) > LARGEST_KERNEL:
            yield Place(f"{operation.kind} {operation.name} {list(sizes)}", operation)


def _leaving(subject: LintedFunction) -> Iterator[Place]:
    named = ((operation, WHY_IT_LEAVES.get(operation.kind)) for operation in subject.operations)
    return (Place(f"{operation.kind} {operation.name}: {why}", operation) for operation, why in named if why)


def _unplaced(subject: LintedFunction) -> Iterator[Place]:
    return (_place(operation) for operation in subject.operations if operation.kind not in PLACED | set(WHY_IT_LEAVES))


def _kinds(subject: LintedFunction, kinds: Collection[str]) -> Iterator[Place]:
    return (_place(operation) for operation in subject.operations if operation.kind in kinds)


def _place(operation: Operation) -> Place:
    return Place(f"{operation.kind} {operation.name}", operation)


def _full_precision(subject: LintedFunction) -> Iterator[Place]:
    return (Place(f"{item.name} {item.type}", item) for item in subject.values if item.type.dtype == "fp32")


def _no_float(subject: LintedFunction) -> Iterator[Place]:
    return (Place(f"{item.name} {item.type}", item) for item in subject.values if item.type.dtype not in FLOATS)


def _computed_parameter(subject: LintedFunction, table: dict[str, tuple[str, ...]]) -> Iterator[Place]:
    for operation in subject.operations:
        for key in table.get(operation.kind, ()):
            if not all(map(subject.is_constant, operation.arguments.get(key, ()))):
                yield Place(f"{key} of {operation.kind} {operation.name}", operation)


def _epsilon(subject: LintedFunction) -> Iterator[Place]:
    named = ((operation, EPSILONS.get(operation.kind)) for operation in subject.operations)
    return (Place(f"{operation.kind} {operation.name}: {why}", operation) for operation, why in named if why)


def _unknown_to_the_interpreter(subject: LintedFunction) -> Iterator[Place]:
    from .interpreter.operators import OPERATORS  # PyTorch, which nothing else here needs

    for operation in subject.read.operations if subject.read else ():
        declared = OPERATORS.get(operation.kind)
        if operation.kind == "const":
            continue
        if declared is None or operation.nested:
            yield _place(operation)
            continue
        for key in operation.arguments.keys() - declared.parameters.keys():
            yield Place(f"{operation.kind} {operation.name} with {key}", operation)


def _too_new(subject: LintedFunction) -> Iterator[Place]:
    opset = subject.message.opset
    if subject.system and opset > OPSETS[subject.system]:
        yield Place(f"{opset} in a package for {subject.system}")
    if opset >= OPSETS["iOS18"]:
        return
    for operation in subject.read.operations if subject.read else ():
        if operation.kind in SINCE_IOS18:
            yield _place(operation)
        for variable in operation.outputs:
            if variable.type.dtype in TYPES_SINCE_IOS18:
                yield Place(f"{variable.name} {variable.type}")


def _large_immediate(subject: LintedFunction) -> Iterator[Place]:
    for operation in operations_of(subject.message):
        bound = (argument.value for given in operation.inputs.values() for argument in given.arguments)
        for value in (*operation.attributes.values(), *bound):
            size = value.immediateValue.ByteSize()
            if size > LARGEST_IMMEDIATE:
                yield Place(f"{operation.outputs[0].name if operation.outputs else operation.type} {size} bytes")


def _is_frame(subject: LintedFunction, variable: Variable) -> bool:
    return variable.name == FRAME and subject.read is not None and variable in subject.read.inputs


def _halves_frame(subject: LintedFunction, operation: Operation) -> bool:
    return operation.arguments.get("x") == (FRAME,) and operation.outputs[0].type.dtype == "fp16"


def _is_small(subject: LintedFunction, operation: Operation) -> bool:
    return operation.outputs[0].type.count <= FEW


RULES = (
    Rule(
        "static shapes",
        f"the Neural Engine is compiled for every size beforehand; {UNREAD}",
        _open_shape,
    ),
    Rule(
        "no state",
        f"there are open reports of it failing on the Neural Engine, and memory can be passed in instead; {UNREAD}",
        _state,
    ),
    Rule(f"rank at most {LARGEST_RANK}", "tensors of higher rank leave the Neural Engine", _high_rank),
    Rule(
        f"no dimension above {LARGEST_DIMENSION}",
        "larger ones do not fit the addressing of the Neural Engine up to the A15",
        _large_dimension,
    ),
    Rule(
        f"no kernel wider than {LARGEST_KERNEL}", "wider convolutions and pools leave the Neural Engine", _wide_kernel
    ),
    Rule("no operator that leaves", "each is a way to the CPU and back, for the reason given with it", _leaving),
    Rule(
        "no operator of unknown place",
        "an operator that is in no list here may run anywhere: see STAYS and LEAVES in conversion/coreml/placement.py",
        _unplaced,
    ),
    Rule(
        "no sine or cosine",
        "the Neural Engine computes them from the A15 (iPhone 13) on; before that they run on the CPU",
        lambda subject: _kinds(subject, {"sin", "cos"}),
        (
            Exemption(
                f"at most {FEW} numbers",
                "the places of clicked points are coded with one sine and one cosine, few rows at the start of the "
                "mask decoder; on older phones those two run on the CPU",
                _is_small,
            ),
        ),
    ),
    Rule(
        "half precision",
        "the Neural Engine computes in half precision; what is declared float32 goes elsewhere",
        _full_precision,
        (
            Exemption(
                f"the input {FRAME}", "Core ML gives the pixels of an image in float32, in whole numbers", _is_frame
            ),
        ),
    ),
    Rule(
        "no integers or booleans",
        "the Neural Engine takes and gives none; flags, labels and counts come in as floats",
        _no_float,
    ),
    Rule(
        "no casts",
        "each is the border of what computes in half precision",
        lambda subject: _kinds(subject, {"cast"}),
        (
            Exemption(
                f"the input {FRAME} to half precision",
                "the first operator of the image encoder, because of its input; whole numbers up to 255 are exact",
                _halves_frame,
            ),
        ),
    ),
    Rule(
        "constant shapes, slices and splits",
        "what depends on a computed size has no fixed place in memory",
        lambda subject: _computed_parameter(subject, PARAMETERS),
    ),
    Rule(
        "constant weights",
        "the Neural Engine is compiled with the weights of convolutions and linear layers; products of two results are "
        "matmul",
        lambda subject: _computed_parameter(subject, WEIGHTS),
    ),
    Rule("no hidden epsilon", "these operators compute something else than the model does", _epsilon),
    Rule(
        "known to the interpreter",
        "what conversion/coreml/interpreter does not compute cannot be checked off a Mac",
        _unknown_to_the_interpreter,
    ),
    Rule(
        "the operators of its system",
        "a package for iOS 17 with an operator or an element type of iOS 18 does not load",
        _too_new,
    ),
    Rule(
        "weights in the weight file",
        f"a constant of more than {LARGEST_IMMEDIATE} bytes in the program itself is parsed at every load, and no "
        "function can share it",
        _large_immediate,
    ),
)


def placed(subject: LintedFunction) -> int:
    """How many operators the lists place on the Neural Engine."""
    return sum(operation.kind in PLACED for operation in subject.operations)


def linted(subject: LintedFunction) -> list[Finding]:
    """Every finding.

    Raises:
        ImportError: PyTorch is not installed, which the interpreter computes with.
    """
    return list(findings(RULES, subject))
