"""Which operators of Core ML programs stay on the Neural Engine and which leave it, as data with their reasons.

Apple publishes no such list.  This one holds what others measured or read out of Apple's compiler and what agrees with
it; docs/lint.md names them.  Nothing here was tried on a device.  An operator in neither list is reported as well.
"""

from __future__ import annotations

STAYS = frozenset(
    {"conv", "conv_transpose", "linear", "matmul", "scaled_dot_product_attention"}
    | {"avg_pool", "max_pool", "upsample_bilinear", "upsample_nearest_neighbor"}
    | {"layer_norm", "instance_norm", "l2_norm", "softmax"}
    | {"add", "sub", "mul", "real_div", "maximum", "minimum", "abs", "square", "sqrt", "exp", "log", "pow", "clip"}
    | {"relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "erf", "sigmoid", "sigmoid_hard", "silu", "softplus"}
    | {"softsign", "tanh"}
    | {"reduce_mean", "reduce_sum", "reduce_max", "reduce_min"}
    | {"concat", "expand_dims", "identity", "reshape", "slice_by_index", "slice_by_size", "split", "squeeze"}
    | {"stack", "transpose", "depth_to_space", "space_to_depth", "pixel_shuffle", "tile"}
)
"""Convolutions, products, pools, norms, activations, arithmetic of floats, reductions, and movements of data.  What is
computed of integers or booleans leaves all the same: that is another rule."""
BY_TYPE = frozenset({"cast", "sin", "cos"})
"""Whose place depends on what they compute; each has a rule of its own."""

LEAVES: dict[str, tuple[str, ...]] = {
    "an index is an integer, with which the Neural Engine does not compute; Core ML was seen to run them on the CPU": (
        "gather",
        "gather_along_axis",
        "gather_nd",
        "argsort",
        "topk",
        "reduce_argmax",
        "reduce_argmin",
        "one_hot",
        "non_zero",
        "non_maximum_suppression",
    ),
    "writing to computed places has no path in any Neural Engine": (
        "scatter",
        "scatter_along_axis",
        "scatter_nd",
        "slice_update",
    ),
    "its result is a boolean or it reads one; flags are numbers to multiply with instead": (
        "equal",
        "not_equal",
        "greater",
        "greater_equal",
        "less",
        "less_equal",
        "logical_and",
        "logical_or",
        "logical_xor",
        "logical_not",
        "select",
    ),
    "control flow and lists run on the CPU": (
        "cond",
        "while_loop",
        "make_list",
        "list_gather",
        "list_length",
        "list_read",
        "list_scatter",
        "list_write",
    ),
    "padding is a layout of its own; zeros are concatenated, or convolutions pad": (
        "pad",
        "crop",
        "batch_to_space",
        "space_to_batch",
    ),
    "one step after another has no path in any Neural Engine": (
        "cumsum",
        "lstm",
        "gru",
        "rnn",
        "reduce_prod",
        "reverse_sequence",
    ),
    "reading between pixels at computed places was seen to run on the CPU": (
        "resample",
        "affine",
        "crop_resize",
    ),
    "its result depends on sizes or chance, not on what comes in": (
        "shape",
        "range_1d",
        "fill",
        "fill_like",
        "reshape_like",
        "random_bernoulli",
        "random_categorical",
        "random_normal",
        "random_uniform",
    ),
    "it names classes, which is the host's business": ("classify",),
}
"""Reason -> operators that leave the Neural Engine for it."""
WHY_IT_LEAVES = {kind: reason for reason, kinds in LEAVES.items() for kind in kinds}
EPSILONS = {
    "inverse": "adds 1e-4 to what it inverts unless told otherwise; real_div is exact",
    "rsqrt": "adds 1e-12 to what it inverts, which is 0 in half precision; within a norm the converter fuses it away",
    "batch_norm": "adds 1e-5 to a variance of 1 where the converter makes it of a product and a sum",
}
"""Operators that compute something else than they seem to."""
SINCE_IOS18 = frozenset(
    {"constexpr_blockwise_shift_scale", "constexpr_lut_to_sparse", "constexpr_sparse_blockwise_shift_scale"}
    | {"coreml_update_state", "read_state", "scaled_dot_product_attention", "slice_update"}
)
"""Operators that systems before iOS 18 do not know."""
TYPES_SINCE_IOS18 = frozenset({"int4", "uint1", "uint2", "uint3", "uint4", "uint6"})
"""Element types that systems before iOS 18 do not know."""
