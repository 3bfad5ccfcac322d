"""Bodies of the operators that compute with integers, and the nodes that call them.

A stock runtime makes QLinearConv, QGemm, QLinearMatMul and QLinearAdd of the nodes below, because they are
the nodes of a QDQ model: the codes stay int8, every DequantizeLinear has its zero point (without one QGemm
is not taken), and no Relu stands between a layer and its QuantizeLinear (it would become a float layer).
"""

from __future__ import annotations

from ...formats import Format
from .layer_kinds import LayerKind

#: Inputs before the components of the weight, behind them, and for a residual.
INPUTS_X = ("x_scale", "x_zero")
INPUTS_W = ("w_scale", "bias")
INPUTS_Y = ("y_scale", "y_zero")
INPUTS_Z = ("Z", "z_scale", "z_zero", "s_scale", "s_zero")
#: The suffix of operators whose result is float.
FLOAT = "Float"

_ENTRIES = """
    w_codes = Cast <to = 3> (entries)
    w_zeros = ConstantOfShape <value = int8[1] {0}> (size)
    w_line = ScatterElements (w_zeros, position, w_codes)
    w_int = Reshape (w_line, shape)
"""
_DENSE = """
    w_codes = Cast <to = 3> (dense)
    w_int = Reshape (w_codes, shape)
"""
_AROUND = """
    x_real = DequantizeLinear (X, x_scale, x_zero)
    w_zero = ConstantOfShape <value = int8[1] {0}> (rows)
    b_zero = ConstantOfShape <value = int32[1] {0}> (rows)
    b_scale = Mul (w_scale, x_scale)
    b_real = DequantizeLinear <axis = 0> (bias, b_scale, b_zero)
"""
_QUANTIZED = "    Y = QuantizeLinear (layer, y_scale, y_zero)\n"
_ADDED = """
    y_int = QuantizeLinear (layer, y_scale, y_zero)
    y_real = DequantizeLinear (y_int, y_scale, y_zero)
    z_real = DequantizeLinear (Z, z_scale, z_zero)
    total = Add (y_real, z_real)
    Y = QuantizeLinear (total, s_scale, s_zero)
"""


def inputs(components: tuple[str, ...], residual: bool, activation: str) -> tuple[str, ...]:
    """Names of the inputs of such an operator, in their order."""
    y = () if activation == FLOAT else INPUTS_Y
    return ("X", *INPUTS_X, *components, *INPUTS_W, *y, *(INPUTS_Z if residual else ()))


def body(fmt: Format, kind: LayerKind, residual: bool, activation: str) -> str:
    """The text of a function behind the sizes that `functions.SIZES` gives."""
    decode = "" if fmt.operator_entries else "    row_scale = Constant <value = float {1.0}> ()\n"
    decode += fmt.operator_decode + (_ENTRIES if fmt.operator_entries else _DENSE)
    last = "    Y = Identity (layer)\n" if activation == FLOAT else _ADDED if residual else _QUANTIZED
    return decode + _AROUND + kind.integers + last
