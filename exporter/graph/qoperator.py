"""Operators of integers said in floats: QLinearConv as DequantizeLinear, Conv, QuantizeLinear.

Quantizers write models in two forms, and everything behind this reads the one with QuantizeLinear and
DequantizeLinear. A stock runtime makes the same operators of these nodes again, so what stays dense
computes what it did. What cannot be said so exactly (scales of run time, a product scaled by alpha) stays.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...formats.base import Array
from ..files import held
from .domain import MAIN_DOMAINS
from .points import EIGHT_BITS
from .walk import attribute, attributes, copied, fresh, replace_nodes, value_names

_MICROSOFT = ("com.microsoft",)


@dataclass(frozen=True)
class _Form:
    """Where an operator has what: its inputs and its output, each with scale and zero point behind it.

    Attributes
    ----------
    inputs
        Places of the integers; of an operator of any number of them the first.
    y
        Place of the output's scale.
    bias
        Place of a bias of 32 bits; -1: none.
    dropped
        Attributes that the operator of floats lacks.
    """

    domains: tuple[str, ...]
    op_type: str
    inputs: tuple[int, ...]
    y: int
    bias: int = -1
    dropped: tuple[str, ...] = ()


_FORMS = {
    "QLinearConv": _Form(MAIN_DOMAINS, "Conv", (0, 3), 6, bias=8),
    "QLinearMatMul": _Form(MAIN_DOMAINS, "MatMul", (0, 3), 6),
    "QGemm": _Form(_MICROSOFT, "Gemm", (0, 3), 7, bias=6),
    "QLinearAdd": _Form(_MICROSOFT, "Add", (0, 3), 6),
    "QLinearMul": _Form(_MICROSOFT, "Mul", (0, 3), 6),
    "QLinearConcat": _Form(_MICROSOFT, "Concat", (2,), 0),
    "QLinearAveragePool": _Form(_MICROSOFT, "AveragePool", (0,), 3, dropped=("channels_last",)),
    "QLinearGlobalAveragePool": _Form(_MICROSOFT, "GlobalAveragePool", (0,), 3, dropped=("channels_last",)),
    "QLinearLeakyRelu": _Form(_MICROSOFT, "LeakyRelu", (0,), 3),
    "QLinearSigmoid": _Form(_MICROSOFT, "Sigmoid", (0,), 3),
    "QLinearSoftmax": _Form(_MICROSOFT, "Softmax", (0,), 3, dropped=("opset",)),
}
#: From this opset on Softmax is of one axis.
_SOFTMAX = 13
#: Layers, and where their weight stands.
_WITH_WEIGHT, _WEIGHT = ("QLinearConv", "QLinearMatMul", "QGemm"), 3


def lower_qoperators(model: onnx.ModelProto) -> None:
    """Spell the operators of integers of the main graph as QDQ, in the model's own memory.

    Constants have to be initializers.
    """
    if not any(node.op_type in _FORMS for node in model.graph.node):
        return
    lowering = _Lowering(model.graph)
    for node in model.graph.node:
        lowering.add(node)
    replace_nodes(model.graph, lowering.nodes)


class _Lowering:
    """The nodes of a graph made anew, one after the other."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.used = value_names(graph)
        given = {value.name for value in graph.input}
        self.constants = {one.name: one for one in graph.initializer if one.name not in given}

    def add(self, node: onnx.NodeProto) -> None:
        """The node, or those that say the same in floats."""
        form = _FORMS.get(node.op_type)
        if form is None or node.domain not in form.domains or not self._exact(node, form):
            self.nodes.append(copied(node))
            return
        layer = node.op_type in _WITH_WEIGHT
        inputs = [self._real(node, at, weight=layer and at == _WEIGHT) for at in _places(node, form)]
        if _given(node, form.bias):
            inputs.append(self._bias(node, form.bias))
        said: dict[str, Any] = {
            name: value for name, value in attributes(node).items() if name not in form.dropped
        }
        quantized = _given(node, form.y)
        result = fresh(f"{node.output[0]}.real", self.used) if quantized else node.output[0]
        self.nodes.append(helper.make_node(form.op_type, inputs, [result], name=node.name, **said))
        if quantized:
            scale, zero = self._alike(node, form.y)
            self.nodes.append(helper.make_node("QuantizeLinear", [result, scale, zero], [node.output[0]]))

    def _exact(self, node: onnx.NodeProto, form: _Form) -> bool:
        """Whether nodes of floats mean just the same."""
        opset = attribute(node, "opset", _SOFTMAX)
        if attribute(node, "channels_last", 0) or not isinstance(opset, int) or opset < _SOFTMAX:
            return False
        if node.op_type == "QGemm" and attribute(node, "alpha", 1.0) != 1.0:
            return False
        places = _places(node, form)
        if not places or not all(_given(node, at) for at in places):
            return False
        if node.op_type in _WITH_WEIGHT:
            weight = self.constants.get(node.input[_WEIGHT])
            rank = 0 if weight is None else len(weight.dims)
            if (
                weight is None
                or rank < 2
                or (_given(node, form.bias) and node.input[form.bias] not in self.constants)
            ):
                return False
            outputs = weight.dims[_axis(node)] if rank == 2 or form.op_type == "Conv" else 1
            places = [at for at in places if at != _WEIGHT]
            if not self._is_point(node, _WEIGHT + 1, {1, outputs}):
                return False
        if not all(self._is_point(node, at + 1) for at in places):
            return False
        if not _given(node, form.y):
            return node.op_type == "QGemm"
        return self._is_point(node, form.y) and _given(node, form.y + 1)

    def _is_point(self, node: onnx.NodeProto, place: int, sizes: Collection[int] = (1,)) -> bool:
        """Whether a constant scale stands there, and no zero point behind it or a constant one of 8 bits."""
        if not _given(node, place) or node.input[place] not in self.constants:
            return False
        scale = self._array(node.input[place])
        if scale.dtype != np.float32 or scale.size not in sizes:
            return False
        if not _given(node, place + 1):
            return True
        name = node.input[place + 1]
        if name not in self.constants:
            return False
        zero = self._array(name)
        return zero.dtype.name in EIGHT_BITS and zero.size in sizes

    def _array(self, name: str) -> Array:
        return held.array(self.constants[name])

    def _hold(self, array: Array, name: str) -> str:
        tensor = numpy_helper.from_array(array, fresh(name, self.used))
        self.graph.initializer.append(tensor)
        self.constants[tensor.name] = self.graph.initializer[-1]
        return tensor.name

    def _alike(self, node: onnx.NodeProto, place: int) -> tuple[str, str]:
        """Names of a scale and its zero point, which have the same shape: () or one dimension."""
        scale = self._array(node.input[place])
        zero = self._array(node.input[place + 1]) if _given(node, place + 1) else None
        size = max(scale.size, 1 if zero is None else zero.size)
        shape = () if size == 1 else (size,)

        def name_of(array: Array, name: str) -> str:
            if array.shape == shape:
                return name
            return self._hold(np.broadcast_to(array.reshape(-1), size).reshape(shape).copy(), name)

        names = name_of(scale, node.input[place])
        return names, "" if zero is None else name_of(zero, node.input[place + 1])

    def _real(self, node: onnx.NodeProto, place: int, *, weight: bool) -> str:
        """The float value of the integers at a place."""
        scale, zero = self._alike(node, place + 1)
        axis: dict[str, Any] = {"axis": _axis(node)} if weight and self._array(scale).ndim else {}
        inputs = [node.input[place], scale, *([zero] if zero else [])]
        return self._dequantized(inputs, f"{node.output[0]}.{place}", axis)

    def _bias(self, node: onnx.NodeProto, place: int) -> str:
        """The float bias: its unit is the scale of the input times that of the weight."""
        unit = self._array(node.input[1]).reshape(-1)[0] * self._array(node.input[4]).reshape(-1)
        size = self._array(node.input[place]).size
        scale = self._hold(unit if unit.size > 1 and unit.size == size else unit[0], f"{node.output[0]}.unit")
        axis: dict[str, Any] = {"axis": 0} if unit.size > 1 else {}
        return self._dequantized([node.input[place], scale], f"{node.output[0]}.bias", axis)

    def _dequantized(self, inputs: list[str], name: str, axis: dict[str, Any]) -> str:
        result = fresh(name, self.used)
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [result], **axis))
        return result


def _given(node: onnx.NodeProto, place: int) -> bool:
    return 0 <= place < len(node.input) and bool(node.input[place])


def _places(node: onnx.NodeProto, form: _Form) -> list[int]:
    """Where the integers stand that a node reads."""
    return list(range(form.inputs[0], len(node.input), 3)) if form.op_type == "Concat" else list(form.inputs)


def _axis(node: onnx.NodeProto) -> int:
    """The axis of a layer's outputs in its weight."""
    return 0 if node.op_type == "QLinearConv" or attribute(node, "transB", 0) else 1
