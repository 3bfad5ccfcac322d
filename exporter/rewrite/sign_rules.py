"""What a value of the graph is the sign of: the rules by which a sign is known, however it is written.

The operators' sign is +1 for x >= 0 (-0 included) and -1 for everything else (NaN included). A graph's
sign that treats 0 otherwise (ONNX `Sign` gives 0; `x > 0` gives -1) is taken only where its input cannot
well be zero: behind a normalisation or a layer with a bias. Elsewhere the sign stays a node and the layer
takes floats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx

from ..graph.domain import MAIN_DOMAINS
from ..graph.fuse import norm_factors
from ..graph.index import GraphIndex

#: A sign is looked for at most this many nodes up.
_DEPTH = 8
#: Comparisons with zero: (is the truth the side of positive x, does zero fall on that side).
_COMPARISONS = {
    "GreaterOrEqual": (True, True),
    "Greater": (True, False),
    "Less": (False, False),
    "LessOrEqual": (False, True),
}
_MIRRORED = {
    "GreaterOrEqual": "LessOrEqual",
    "LessOrEqual": "GreaterOrEqual",
    "Greater": "Less",
    "Less": "Greater",
}
_KEEP_VALUES = ("MaxPool", "Reshape", "Flatten", "Transpose", "Identity", "Squeeze", "Unsqueeze")
_NORMALISATIONS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization")


@dataclass(frozen=True)
class Signs:
    """A value that is `factor` where `x` >= 0 and -`factor` elsewhere; `exact`: also where x is 0."""

    x: str
    factor: float = 1.0
    exact: bool = True


def find_signs(index: GraphIndex, name: str, depth: int = 0) -> Signs | None:
    """What a value is the sign of, or None where it is not seen to be one."""
    node = index.makers.get(name)
    if node is None or node.domain not in MAIN_DOMAINS or depth > _DEPTH:
        return None
    if node.op_type == "Sign":
        return Signs(_before(index, node.input[0]), exact=False)
    if node.op_type == "Where":
        return _where(index, node)
    if node.op_type == "Identity":
        return find_signs(index, node.input[0], depth + 1)
    if node.op_type == "Clip":
        inner = find_signs(index, node.input[0], depth + 1)
        low, high = _bounds(index, node)
        return inner if inner and low <= -abs(inner.factor) and high >= abs(inner.factor) else None
    if node.op_type == "Mul":
        return _multiplied(index, node, depth)
    if node.op_type in ("Add", "Sub"):
        return _doubled(index, node) or _straight_through(index, node, depth)
    return None


def scalar(index: GraphIndex, name: str) -> float | None:
    """A constant of one element."""
    array = index.constant(name)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _bounds(index: GraphIndex, node: onnx.NodeProto) -> tuple[float, float]:
    """Bounds of a Clip; one that is not constant is as bad as can be."""
    bounds = [-np.inf, np.inf]
    for place, name in enumerate(node.input[1:3]):
        if name:
            value = scalar(index, name)
            bounds[place] = np.nan if value is None else value
    return bounds[0], bounds[1]


def _condition(index: GraphIndex, name: str) -> tuple[str, bool, bool] | None:
    """(x, is true the positive side, does zero fall on the positive side) of a comparison with zero."""
    node = index.makers.get(name)
    if node is None:
        return None
    if node.op_type == "Not":
        inner = _condition(index, node.input[0])
        return inner and (inner[0], not inner[1], inner[2])
    if node.op_type not in _COMPARISONS:
        return None
    op, x = node.op_type, node.input[0]
    if scalar(index, node.input[0]) == 0:
        op, x = _MIRRORED[op], node.input[1]
    elif scalar(index, node.input[1]) != 0:
        return None
    positive, zero_with_true = _COMPARISONS[op]
    return x, positive, zero_with_true == positive


def _where(index: GraphIndex, node: onnx.NodeProto) -> Signs | None:
    """Where(x >= 0, a, -a) and its relatives."""
    condition = _condition(index, node.input[0])
    yes, no = scalar(index, node.input[1]), scalar(index, node.input[2])
    if condition is None or yes is None or no is None or yes != -no or yes == 0 or not np.isfinite(yes):
        return None
    x, positive, exact = condition
    return Signs(_before(index, x), yes if positive else no, exact)


def _doubled(index: GraphIndex, node: onnx.NodeProto) -> Signs | None:
    """2 * Cast(x >= 0) - 1."""
    one = scalar(index, node.input[1])
    product = index.makers.get(node.input[0])
    if one != (1 if node.op_type == "Sub" else -1) or product is None or product.op_type != "Mul":
        return None
    values = [scalar(index, name) for name in product.input]
    if 2.0 not in values:
        return None
    cast = index.makers.get(product.input[1 - values.index(2.0)])
    condition = _condition(index, cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
    if condition is None:
        return None
    x, positive, exact = condition
    return Signs(_before(index, x), 1.0 if positive else -1.0, exact)


def _multiplied(index: GraphIndex, node: onnx.NodeProto, depth: int) -> Signs | None:
    for place in (0, 1):
        factor = scalar(index, node.input[place])
        if factor is not None and factor != 0 and np.isfinite(factor):
            inner = find_signs(index, node.input[1 - place], depth + 1)
            return inner and replace(inner, factor=inner.factor * factor)
    return None


def _straight_through(index: GraphIndex, node: onnx.NodeProto, depth: int) -> Signs | None:
    """p + (signs - p), how a straight-through estimator is often written: its value is the signs."""
    if node.op_type != "Add":
        return None
    for place in (0, 1):
        difference = index.makers.get(node.input[place])
        if difference is None or difference.op_type != "Sub":
            continue
        if difference.input[1] == node.input[1 - place]:
            return find_signs(index, difference.input[0], depth + 1)
    return None


def _before(index: GraphIndex, name: str) -> str:
    """The value before steps that change no sign: Clip to an interval around zero, Tanh, Identity."""
    for _ in range(_DEPTH):
        node = index.makers.get(name)
        if node is None or node.domain not in MAIN_DOMAINS:
            break
        if node.op_type == "Clip":
            low, high = _bounds(index, node)
            if not (low < 0 < high):
                break
        elif node.op_type not in ("Tanh", "Identity"):
            break
        name = node.input[0]
    return name


def rarely_zero(index: GraphIndex, name: str) -> bool:
    """Whether a value comes from a normalisation or a layer with a bias: zero only by coincidence.

    A channel that is always the same (pruned, or of a gamma of 0) is no coincidence where that is zero.
    """
    for _ in range(_DEPTH):
        node = index.makers.get(name)
        if node is None or node.domain not in MAIN_DOMAINS:
            return False
        if node.op_type == "BatchNormalization":
            return _norm_leaves_zero(index, node)
        if node.op_type in _NORMALISATIONS:
            return _all_nonzero(index, node.input[2] if len(node.input) > 2 else "")
        if node.op_type in ("Conv", "Gemm"):
            return _all_nonzero(index, node.input[2] if len(node.input) > 2 else "")
        if node.op_type == "Add":
            return any(_all_nonzero(index, entry) for entry in node.input)
        if node.op_type not in _KEEP_VALUES:
            return False
        name = node.input[0]
    return False


def _norm_leaves_zero(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Whether no channel of a BatchNormalization is zero where its input is, or whatever its input is."""
    scale = index.constant(node.input[1])
    factors = None if scale is None else norm_factors(index, node, scale.size)
    if factors is None:
        return False
    factor, mean, beta = factors
    return bool((beta - mean * factor).astype(np.float32).all())


def _all_nonzero(index: GraphIndex, name: str) -> bool:
    array = index.constant(name)
    return array is not None and array.size > 0 and bool(array.all())
