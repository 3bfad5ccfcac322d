"""The kinds of layers that have operators: a row each, with all that names, texts and documents hang on."""

from __future__ import annotations

from dataclasses import dataclass

from .sign_functions import pack, unpack

#: Stands before the name of a kind whose operator computes with integers.
INTEGERS = "Q"


@dataclass(frozen=True)
class LayerKind:
    """One kind of layer, in ONNX text.

    Attributes
    ----------
    x, y
        Shapes of its input and output, for the documents.
    attributes
        Names of its attributes beside the weight's shape.
    turned
        Whether it takes its weight as [columns, rows], not in the weight's own shape.
    text
        What gives `layer` of X, `weight` and `bias`.
    matrix
        The same where X is a matrix and the weight may keep its shape; "" where that is so already.
    integers
        What gives it of `x_real`, the codes `w_int` and `b_real`, as QDQ models have it.
    signs
        What gives it of the float signs `x_signs`, rows of signs `dense`, `scale` and `bias`. A sum of signs
        is an integer: Round says so, and keeps the runtime from folding the scale into the weights, whose
        sums would no longer be exact.
    unpack_x, pack_y
        What gives `x_signs` of packed X, and packed Y of `layer`.
    """

    x: str
    y: str
    attributes: tuple[str, ...]
    turned: bool
    text: str
    matrix: str
    integers: str
    signs: str
    unpack_x: str
    pack_y: str


# The bits of a row of weights lie as packed activations do: channels last.
_CHANNELS_LAST = """
    second1 = Constant <value_ints = [2]> ()
    any1 = Constant <value_ints = [-1]> ()
    channels = Slice (shape, first1, second1)
    last_shape = Concat <axis = 0> (rows, any1, channels)
    weight_last = Reshape (dense, last_shape)
    weight_first = Transpose <perm = [0, 2, 1]> (weight_last)
    weight = Reshape (weight_first, shape)
"""
# The shape in which a vector lies along a convolution's outputs: axis 1 of its result.
_PER_OUTPUT = """
    dims = Size (shape)
    dims1 = Reshape (dims, first1)
    ones = ConstantOfShape <value = int64[1] {1}> (dims1)
    scale_shape = ScatterElements (ones, first1, rows)
"""
_CONV = LayerKind(
    x="`[N, C, spatial…]`, one or two spatial dimensions",
    y="`[N, K, spatial…]`",
    attributes=("strides", "pads", "dilations", "group"),
    turned=False,
    text="""
    layer = Conv <auto_pad = "NOTSET", strides: ints = @strides, pads: ints = @pads,
                  dilations: ints = @dilations, group: int = @group> (X, weight, bias)
""",
    matrix="",
    integers="""
    w_real = DequantizeLinear <axis = 0> (w_int, w_scale, w_zero)
    layer = Conv <auto_pad = "NOTSET", strides: ints = @strides, pads: ints = @pads,
                  dilations: ints = @dilations, group: int = @group> (x_real, w_real, b_real)
""",
    signs=_CHANNELS_LAST
    + _PER_OUTPUT
    + """
    scale_k = Reshape (scale, scale_shape)
    bias_k = Reshape (bias, scale_shape)
    products = Conv <auto_pad = "NOTSET", strides: ints = @strides, pads: ints = @pads,
                     dilations: ints = @dilations, group: int = @group> (x_signs, weight)
    sums = Round (products)
    scaled = Mul (sums, scale_k)
    layer = Add (scaled, bias_k)
""",
    unpack_x="""
    x_group = Constant <value_int: int = @group> ()
    x_from = Constant <value_ints = [1]> ()
    x_to = Constant <value_ints = [2]> ()
    x_per_group = Slice (shape, x_from, x_to)
    x_channels = Mul (x_per_group, x_group)
"""
    + unpack("X", "x_signs", "x_channels", pixels=True),
    pack_y=pack("layer", "Y", "rows", pixels=True),
)
# Gemm pins the rank to two; MatMul + Add is what onnxruntime turns into Gemm by itself.
_MATMUL = LayerKind(
    x="`[…, C]`",
    y="`[…, K]`",
    attributes=(),
    turned=True,
    text="""
    product = MatMul (X, weight)
    layer = Add (product, bias)
""",
    matrix="    layer = Gemm <transB = 1> (X, weight, bias)\n",
    integers="""
    w_turned = Transpose <perm = [1, 0]> (w_int)
    w_real = DequantizeLinear <axis = 1> (w_turned, w_scale, w_zero)
    product = MatMul (x_real, w_real)
    layer = Add (product, b_real)
""",
    signs="""
    weight_t = Transpose <perm = [1, 0]> (dense)
    products = MatMul (x_signs, weight_t)
    sums = Round (products)
    scaled = Mul (sums, scale)
    layer = Add (scaled, bias)
""",
    unpack_x=unpack("X", "x_signs", "cols", pixels=False),
    pack_y=pack("layer", "Y", "rows", pixels=False),
)
#: By the name that stands in an operator's.
LAYERS = {"Conv": _CONV, "MatMul": _MATMUL}


def kind_of(layer: str) -> LayerKind:
    """The kind of "Conv" or of "QConv"."""
    return LAYERS[layer.removeprefix(INTEGERS)]


def prefix_of(operator: str) -> str:
    """What stands before the kind of layer in an operator's name; all of it where there is none.

    Examples
    --------
    >>> prefix_of("XnorPackedConvSign")
    'XnorPacked'
    >>> prefix_of("TightQMatMul")
    'Tight'
    """
    for layer in LAYERS:
        for name in (f"{INTEGERS}{layer}", layer):
            operator = operator.partition(name)[0]
    return operator
