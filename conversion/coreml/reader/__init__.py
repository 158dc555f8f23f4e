"""Reading a saved Core ML package (.mlpackage) as plain data, on any system.

`read_package` gives a `Package`: its functions with their operations, types and constants (those in the weight file
too, packed numbers of 1 to 6 bits unpacked), and the descriptions that an app sees.  Coremltools is needed for its
protobuf classes alone.
"""

from .package_file import read_package
from .program import Feature, Function, Literal, Operation, Package, ProgramError, TensorType, Variable

__all__ = [
    "Feature",
    "Function",
    "Literal",
    "Operation",
    "Package",
    "ProgramError",
    "TensorType",
    "Variable",
    "read_package",
]
