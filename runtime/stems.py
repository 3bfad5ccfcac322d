"""Convolutions of few input channels, the first of most nets, put on the library as a model is loaded.

Three channels do not fill what integer instructions multiply at once, so a runtime copies every window into
a row of a matrix first; and it takes and gives bytes with channels last, where packed layers have them
first. The library's kernel multiplies four channels at a time as well, but reads the windows where they
lie. So such a layer's weight, though it has no zeros worth packing, becomes rows of csr here, in the model
that onnxruntime is given; the file stays as it is. No number changes by more than the other layers' do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import nodes, wire
from .domains import DOMAIN
from .nodes import GraphNode
from .splice import Edit, appended, removed

#: The library's operator.
OPERATOR = "SparseQConv"
#: Instruction sets where that wins: 1.2 to 3.4 times, measured with 6 to 128 outputs, windows up to 7 x 7.
TARGETS = frozenset({"avx512vnni"})
_MOST_CHANNELS, _MOST_OUTPUTS, _MOST_WINDOW = 3, 128, 49
_MOST_ELEMENTS = _MOST_CHANNELS * _MOST_OUTPUTS * _MOST_WINDOW
_REAL, _STEPS = "DequantizeLinear", "QuantizeLinear"
#: A bias beyond this leaves no room for the products in 32 bits.
_MOST_BIAS = 1 << 30


@dataclass
class Replaced:
    """What is to change; `layers`: the nodes that gave what the library gives now."""

    edits: list[Edit] = field(default_factory=list)
    layers: set[wire.Field] = field(default_factory=set)


class _Graph(nodes.Graph):
    """A graph, and what a first convolution is recognised by."""

    def has(self, name: str) -> bool:
        """Whether a value has that name."""
        return name in self.left or name in self.makers or name in self.held

    def constant(self, name: str) -> NDArray[Any] | None:
        """A small constant; None of any other value."""
        return nodes.array(self.data, self.held[name], _MOST_ELEMENTS) if name in self.held else None

    def dequantized(self, name: str) -> GraphNode | None:
        """The DequantizeLinear that gives a value, if it has a zero point and no blocks."""
        node = self.makers.get(name)
        if node is None or not node.is_of_onnx(_REAL) or len(node.inputs) != 3:
            return None
        return None if "block_size" in node.attributes else node

    def only_reader(self, node: GraphNode) -> GraphNode | None:
        """The one node that reads what this one gives."""
        if len(node.outputs) != 1 or self.left[node.outputs[0]] != 1:
            return None
        return self.readers.get(node.outputs[0])


@dataclass(frozen=True)
class _Stem:
    """A convolution with what is around it, read."""

    around: list[GraphNode]  # that go if nobody else reads what they give
    gone: list[GraphNode]
    x: list[str]
    y: list[str]
    output: str
    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32]
    attributes: dict[str, int | list[int]]


def replaced(data: wire.Buffer, uses: Mapping[str, int]) -> Replaced:
    """What is to change so that these convolutions become operators of the library.

    Parameters
    ----------
    uses
        How often each name is an input of any node.

    Raises
    ------
    ValueError
        If the bytes are no model, or it is written in an unusual way.
    """
    found = Replaced()
    graphs = wire.graphs(data)
    if len(graphs) != 1:
        return found
    graph = _Graph(data, graphs[0], uses)
    pieces, unread = [], []
    for conv in graph.nodes:
        stem = _read(graph, conv) if conv.is_of_onnx("Conv") else None
        parts = {} if stem is None else _components(stem, conv)
        if stem is None or any(graph.has(name) for name in parts):
            continue
        gone = list(stem.gone)
        for node in stem.around:
            graph.left[node.outputs[0]] -= 1
            gone += [] if graph.left[node.outputs[0]] else [node]
        found.edits += [removed(data, node.place) for node in gone]
        found.layers.add(stem.gone[-1].place)
        unread += [name for node in gone for name in node.inputs]
        graph.left.update([*stem.x, *stem.y])
        pieces += [nodes.tensor(name, values) for name, values in parts.items()]
        indptr, gaps, values, scale, bias = parts
        inputs = [*stem.x, indptr, gaps, values, scale, bias, *stem.y]
        pieces.append(nodes.written(OPERATOR, DOMAIN, inputs, stem.output, stem.attributes))
    found.edits += graph.let_go(unread)
    found.edits += appended(graphs[0], *pieces)
    return found


def _components(stem: _Stem, conv: GraphNode) -> dict[str, NDArray[Any]]:
    """The layer's new constants: every weight in csr, scales and biases."""
    rows, size = len(stem.codes), stem.codes.size
    name = f"{conv.outputs[0]}.{OPERATOR}"
    return {
        f"{name}.indptr": (np.arange(rows + 1) * (size // rows)).astype("<u2"),
        f"{name}.gaps": np.zeros(size, np.uint8),
        f"{name}.values": stem.codes.reshape(-1),
        f"{name}.scale": stem.scale,
        f"{name}.bias": stem.bias,
    }


def _read(graph: _Graph, conv: GraphNode) -> _Stem | None:
    """The layer at a convolution; None where it is another one."""
    around = [graph.dequantized(name) for name in conv.inputs[:2]]
    behind = graph.only_reader(conv)
    if len(around) != 2 or around[0] is None or around[1] is None or behind is None:
        return None
    x, weight = around[0], around[1]
    gone = [conv]
    if behind.is_of_onnx("Relu"):
        gone.append(behind)
        behind = graph.only_reader(behind)
    if behind is None or not behind.is_of_onnx(_STEPS) or len(behind.inputs) != 3 or len(behind.outputs) != 1:
        return None
    gone.append(behind)
    quanta = [_quantum(graph, node) for node in (x, behind)]
    codes = graph.constant(weight.inputs[0])
    if quanta[0] is None or quanta[1] is None or codes is None:
        return None
    (x_scale, _), (_, y_zero) = quanta[0], quanta[1]
    if y_zero.dtype != np.uint8 or (len(gone) > 2 and y_zero.item() != 0):
        return None  # only at 0 what saturates is the Relu
    scale, attributes = _scales(graph, weight, codes), _attributes(graph, conv, codes.shape)
    if scale is None or attributes is None:
        return None
    bias, holder = np.zeros(len(codes)), None
    if len(conv.inputs) > 2 and conv.inputs[2]:
        holder = graph.dequantized(conv.inputs[2])
        read = _real(graph, conv.inputs[2], holder)
        if read is None or read.shape != bias.shape:
            return None
        bias = read
    units = np.rint(bias / (scale.astype(np.float64) * float(x_scale.item())))
    if not bool((np.abs(units) <= _MOST_BIAS).all()):
        return None
    used = [x, weight] + ([holder] if holder else [])
    return _Stem(
        used,
        gone,
        x.inputs,
        behind.inputs[1:],
        behind.outputs[0],
        codes,
        scale,
        units.astype("<i4"),
        attributes,
    )


def _quantum(graph: _Graph, node: GraphNode) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The scale and zero point of a whole tensor of bytes."""
    scale, zero = graph.constant(node.inputs[1]), graph.constant(node.inputs[2])
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    usable = scale.dtype == np.float32 and bool((np.isfinite(scale) & (scale > 0)).all())
    return (scale, zero) if usable and zero.dtype.itemsize == 1 else None


def _scales(graph: _Graph, weight: GraphNode, codes: NDArray[Any]) -> NDArray[np.float32] | None:
    """The scale of each output; None where zeros are not zeros, or the layer is none of few channels."""
    if codes.dtype != np.int8 or codes.ndim != 4 or codes.size == 0:
        return None
    outputs, channels, height, width = codes.shape
    if outputs > _MOST_OUTPUTS or channels > _MOST_CHANNELS or height * width > _MOST_WINDOW:
        return None
    scale, zero = graph.constant(weight.inputs[1]), graph.constant(weight.inputs[2])
    if scale is None or zero is None or scale.dtype != np.float32 or bool(zero.any()):
        return None
    axis = nodes.ints(graph.data, weight, "axis", [1])[0]
    if scale.size != 1 and (scale.shape != (outputs,) or axis not in (0, (1 << 64) - 4)):
        return None
    if not bool((np.isfinite(scale) & (scale > 0)).all()):
        return None
    return np.broadcast_to(scale.reshape(-1), outputs).astype("<f4")


def _real(graph: _Graph, name: str, holder: GraphNode | None) -> NDArray[np.float64] | None:
    """A constant vector of floats, or of integers that are dequantized."""
    if holder is None:
        found = graph.constant(name)
        return None if found is None or found.dtype != np.float32 else found.astype(np.float64)
    steps, scale, zero = (graph.constant(part) for part in holder.inputs)
    if steps is None or scale is None or zero is None or steps.dtype != np.int32 or bool(zero.any()):
        return None
    return steps * scale.astype(np.float64).reshape(-1) if scale.size in (1, steps.size) else None


def _attributes(graph: _Graph, conv: GraphNode, shape: tuple[int, ...]) -> dict[str, int | list[int]] | None:
    """The operator's attributes; None of a convolution that it cannot be."""
    known = {"kernel_shape", "strides", "pads", "dilations", "group", "auto_pad"}
    data = graph.data
    found = {
        "strides": nodes.ints(data, conv, "strides", [1, 1]),
        "pads": nodes.ints(data, conv, "pads", [0] * 4),
        "dilations": nodes.ints(data, conv, "dilations", [1, 1]),
    }
    if set(conv.attributes) - known or nodes.padded_by_name(data, conv):
        return None
    one_group = nodes.ints(data, conv, "group", [1]) == [1]
    whole = one_group and [len(part) for part in found.values()] == [2, 4, 2]
    return {"shape": list(shape), "group": 1, **found} if whole else None
