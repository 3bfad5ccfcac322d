"""Model-local ONNX functions: the same operator, spelled out in standard ops.

An operator of the domain `sparse_export` is named <prefix><Conv|MatMul><suffix>. Its function decodes
the packed components and runs the ordinary layer, so a stock runtime folds the decode once at session
creation; with the native library registered the node runs on the packed bytes instead.

What changes the arity or the activation is an operator of its own: a function body cannot branch, and
stock onnxruntime fuses Conv + Relu or Conv + Add + Relu only where it sees exactly these nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import onnx

from ...formats import Format
from ..graph.activations import ACTIVATIONS, NO_ACTIVATION
from ..graph.domain import OPSET
from . import quantized_functions
from .function_text import parsed
from .op_spec import POOL, SIGN, OpSpec
from .sign_functions import CONSTANTS, POOL_BODY

#: What stands before every decode: the sizes that it may use, from the attribute `shape`.
SIZES = """
    shape = Constant <value_ints: ints = @shape> ()
    zero1 = Constant <value_ints = [0]> ()
    first1 = Constant <value_ints = [1]> ()
    last1 = Constant <value_ints = [9]> ()
    axis0 = Constant <value = int64 {0}> ()
    rows = Slice (shape, zero1, first1)
    inner = Slice (shape, first1, last1)
    cols = ReduceProd <keepdims = 1> (inner)
    size = ReduceProd <keepdims = 1> (shape)
    rows0 = Squeeze (rows)
    cols0 = Squeeze (cols)
    rows_i = Cast <to = 6> (rows0)
    cols_i = Cast <to = 6> (cols0)
"""
#: int64 `later1` = [1], known to onnxruntime one round of its optimizer later than all else. Constants that
#: a round makes are freed when it ends, not before, so what a decode makes of `later1` does not stand in
#: memory beside what came before. Both branches make a tensor that is no constant, and only of them is the
#: length known which the Shape asks for: the If is gone by the next round, and with it the random number that
#: nobody reads. A Shape is folded without being computed.
LATER = """
    later_yes = Constant <value = bool {1}> ()
    later_any = If (later_yes) <
        then_branch = later_then () => (float[1] later_1) { later_1 = RandomUniform <shape = [1]> () },
        else_branch = later_else () => (float[2] later_2) { later_2 = RandomUniform <shape = [2]> () }>
    later1 = Shape (later_any)
"""
# The same another round later, each time.
_STILL_LATER = """
    later{now}_0 = Squeeze (later{before})
    later{now}_yes = Cast <to = 9> (later{now}_0)
    later{now}_any = If (later{now}_yes) <
        then_branch = later{now}_then () => (float[1] later{now}_1) {{
            later{now}_1 = RandomUniform <shape = [1]> ()
        }},
        else_branch = later{now}_else () => (float[2] later{now}_2) {{
            later{now}_2 = RandomUniform <shape = [2]> ()
        }}>
    later{now} = Shape (later{now}_any)
"""
#: `later1` to `later3` for decodes in parts: values are made first, then places, then arrays are filled, and
#: last of all take their shape, each out of memory that what came before has left.
IN_ROUNDS = LATER + "".join(_STILL_LATER.format(now=now, before=now - 1) for now in (2, 3))
#: The same where it must be known at once.
NOW = "    later1 = Constant <value_ints = [1]> ()\n"
_ROW_SCALE = """
    row_shape = Concat <axis = 0> (rows, first1)
    row_scale = Reshape (scale, row_shape)
"""
#: `row_scale` where nothing is to be multiplied.
NO_SCALE = "    row_scale = Constant <value = float {1.0}> ()\n"
# What onnxruntime folds stays in memory until the whole graph is folded, so a decode makes as few arrays as
# it can: entries are scaled and turned before they are placed, and the dense array exists three times, as
# zeros, filled, and in shape. MaxUnpool would fill and place in one step, but from 1.27 on onnxruntime folds
# only what it can tell the size of beforehand.
_ROWS = "    w_row = Div (position, cols_i)\n"
_SCALED = """
    w_scale = GatherElements <axis = 0> (scale, w_row)
    w_values = Mul (entries, w_scale)
"""
# [rows, cols] to [cols, rows]
_TURNED = """
    w_column = Mod (position, cols_i)
    w_column_start = Mul (w_column, rows_i)
    w_place = Add (w_column_start, w_row)
    w_shape = Concat <axis = 0> (cols, rows)
"""
_PLACED = """
    w_size = Mul (size, {later})
    w_zeros = ConstantOfShape <value = float[1] {{0.0}}> (w_size)
    w_line = ScatterElements (w_zeros, {place}, {values})
    weight = Reshape (w_line, {shape})
"""
_DENSE = "    weight = Reshape (dense, shape)\n"
_DENSE_TURNED = "    weight = Transpose <perm = [1, 0]> (dense)\n"
_SIGNS = """
    x_zero = Constant <value = float {0.0}> ()
    x_plus = Constant <value = float {1.0}> ()
    x_minus = Constant <value = float {-1.0}> ()
    x_upper = GreaterOrEqual (X, x_zero)
    x_signs = Where (x_upper, x_plus, x_minus)
"""


@dataclass(frozen=True)
class Known:
    """What holds for every node of an operator in a model, so that its function there may do without it.

    Attributes
    ----------
    unscaled
        All of `scale` is 1.
    matrix
        X is a matrix.
    parts
        As `Format.operator_parts` tells it.
    """

    unscaled: bool = False
    matrix: bool = False
    parts: int = 1

    def __and__(self, other: Known) -> Known:
        """What holds for the nodes of both."""
        both = (self.parts, other.parts)
        parts = max(both) if min(both) else 0
        return Known(self.unscaled and other.unscaled, self.matrix and other.matrix, parts)


#: What is so of any node.
NOTHING = Known()


@cache
def build(spec: OpSpec, opset: int = OPSET, known: Known = NOTHING) -> onnx.FunctionProto:
    """The function of one operator; `opset` of the model that will hold it: a runtime inlines the body."""
    fmt, kind = spec.fmt, spec.kind
    if spec.quantized:
        body = quantized_functions.body(fmt, kind, spec.residual, spec.activation)
        return _parsed(spec, opset, NOW + body)
    if spec.binary_input:
        signs = kind.unpack_x if spec.packed_input else _SIGNS
        decode = NOW + NO_SCALE + fmt.operator_decode + signs + kind.signs
    else:
        turned = kind.turned and not known.matrix
        layer = kind.matrix if kind.turned and known.matrix else kind.text
        decode = (IN_ROUNDS if known.parts > 1 else LATER) + _decode(fmt, turned, known) + layer
    constants = CONSTANTS if spec.packed_input or spec.activation == SIGN else ""
    total = "total = Add (layer, Z)" if spec.residual else ""
    if spec.activation == SIGN:
        last = kind.pack_y
    else:
        activated = ACTIVATIONS[spec.activation].text if spec.activation else NO_ACTIVATION
        last = activated.format(input="total" if spec.residual else "layer")
    return _parsed(spec, opset, f"{constants}{decode}{total}\n{last}\n")


def _parsed(spec: OpSpec, opset: int, body: str) -> onnx.FunctionProto:
    return parsed(spec.name, spec.attributes, spec.inputs, SIZES + body, opset)


def placed(place: str, values: str, shape: str, parts: int = 1) -> str:
    """ONNX text of float `weight` in that shape: zeros, but `values` [n] at `place` (int32 [n]).

    Parameters
    ----------
    parts
        How many `place` was made in: with more than one `IN_ROUNDS` stands before it, else `LATER`.
    """
    if parts <= 1:
        return _PLACED.format(place=place, values=values, shape=shape, later="later1")
    late = f"    w_late = Mul ({shape}, later3)\n"
    return late + _PLACED.format(place=place, values=values, shape="w_late", later="later2")


def _decode(fmt: Format, turned: bool, known: Known) -> str:
    """The text that gives `weight`, as the layer takes it, of a format's components and `scale`."""
    unscaled, decode = known.unscaled, fmt.operator_text(max(known.parts, 1))
    if not fmt.operator_entries:
        scale = NO_SCALE if unscaled else _ROW_SCALE
        return scale + decode + (_DENSE_TURNED if turned else _DENSE)
    text = decode + ("" if unscaled and not turned else _ROWS) + ("" if unscaled else _SCALED)
    values = "entries" if unscaled else "w_values"
    if turned:
        return text + _TURNED + placed("w_place", values, "w_shape", known.parts)
    return text + placed("position", values, "shape", known.parts)


@cache
def pool(opset: int = OPSET) -> onnx.FunctionProto:
    """The function of `POOL`: packed signs and `falling`, uint8 [bytes], to packed signs."""
    return parsed(POOL, ("kernel_shape", "strides", "pads"), ("X", "falling"), POOL_BODY, opset)
