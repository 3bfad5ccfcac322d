"""The functions `<Prefix>Weight`: components in, the weight they stand for out, in its own shape and type.

A weight that no packed layer reads is stored packed all the same: such a node stands where its initializer
was, and whatever reads it reads its result. The native library registers none of them, so every onnxruntime
inlines them and folds them at session creation: the rest of the graph is optimised as if the weight had
always been dense.

A decode computes in float32, which holds float16, bfloat16 and small integers exactly: a Cast follows where
the weight is of such a type (suffix ``Cast``, attribute ``to``). What float32 does not hold is decoded in
float64 (``Double``), with a Cast behind it for integers (``DoubleCast``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from onnx import helper

from ...formats import Format
from ...runtime import expand
from ...runtime.expand import WEIGHT
from ..graph.domain import DOMAIN, OPSET
from ..plan.types import WIDE
from .function_text import parsed
from .functions import IN_ROUNDS, LATER, NO_SCALE, SIZES, placed

_ALPHA = "    w_alpha = Cast <to = 1> (scale)\n"
# One alpha may stand for all rows.
_SCALED = """
    w_row = Div (position, cols_i)
    w_alphas = Expand (w_alpha, rows)
    w_scale = GatherElements <axis = 0> (w_alphas, w_row)
    w_values = Mul (entries, w_scale)
"""
_ROW_SCALE = """
    row_shape = Constant <value_ints = [-1, 1]> ()
    row_scale = Reshape (w_alpha, row_shape)
"""


@dataclass(frozen=True)
class Twin:
    """Which of a format's functions gives a weight of some type.

    Attributes
    ----------
    double
        Whether it decodes in float64.
    to
        Element type of the result (of `onnx.TensorProto`) where a Cast follows; 0 where none does.
    """

    double: bool = False
    to: int = 0

    @property
    def suffix(self) -> str:
        """What the function's name ends in."""
        return f"{WEIGHT}{'Double' if self.double else ''}{'Cast' if self.to else ''}"

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the weight."""
        if self.to:
            return np.dtype(helper.tensor_dtype_to_np_dtype(self.to))
        return np.dtype(np.float64 if self.double else np.float32)


def twin_of(dtype: np.dtype[np.generic]) -> Twin:
    """The function that gives a weight of this type, one of those that `plan.types` names, bit for bit."""
    if dtype.name in ("float32", "float64"):
        return Twin(double=dtype.name == "float64")
    return Twin(dtype.name in WIDE, helper.np_dtype_to_tensor_dtype(dtype))


def operator_name(fmt: Format, twin: Twin) -> str:
    """Name of the operator: `SparseWeight` for csr and float32."""
    return f"{fmt.operator}{twin.suffix}"


def is_weight(node: onnx.NodeProto) -> bool:
    """Whether a node is one of these operators."""
    return node.domain == DOMAIN and expand.is_weight(node.op_type)


def prefix_of(op_type: str) -> str:
    """The format's prefix in the name of one of these operators."""
    return op_type[: op_type.rindex(WEIGHT)]


def read_twin(node: onnx.NodeProto) -> Twin:
    """The twin whose name and attributes a node has."""
    to = next((item.i for item in node.attribute if item.name == "to"), 0)
    return Twin(node.op_type.rpartition(WEIGHT)[2].startswith("Double"), to)


def parts(fmt: Format) -> list[str]:
    """The components in the order of the operator's inputs; alphas, in the weight's type, are the last."""
    return [*fmt.operator_inputs, *([fmt.scale_component] if fmt.scale_component else [])]


def build(fmt: Format, twin: Twin, opset: int = OPSET, parts: int = 1) -> onnx.FunctionProto:
    """The function of a format that has an operator, decoding in so many parts where the format can.

    `opset` is that of the model that will hold it.
    """
    alphas = bool(fmt.scale_component)
    body = _ALPHA if alphas else ""
    if fmt.operator_entries:
        body += fmt.operator_text(max(parts, 1)) + (_SCALED if alphas else "")
        values = "w_values" if alphas else "entries"
        body += placed("position", values, "shape", parts)
    else:
        body += (_ROW_SCALE if alphas else NO_SCALE) + fmt.operator_decode
        body += "    weight = Reshape (dense, shape)\n"
    body = (IN_ROUNDS if parts > 1 else LATER) + body
    names = (*fmt.operator_inputs, *(["scale"] if alphas else []))
    return _build(operator_name(fmt, twin), names, body, twin.double, bool(twin.to), opset)


@cache
def _build(
    name: str, names: tuple[str, ...], body: str, double: bool, cast: bool, opset: int
) -> onnx.FunctionProto:
    if double:  # the same text, in the other type
        body = body.replace("<to = 1>", "<to = 11>").replace("<value = float", "<value = double")
    last = "Y = Cast <to: int = @to> (weight)" if cast else "Y = Identity (weight)"
    attributes = ["shape", *(["to"] if cast else [])]
    return parsed(name, attributes, names, SIZES + body + last, opset)
