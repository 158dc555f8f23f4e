"""An interpreter for converted Core ML programs: checks, on any system, what a saved package computes.

    from etam_onnx.conversion.coreml.interpreter import Interpreter

    decoder = Interpreter("mask_decoder.mlpackage")                        # as declared: half precision is rounded to
    decoder = Interpreter("mask_decoder.mlpackage", rounding=None)         # single precision throughout
    masks = decoder(features=..., points=..., ...)["mask_logits"]
    attention = Interpreter("memory_attention.mlpackage", "memory_attention_7")   # a function of several

An image input takes the array that the program sees in its place, float 0..255; what a picture of 8 bits cannot hold is
for the caller to round.

It reads the protobuf and the weight file as they were saved, decompresses constants, executes every operation with
numpy and PyTorch, and asserts along the way that every value has the type and shape that the program declares.
`run(inputs, observe)` shows every intermediate value.

What it checks: that the program the converter wrote, with the numbers in its weight file, means what the PyTorch
module means, by the documented semantics of each operator (defaults of optional inputs included), in single precision
or rounded to the declared type after each operator; that constants are where the program says; that functions of a
package that share weights are each whole.

What it does not check: Apple's kernels.  How an operator is computed on a device (order of sums, intermediate
precision, fused operators), where it is placed, and the numerics of the Neural Engine stay unknown until a device has
run the package.  Half precision on hardware may round inside an operator; here it never does.  Operators, or modes of
operators, that are not covered are refused by name when a program is loaded, before anything is computed; among them
are control flow, state, recurrent layers, and padding called `same`.
"""

from ..reader import Package, ProgramError, read_package
from .machine import Interpreter
from .operators import OPERATORS

__all__ = ["OPERATORS", "Interpreter", "Package", "ProgramError", "read_package"]
