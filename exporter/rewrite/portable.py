"""A packed file in standard operators alone: every `<Prefix>Weight` replaced by what it stands for.

Some runtimes know no model-local functions and no domain but their own. For them each weight's decode stands
in the graph itself, with every size in it worked out: an engine that computes constants when it loads a model
is left with the dense weights, and its graph is the source's own.

NOTES
-----
Nothing here may bring in an operator that one of the engines of docs/deployment.md does not compute ahead:
no bitwise operator, no arithmetic on uint8, no running sum of integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...formats import Format
from ...formats.base import Array
from ...runtime.stock import Session
from ..files import held
from ..files.streamed import serialized
from ..graph.domain import DOMAIN
from ..graph.walk import all_graphs, all_nodes, copied, read_names, replace_nodes, value_names
from . import weight_functions
from .counting import RunningSums
from .weight_functions import Twin

#: Results of at most so many elements stand in the file: sizes, and what takes less than the node it is from.
SMALL = 8


def spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place, with standard operators where nodes of ours expanded its weights."""
    functions = {function.name: function for function in model.functions if function.domain == DOMAIN}
    if not functions:
        return model
    graphs, used, parts_of = list(all_graphs(model.graph)), value_names(model.graph), set[str]()
    initializers = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
    for graph in reversed(graphs):  # inner ones first: writing a graph's nodes copies what is in them
        if not any(node.domain == DOMAIN for node in graph.node):
            continue
        spelling = Spelling(used)
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            if node.domain == DOMAIN:
                parts = {name: initializers[name] for name in node.input}
                parts_of.update(parts)
                nodes += spelling.of(node, functions[node.op_type], parts)
            else:
                nodes.append(node)
        replace_nodes(graph, nodes)
        graph.initializer.extend(spelling.constants)
    _drop_unread(model, parts_of)
    kept = [function for function in model.functions if function.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend(kept)
    imports = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model


def _drop_unread(model: onnx.ModelProto, parts: set[str]) -> None:
    """Take the components out of which only a few numbers were needed, which stand in the graph now."""
    unread = parts - read_names(model.graph)
    for graph in all_graphs(model.graph):
        for place in reversed(range(len(graph.initializer))):
            if graph.initializer[place].name in unread:
                del graph.initializer[place]


def decodes(model: onnx.ModelProto, names: Iterable[str]) -> Iterator[tuple[str, onnx.ModelProto | None]]:
    """For each weight the model that gives it alone, or None where no node does, or not of constants."""
    everything = list(all_nodes(model.graph))
    given = {name: node for node in everything for name in node.output}
    place = {id(node): count for count, node in enumerate(everything)}
    initializers = {tensor.name: tensor for graph in all_graphs(model.graph) for tensor in graph.initializer}
    for name in names:
        nodes: dict[int, onnx.NodeProto] = {}
        parts, todo, whole = {}, [name], name in given
        while todo:
            wanted = todo.pop()
            if wanted in initializers:
                parts[wanted] = initializers[wanted]
            elif wanted not in given:
                whole = False
            elif id(given[wanted]) not in nodes:
                nodes[id(given[wanted])] = given[wanted]
                todo += given[wanted].input
        order = sorted(nodes.values(), key=lambda node: place[id(node)])
        result = [helper.make_empty_tensor_value_info(name)]
        graph = helper.make_graph(order, "decode", [], result, list(parts.values()))
        alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        yield name, alone if whole else None


@cache
def decode_bytes(fmt: Format, twin: Twin, opset: int) -> int:
    """About what the decode of one weight takes in a file, its components apart."""
    function = weight_functions.build(fmt, twin, opset)
    small = next(a for _, a in fmt.examples() if a.dtype == np.float32 and a.ndim > 1)
    array = np.tile(small, (1000, *[1] * (small.ndim - 1)))  # so that only sizes are small
    packed = fmt.pack(array)
    names = weight_functions.parts(fmt)
    attributes: dict[str, Any] = {"shape": list(array.shape)} | ({"to": twin.to} if twin.to else {})
    node = helper.make_node(function.name, names, ["weight"], domain=DOMAIN, **attributes)
    parts = {name: numpy_helper.from_array(packed.components[name], name) for name in names}
    spelling = Spelling(set())
    nodes = spelling.of(node, function, parts)
    return sum(item.ByteSize() + 4 for item in nodes)


class Spelling:
    """Decodes of weights, one after the other; what several need alike is in the graph once.

    Attributes
    ----------
    constants
        Initializers that the nodes given so far read beside the components.
    """

    def __init__(self, used: set[str]) -> None:
        self.constants: list[onnx.TensorProto] = []
        self._used = used
        self._count = 0
        self._known: dict[tuple[object, ...], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def of(
        self,
        node: onnx.NodeProto,
        function: onnx.FunctionProto,
        parts: Mapping[str, onnx.TensorProto],
    ) -> list[onnx.NodeProto]:
        """The nodes that give the result of one node of ours, after those that were given before.

        Parameters
        ----------
        parts
            The node's inputs, all of them, by name.
        """
        body = list(_instance(node, function))
        values = _values(body, parts, function.opset_import)
        self._nodes, names = [], {name: name for name in parts}
        sums = RunningSums(self._add, self._constant)
        for item in _needed(body, node.output[0], {n for n, v in values.items() if v.size <= SMALL}):
            given = [names.get(name) or self._constant(values[name]) for name in item.input]
            result, axis = item.output[0], int(values[item.input[1]]) if item.op_type == "CumSum" else 0
            if item.op_type == "Identity":
                names[result] = given[0]
            elif item.op_type == "GatherElements":  # of vectors, where both are the same
                names[result] = self._add("Gather", *given)
            elif item.op_type == "CumSum" and any(
                word.name == "reverse" and word.i for word in item.attribute
            ):
                names[result] = sums.from_end(given[0], values[item.input[0]])
            elif item.op_type == "CumSum" and values[result].dtype == np.int32:
                names[result] = sums.of(given[0], values[item.input[0]], axis)
                if any(word.name == "exclusive" and word.i for word in item.attribute):
                    names[result] = self._add("Sub", names[result], given[0])
            else:
                if item.op_type == "Cast" and values[item.input[0]].dtype in (np.int8, np.uint8):
                    # Bytes times a scale are quantised weights to some engines, which then round activations.
                    given = [self._add("Cast", *given, to=TensorProto.INT32)]
                names[result] = self._written(item, given)
                if item.op_type == "MatMulInteger" and values[result].ndim == 1:
                    # A vector times a matrix is a matrix of one row to some engines.
                    flat = self._constant(np.array([-1], np.int64))
                    names[result] = self._add("Reshape", names[result], flat)
        self._nodes[-1].output[0] = node.output[0]
        self._known = {key: name for key, name in self._known.items() if name != names[node.output[0]]}
        return self._nodes

    def _add(self, op_type: str, *given: str, **attributes: Any) -> str:
        return self._written(helper.make_node(op_type, [], [], **attributes), given)

    def _written(self, item: onnx.NodeProto, given: Iterable[str]) -> str:
        """The name of a node's result, the node being there already or not."""
        twin = copied(item)
        for name in ("input", "output", "name"):
            twin.ClearField(name)
        twin.input.extend(given)
        key = (twin.SerializeToString(deterministic=True),)
        if key not in self._known:
            self._known[key] = self._fresh()
            twin.output.append(self._known[key])
            self._nodes.append(twin)
        return self._known[key]

    def _constant(self, array: Array) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._fresh()
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def _fresh(self) -> str:
        name = ""
        while not name or name in self._used:
            name, self._count = f"d{np.base_repr(self._count, 36).lower()}", self._count + 1
        self._used.add(name)
        return name


def _instance(node: onnx.NodeProto, function: onnx.FunctionProto) -> Iterable[onnx.NodeProto]:
    """The function's nodes with the values of one call: its inputs, its attributes, its result's name."""
    names = dict(zip([*function.input, *function.output], [*node.input, *node.output], strict=True))
    told = {item.name: item for item in node.attribute}
    for item in function.node:
        twin = copied(item)
        twin.input[:] = [names.get(name, f" {name}") for name in item.input]
        twin.output[:] = [names.get(name, f" {name}") for name in item.output]
        for place, attribute in enumerate(item.attribute):
            if attribute.ref_attr_name:
                twin.attribute[place].CopyFrom(told[attribute.ref_attr_name])
                twin.attribute[place].name = attribute.name
        yield twin


def _values(
    body: list[onnx.NodeProto],
    parts: Mapping[str, onnx.TensorProto],
    imports: Iterable[onnx.OperatorSetIdProto],
) -> dict[str, Array]:
    """What every node of a decode gives, and its components; for bfloat16, which onnxruntime hands to nobody,
    the floats that become it."""
    names = [item.output[0] for item in body]
    rounds = {item.output[0]: item.input[0] for item in body if _gives_bfloat16(item)}
    asked = [rounds.get(name, name) for name in names]
    results = [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(asked)]
    graph = helper.make_graph(body, "decode", [], results, list(parts.values()))
    model = helper.make_model(graph, opset_imports=list(imports), ir_version=8)
    found = Session(serialized(model), name="a decode", optimize=False).run({})
    given = dict(zip(dict.fromkeys(asked), found, strict=True))
    values = {name: given[wanted] for name, wanted in zip(names, asked, strict=True)}
    return {name: held.array(part) for name, part in parts.items()} | values


def _gives_bfloat16(item: onnx.NodeProto) -> bool:
    return item.op_type == "Cast" and any(
        word.name == "to" and word.i == TensorProto.BFLOAT16 for word in item.attribute
    )


def _needed(body: list[onnx.NodeProto], result: str, small: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the result takes where all that is small is known."""
    read, needed = {result}, []
    for item in reversed(body):
        if item.output[0] in read and (item.output[0] not in small or item.output[0] == result):
            needed.append(item)
            read.update(item.input)
    return needed[::-1]
