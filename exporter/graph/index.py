"""Which nodes of an ONNX graph are layers that a packed operator could replace, and what folds into them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ...formats.base import Array


@dataclass
class Layer:
    """One Conv, Gemm or MatMul with a constant weight, and the neighbours that fold into its operator.

    Attributes
    ----------
    kind
        "Conv" or "MatMul": which operator family replaces it.
    transposed
        Whether the initializer is [inputs, outputs], so its transpose is what gets packed.
    scale, bias
        float64 [K]: per-output factors and offsets with BatchNorm, Gemm's alpha and beta folded in.
    nodes
        The nodes replaced, in graph order; the last one's place is taken.
    obstacle
        Why no packed operator fits, or None.
    activation
        "", "Relu" or "Clip"; "Sign" where the operator gives the packed signs of its result.
    binary_input
        Whether the operator takes the sign of its input (+1 for >= 0, else -1) before it multiplies.
    packed_input
        Whether that input is packed signs already.
    zero_scale
        Whether the operator takes a scale of 0; if not, a BatchNorm with a gamma of 0 stays a node.
    """

    name: str
    kind: str
    op_type: str
    weight: str
    transposed: bool
    x: str
    output: str
    nodes: list[onnx.NodeProto]
    scale: NDArray[np.float64]
    bias: NDArray[np.float64]
    residual: str | None = None
    activation: str = ""
    bounds: tuple[float, float] | None = None
    obstacle: str | None = None
    attributes: dict[str, object] = field(default_factory=dict)
    binary_input: bool = False
    packed_input: bool = False
    zero_scale: bool = True

    @property
    def reads(self) -> list[str]:
        """The computed values that its operator reads."""
        return [self.x, *([self.residual] if self.residual else [])]


class GraphIndex:
    """Look-ups over one graph: initializers, who makes and who reads each value."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        # Protobuf hands out a new wrapper at each access: these are held, so their ids stay true.
        self.nodes = list(self.graph.node)
        self.position = {id(node): place for place, node in enumerate(self.nodes)}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.makers: dict[str, onnx.NodeProto] = {}
        self.pinned = {value.name for value in self.graph.output}
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
            for name in node.output:
                self.makers[name] = node
            for name in _captured(node):
                self.pinned.add(name)
        self.overridable = {value.name for value in self.graph.input} & set(self.initializers)
        self.shapes = _shapes(model)
        self._arrays: dict[str, Array] = {}

    def constant(self, name: str) -> Array | None:
        """The initializer of that name as an array, or None where the value is not constant."""
        if name not in self.initializers or name in self.overridable:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.initializers[name])
        return self._arrays[name]

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads a value that nothing else needs."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.pinned else None


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Value of a node's attribute, or the default where it is absent."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """All attributes of a node by name."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the node's subgraphs read, their own included: enough to keep hands off them."""
    for item in node.attribute:
        for graph in [*item.graphs, *([item.g] if item.HasField("g") else [])]:
            for inner in graph.node:
                yield from inner.input
                yield from _captured(inner)
            yield from (value.name for value in graph.output)


def concrete_shapes(
    model: onnx.ModelProto, examples: Sequence[tuple[int, ...]] | None
) -> dict[str, tuple[object, ...]]:
    """Inferred shapes of one run: the examples fill in what the graph's inputs leave open, 1 the rest."""
    slim = _without_data(model)
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in slim.graph.input if value.name not in names]
    for place, value in enumerate(inputs):
        example = examples[place] if examples and place < len(examples) else ()
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_value = example[axis] if axis < len(example) else 1
    del slim.graph.value_info[:]
    for value in slim.graph.output:
        value.type.tensor_type.ClearField("shape")
    return _shapes(slim)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[object, ...]]:
    """Inferred shapes; a symbolic dimension is its name, an unknown one a fresh object equal to no other."""
    try:
        slim = _without_data(model)
        inferred = onnx.shape_inference.infer_shapes(slim, data_prop=True)
    except Exception:  # shape inference is a help: without it nothing that needs shapes is fused
        inferred = model
    shapes: dict[str, tuple[object, ...]] = {}
    for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]:
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or object()
                for dim in value.type.tensor_type.shape.dim
            )
    return shapes


def _without_data(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every large initializer declared as an input: shapes without the bytes."""
    slim = onnx.ModelProto()
    slim.ir_version = model.ir_version
    slim.opset_import.extend(model.opset_import)
    slim.functions.extend(model.functions)
    graph = slim.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    inputs = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= 64 and tensor.data_location != onnx.TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return slim
