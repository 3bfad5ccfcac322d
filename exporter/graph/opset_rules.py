"""What became of operators from opset 7 to 18: one rule for each whose spelling or meaning changed.

NOTES
-----
A rule spells a node of an old opset so that it computes in opset 18 what onnxruntime computes for it in its
own opset. onnx's version converter is no help there: it gives a linear Upsample or Resize another sampling
grid and Hardmax another axis, and loses functions, subgraphs and sparse initializers on the way.
An operator without a rule has changed only in what it allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...errors import UnsupportedError
from ...formats.base import Array
from ...text import shown
from .walk import attribute, fresh

Nodes = list[onnx.NodeProto]


@dataclass
class Context:
    """What a rule may ask: the node's opset, types and ranks where known, names in use and names read."""

    version: int
    types: Mapping[str, int]
    ranks: Mapping[str, int]
    constants: Mapping[str, onnx.TensorProto]
    used: set[str]
    read: set[str]
    made: Nodes = field(default_factory=list)

    def constant(self, array: Array, name: str) -> str:
        """The name of a Constant node with that array."""
        name = fresh(name, self.used)
        tensor = numpy_helper.from_array(array, name)
        self.made.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def like(self, value: float, other: str, name: str) -> str:
        """A scalar of the element type of `other`."""
        elem = self.types.get(other)
        if elem is not None:
            dtype = helper.tensor_dtype_to_np_dtype(elem)
            return self.constant(np.array(value).astype(dtype), name)
        plain = self.constant(np.array(value, np.float32), name)
        cast = fresh(f"{name}.like", self.used)
        self.made.append(helper.make_node("CastLike", [plain, other], [cast]))
        return cast

    def refuse(self, node: onnx.NodeProto, why: str) -> UnsupportedError:
        """The refusal of a node that has no equal in opset 18."""
        name = shown(node.name or (node.output[0] if node.output else ""))
        return UnsupportedError(
            f"node '{name}': {node.op_type} of opset {self.version} {why}; export it anew with opset 18"
        )


def _pop(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Take an attribute off a node and give its value."""
    value = attribute(node, name, default)
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    return value


def _set(node: onnx.NodeProto, name: str, value: Any) -> None:
    _pop(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def _ints(context: Context, node: onnx.NodeProto, name: str) -> str:
    """An attribute of integers as a constant; "" where the node has none."""
    value = _pop(node, name)
    if value is None:
        return ""
    return context.constant(np.array(value, np.int64), f"{node.output[0]}.{name}")


def _inputs(node: onnx.NodeProto, names: list[str]) -> None:
    while names and not names[-1]:
        names.pop()
    del node.input[:]
    node.input.extend(names)


def _axes(context: Context, node: onnx.NodeProto) -> Nodes:
    """Squeeze, Unsqueeze, Reduce*: axes became an input."""
    _inputs(node, [node.input[0], _ints(context, node, "axes")])
    return [node]


def _split(context: Context, node: onnx.NodeProto) -> Nodes:
    if context.version < 13:
        _inputs(node, [node.input[0], _ints(context, node, "split")])
    if len(node.input) < 2 or not node.input[1]:
        _set(node, "num_outputs", len(node.output))
    return [node]


def _slice(context: Context, node: onnx.NodeProto) -> Nodes:
    names = [_ints(context, node, part) for part in ("starts", "ends", "axes")]
    _inputs(node, [node.input[0], *names])
    return [node]


def _topk(context: Context, node: onnx.NodeProto) -> Nodes:
    k = context.constant(np.array([_pop(node, "k")], np.int64), f"{node.output[0]}.k")
    _inputs(node, [node.input[0], k])
    return [node]


def _clip(context: Context, node: onnx.NodeProto) -> Nodes:
    x, names = node.input[0], []
    for part in ("min", "max"):
        value = _pop(node, part)
        names.append("" if value is None else context.like(value, x, f"{node.output[0]}.{part}"))
    _inputs(node, [x, *names])
    return [node]


def _pad(context: Context, node: onnx.NodeProto) -> Nodes:
    x, pads, value = node.input[0], _ints(context, node, "pads"), _pop(node, "value", 0.0)
    _inputs(node, [x, pads, context.like(value, x, f"{node.output[0]}.value") if value else ""])
    return [node]


def _dropout(context: Context, node: onnx.NodeProto) -> Nodes:
    """At inference it gives its input; the mask changed its type on the way."""
    if context.read.intersection(node.output[1:]):
        raise context.refuse(node, "gives its mask too")
    for name in ("ratio", "is_test", "seed"):
        _pop(node, name)
    del node.output[1:]
    return [node]


def _batch_norm(context: Context, node: onnx.NodeProto) -> Nodes:
    if not _pop(node, "spatial", 1):
        raise context.refuse(node, "normalises each position by itself (spatial = 0)")
    if context.read.intersection(node.output[1:]):
        raise context.refuse(node, "gives its statistics too, as in training")
    for name in ("is_test", "consumed_inputs"):
        _pop(node, name)
    del node.output[1:]
    return [node]


def _flattening(context: Context, node: onnx.NodeProto) -> Nodes:
    """Softmax, LogSoftmax, Hardmax: over all axes from `axis` on, as one."""
    axis, x, y = _pop(node, "axis", 1), node.input[0], node.output[0]
    rank = context.ranks.get(x)
    _set(node, "axis", -1)
    if axis == -1 or (rank is not None and axis in (rank - 1, -1)):
        return [node]
    shape, flat, soft = (fresh(f"{y}.{part}", context.used) for part in ("shape", "flat", "soft"))
    node.input[0], node.output[0] = flat, soft
    return [
        helper.make_node("Shape", [x], [shape]),
        helper.make_node("Flatten", [x], [flat], axis=axis),
        node,
        helper.make_node("Reshape", [soft, shape], [y]),
    ]


def _upsample(context: Context, node: onnx.NodeProto) -> Nodes:
    if context.version < 9:
        scales = np.array(_pop(node, "scales"), np.float32)
        node.input.append(context.constant(scales, f"{node.output[0]}.scales"))
    return _resized(context, node, "floor")


def _resize(context: Context, node: onnx.NodeProto) -> Nodes:
    """Opset 10 samples asymmetrically; onnxruntime rounds a nearest index up where it shrinks an axis."""
    if attribute(node, "mode", b"nearest") != b"nearest":
        return _resized(context, node, "floor")
    tensor = context.constants.get(node.input[1])
    if tensor is None:
        raise context.refuse(node, "takes the nearest value by scales that are computed at run time")
    scales = numpy_helper.to_array(tensor).astype(np.float32)
    if (scales >= 1).all():
        return _resized(context, node, "floor")
    if (scales <= 1).all():
        return _resized(context, node, "ceil")
    between = fresh(f"{node.output[0]}.shrunk", context.used)
    first, second = onnx.NodeProto(), onnx.NodeProto()
    first.CopyFrom(node)
    first.ClearField("name")  # no two nodes may share one
    second.CopyFrom(node)
    first.output[0] = second.input[0] = between
    first.input[1] = context.constant(np.minimum(scales, 1), f"{between}.scales")
    second.input[1] = context.constant(np.maximum(scales, 1), f"{node.output[0]}.scales")
    return [*_resized(context, first, "ceil"), *_resized(context, second, "floor")]


def _resized(context: Context, node: onnx.NodeProto, nearest: str) -> Nodes:
    x, scales = node.input[0], node.input[1]
    if _pop(node, "mode", b"nearest") == b"nearest":
        _set(node, "mode", "nearest")
        _set(node, "nearest_mode", nearest)
    else:
        _set(node, "mode", "linear")
    node.op_type = "Resize"
    _set(node, "coordinate_transformation_mode", "asymmetric")
    _inputs(node, [x, "", scales])
    return [node]


def _scatter(context: Context, node: onnx.NodeProto) -> Nodes:
    node.op_type = "ScatterElements"
    return [node]


def _roi_align(context: Context, node: onnx.NodeProto) -> Nodes:
    _set(node, "coordinate_transformation_mode", "output_half_pixel")
    return [node]


def _scan(context: Context, node: onnx.NodeProto) -> Nodes:
    raise context.refuse(node, "has a batch axis of its own")


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
#: Operator to (first opset that needs no change, rule).
RULES: dict[str, tuple[int, Callable[[Context, onnx.NodeProto], Nodes]]] = {
    "BatchNormalization": (14, _batch_norm),
    "Clip": (11, _clip),
    "Dropout": (12, _dropout),
    "Hardmax": (13, _flattening),
    "LogSoftmax": (13, _flattening),
    "Pad": (11, _pad),
    "ReduceSum": (13, _axes),
    "Resize": (11, _resize),
    "RoiAlign": (16, _roi_align),
    "Scan": (9, _scan),
    "Scatter": (11, _scatter),
    "Slice": (10, _slice),
    "Softmax": (13, _flattening),
    "Split": (18, _split),
    "Squeeze": (13, _axes),
    "TopK": (10, _topk),
    "Unsqueeze": (13, _axes),
    "Upsample": (10, _upsample),
    **{f"Reduce{name}": (18, _axes) for name in _REDUCTIONS},
}
