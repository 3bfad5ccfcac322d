"""Look-ups over one ONNX graph: who makes and reads each value, and which values are constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import onnx

from ...formats.base import Array
from ..files import held, proto_size
from .evaluate import MAX_NODES, Evaluator, computable
from .shapes import concrete_shapes, inferred
from .walk import attribute, attributes, captured, fresh, value_names

__all__ = ["GraphIndex", "attribute", "attributes", "concrete_shapes"]


#: Arrays above this are read from their tensor each time: keeping them would hold every weight twice.
LARGE = 1 << 22


class GraphIndex:
    """One graph: its initializers, who makes and who reads each value, and what is constant.

    Attributes
    ----------
    fixed
        Values that no input of the graph reaches: initializers, and what is computed from them alone.
    pinned
        Values that something other than a node of this graph reads: outputs, and what subgraphs capture.
    overridable
        Initializers that are graph inputs too: a caller may give another value.
    negative_zeros, snapped
        What was settled about its weights: how many -0.0 each had, and which were a rounding off.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        # Protobuf hands out a new wrapper at each access: these are held, so their ids stay true.
        self.nodes = list(self.graph.node)
        self.position = {id(node): place for place, node in enumerate(self.nodes)}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.makers: dict[str, onnx.NodeProto] = {}
        self.pinned = {value.name for value in self.graph.output}
        self.overridable = {value.name for value in self.graph.input} & set(self.initializers)
        self.fixed = set(self.initializers) - self.overridable
        self.negative_zeros: dict[str, int] = {}
        self.snapped: set[str] = set()
        self._used = value_names(self.graph)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
            for name in node.output:
                self.makers[name] = node
            self.pinned.update(captured(node))
            if computable(node) and all(name in self.fixed or not name for name in node.input):
                self.fixed.update(name for name in node.output if name)
        known = inferred(model)
        self.shapes, self.types = known.shapes, known.types
        self._evaluator = Evaluator(list(model.opset_import), model.ir_version)
        self._arrays: dict[str, Array] = {}

    def constant(self, name: str) -> Array | None:
        """A value that is constant as an array; None where it is not, or takes too much to compute."""
        if name not in self.fixed or not name:
            return None
        if name not in self._arrays:
            if name in self.initializers:
                tensor = self.initializers[name]
                array = held.array(tensor)
                if held.is_held(tensor) or array.nbytes > LARGE:
                    return array
                self._arrays[name] = array
            else:
                computed = self._computed(name)
                if computed is None:
                    self.fixed.discard(name)
                    return None
                self._arrays[name] = computed
        return self._arrays[name]

    def is_computed(self, name: str) -> bool:
        """Whether a constant is computed by nodes of the graph."""
        return name in self.fixed and name not in self.initializers

    def settle(self, name: str, array: Array) -> None:
        """Take another array for a constant from now on: the same numbers, or nearly."""
        self._arrays[name] = array

    def fresh(self, name: str) -> str:
        """`name`, or one like it that no value of the graph has yet; taken from now on."""
        return fresh(name, self._used)

    def free_names(self) -> None:
        """Give back the names that `fresh` has handed out."""
        self._used = value_names(self.graph)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads a value that nothing else needs."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.pinned else None

    def cone(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that a constant is computed by, in graph order; none for an initializer."""
        found: dict[int, onnx.NodeProto] = {}
        todo = [name]
        while todo and len(found) <= MAX_NODES:
            node = self.makers.get(todo.pop())
            if node is not None and id(node) not in found:
                found[id(node)] = node
                todo += node.input
        return sorted(found.values(), key=lambda node: self.position[id(node)])

    def sources(self, name: str) -> list[str]:
        """The initializers that a constant is computed from; itself if it is one."""
        if name in self.initializers:
            return [name]
        read = (entry for node in self.cone(name) for entry in node.input)
        return [entry for entry in dict.fromkeys(read) if entry in self.initializers]

    def freed(self, name: str, heads: Sequence[onnx.NodeProto]) -> list[str]:
        """The initializers that nobody needs any more once nodes `heads` do without the constant `name`."""
        behind = [self.makers.get(node.input[1]) for node in heads]  # what turns or dequantizes it
        behind += [self.makers.get(node.input[0]) for node in behind if node and node.op_type == "Transpose"]
        gone = {id(node) for node in [*heads, *behind]}
        inputs = {node.input[0] for node in heads}
        steps = self.cone(name)

        def needless(entry: str) -> bool:
            read = entry in self.pinned or entry in inputs
            return not read and all(id(reader) in gone for reader in self.readers[entry])

        for step in reversed(steps):
            if all(needless(entry) for entry in step.output):
                gone.add(id(step))
        return [entry for entry in self.sources(name) if entry in self.fixed and needless(entry)]

    def _computed(self, name: str) -> Array | None:
        steps = self.cone(name)
        if len(steps) > MAX_NODES:
            return None
        sources = self.sources(name)
        values: dict[str, onnx.TensorProto | Array] = {entry: self.initializers[entry] for entry in sources}
        base = sum(proto_size.tensor_bytes(self.initializers[entry]) for entry in sources)
        last = {entry: place for place, step in enumerate(steps) for entry in step.input}
        for place, step in enumerate(steps):
            results = self._evaluator.run(step, values, base)
            if results is None:
                return None
            values |= results
            for entry in step.input:
                if last[entry] == place and entry != name:
                    values.pop(entry, None)
        result = values.get(name)
        return None if result is None or isinstance(result, onnx.TensorProto) else result
