"""Integers carried past what only moves or compares them, and weights of integers worked out.

`max` and changes of shape commute with quantization, so a pair of QuantizeLinear and DequantizeLinear may be
put on their other side: behind a MaxPool whose input is dequantized, in front of one whose result is
quantized.
No number changes; layers then have their integers right beside them, whatever a producer left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import onnx
from onnx import helper, numpy_helper

from ..files import held
from .domain import MAIN_DOMAINS
from .index import GraphIndex
from .points import EIGHT_BITS
from .qdq import dequantizes, quantizes
from .walk import captured, copied, fresh, read_names, replace_nodes, value_names

_CARRIES = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze")


def prepare(model: onnx.ModelProto) -> None:
    """Fold weights of integers that are computed, and carry pairs past such nodes; in place."""
    if any(dequantizes(node) for node in model.graph.node):
        _fold_codes(model)
        _merge(model)
        _carry(model)


def _fold_codes(model: onnx.ModelProto) -> None:
    """What a DequantizeLinear reads that is computed from constants becomes an initializer of 8 bits."""
    index = GraphIndex(model)
    made = {}
    for node in index.nodes:
        name = node.input[0] if dequantizes(node) else ""
        if name and name not in made and index.is_computed(name) and name not in index.pinned:
            array = index.constant(name)
            if array is None or array.dtype.name not in EIGHT_BITS or index.makers[name].output[0] != name:
                continue
            if not quantizes(index.makers[name]) or _meets_integers(index, node.output[0]):
                made[name] = array
    if not made:
        return
    nodes = [node for node in index.nodes if not node.output or node.output[0] not in made]
    read = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(nodes):  # what only those were computed by goes too
        if read & set(node.output):
            kept.append(node)
            read.update(node.input)
            read.update(captured(node))
    replace_nodes(model.graph, kept[::-1])
    read = read_names(model.graph) | {value.name for value in model.graph.input}
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name not in read:
            del model.graph.initializer[place]
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in made.items())


def _meets_integers(index: GraphIndex, weight: str) -> bool:
    """Whether a layer multiplies a rounded weight with rounded activations: else floats are what it reads."""
    for reader in index.readers[weight]:
        if reader.op_type == "Transpose" and _meets_integers(index, reader.output[0]):
            return True
        maker = index.makers.get(reader.input[0])
        while maker is not None and _carries(maker):
            maker = index.makers.get(maker.input[0])
        if maker is not None and dequantizes(maker) and reader.input[0] != weight:
            return True
    return False


def _merge(model: onnx.ModelProto) -> None:
    """One QuantizeLinear for all that round a value alike: some producers give every reader its own."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    pinned = {value.name for value in (*graph.output, *graph.input)}
    for node in graph.node:
        pinned.update(captured(node))
    first: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    kept = []
    for node in graph.node:
        ends = list(node.input[1:])
        if quantizes(node) and not node.attribute and all(name in constants for name in ends):
            arrays = [held.array(constants[name]) for name in ends]
            what = tuple((str(array.dtype), array.shape, array.tobytes()) for array in arrays)
            same = first.setdefault((node.input[0], node.domain, *what), node.output[0])
            if same != node.output[0] and not pinned & {*node.output, *ends}:
                aliases[node.output[0]] = same
                continue
        kept.append(node)
    for node in kept if aliases else ():
        for place, name in enumerate(node.input):
            node.input[place] = aliases.get(name, name)
    if aliases:
        replace_nodes(graph, kept)


def _carry(model: onnx.ModelProto) -> None:
    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer} - {value.name for value in graph.input}
    kept = {value.name for value in graph.output}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        kept.update(captured(node))
        for name in node.input:
            readers[name].append(node)
    used, made = value_names(graph), {name: node for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    dequantized = {node.output[0]: node for node in graph.node if dequantizes(node)}
    for node in graph.node:
        if not _carries(node):
            nodes.append(node)
            continue
        source, result = node.input[0], node.output[0]
        behind = readers[result]
        before = dequantized.get(source)
        if (
            before is not None
            and _plain(before, fixed)
            and result not in kept
            and not any(map(quantizes, behind))
        ):
            twin = copied(node)
            twin.output[0] = fresh(f"{result}.moved", used)
            pair = _pair(before, twin.output[0], result, used)
            nodes += [twin, *pair]
            dequantized[result] = pair[1]
        elif (
            before is None
            and len(behind) == 1
            and quantizes(behind[0])
            and _plain(behind[0], fixed)
            and len(readers[source]) == 1
            and source in made
            and source not in kept
        ):
            twin = copied(node)
            twin.input[0] = fresh(f"{source}.rounded", used)
            nodes += [*_pair(behind[0], source, twin.input[0], used), twin]
        else:
            nodes.append(node)
    if len(nodes) > len(graph.node):
        replace_nodes(graph, nodes)


def _carries(node: onnx.NodeProto) -> bool:
    return node.domain in MAIN_DOMAINS and node.op_type in _CARRIES and len(node.output) == 1


def _plain(node: onnx.NodeProto, fixed: set[str]) -> bool:
    """Whether such a node has a constant scale and a zero point, that says its type."""
    return len(node.input) == 3 and all(name in fixed for name in node.input[1:])


def _pair(like: onnx.NodeProto, source: str, result: str, used: set[str]) -> Sequence[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear from one value to another, with the scale of a node like them."""
    middle = fresh(f"{result}.integers", used)
    ends = list(like.input[1:])
    return (
        helper.make_node("QuantizeLinear", [source, *ends], [middle], domain=like.domain),
        helper.make_node("DequantizeLinear", [middle, *ends], [result], domain=like.domain),
    )
