"""What a graph demands of its inputs: rows of tables that ids look up, sizes of layers, known words.

Values are followed from the inputs through operators that keep them (Cast, Reshape, Add of a constant, ...)
to those that index with them, in subgraphs and local functions too. What cannot be followed is left to
`runtime.trials`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from ...runtime.inputs import InputSpec, spec_of
from ..graph.domain import MAIN_DOMAINS
from ..graph.index import attribute
from ..graph.shapes import without_data

#: Pass their first input's values on, whatever they do to its shape.
_SAME_VALUES = frozenset(
    ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Slice", "Expand", "Tile",
     "Split", "Gather", "GatherElements", "GatherND", "Loop", "Scan", "Relu", "Abs", "Dropout", "CastLike")
)  # fmt: skip
#: Pass the shape of their inputs on.
_SAME_SHAPE = frozenset(
    ("Identity", "Cast", "Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Exp", "Log", "Sqrt", "Clip", "Dropout",
     "BatchNormalization", "InstanceNormalization", "LeakyRelu", "Elu", "Selu", "QuantizeLinear",
     "DequantizeLinear", "Add", "Sub", "Mul", "Div", "Pow")
)  # fmt: skip
#: Place of the indices among the inputs, and of what they index.
_LOOKUPS = {"Gather": (1, 0), "GatherElements": (1, 0), "ScatterElements": (1, 0), "Scatter": (1, 0)}
_RECURRENT = ("LSTM", "GRU", "RNN")
_MAX_STEPS = 4000
_TEXTS = ("keys_strings", "cats_strings", "pool_strings", "string_vocabulary", "classes_strings", "stopwords")


@dataclass
class _Trail:
    """A value that an input reaches: its name, what was added, whether it has its shape still."""

    source: str
    offset: float = 0.0
    shaped: bool = True


@dataclass
class _Found:
    high: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, dict[int, int]] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)


def inputs_of(model: onnx.ModelProto) -> list[InputSpec]:
    """What a model takes, with what its graph demands; inputs that an initializer fills are left to it.

    Raises
    ------
    UnsupportedError
        If an input is of a type that no numpy array holds.
    """
    filled = {tensor.name for tensor in model.graph.initializer}
    filled |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    specs = []
    for value in model.graph.input:
        if value.name in filled:
            continue
        kind, tensor = _described(value.type)
        dims = tensor.shape.dim if tensor is not None else ()
        shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]
        specs.append(spec_of(value.name, shape, kind))
    return refine(specs, model)


def _described(kind: onnx.TypeProto) -> tuple[str, onnx.TypeProto.Tensor | None]:
    """A type as onnxruntime writes it, and the tensor in it."""
    if kind.HasField("sequence_type"):
        inner, tensor = _described(kind.sequence_type.elem_type)
        return f"seq({inner})", tensor
    if kind.HasField("optional_type"):
        inner, tensor = _described(kind.optional_type.elem_type)
        return f"optional({inner})", tensor
    if not kind.HasField("tensor_type"):
        return str(kind.WhichOneof("value")), None
    name = onnx.TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()
    return f"tensor({name})", kind.tensor_type


def refine(specs: Sequence[InputSpec], model: onnx.ModelProto) -> list[InputSpec]:
    """The inputs with what the graph demands of them: `high`, `sizes` and `words`."""
    found = _Found()
    walk = _Walk(_inlined(model), found, [spec.name for spec in specs])
    walk.graph(walk.model.graph, {spec.name: _Trail(spec.name) for spec in specs})
    return [
        replace(
            spec,
            high=found.high.get(spec.name),
            sizes=tuple(sorted(found.sizes.get(spec.name, {}).items())),
            words=tuple(found.words.get(spec.name, ())[:64]),
        )
        for spec in specs
    ]


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its large tensors, functions spelled out where that can be done."""
    slim = without_data(model)
    if not slim.functions:
        return slim
    try:
        inlined: onnx.ModelProto = inliner.inline_local_functions(slim)
        return inlined
    except Exception:  # a help: what cannot be inlined is not followed
        return slim


class _Walk:
    """Follows values through a graph in its order."""

    def __init__(self, model: onnx.ModelProto, found: _Found, inputs: Collection[str]) -> None:
        self.model, self.found, self.steps = model, found, 0
        self.arrays = {tensor.name: tensor for tensor in model.graph.initializer}
        #: Constants, large ones too, which `without_data` declares as inputs, and what is computed from them.
        self.fixed = {*self.arrays, *(value.name for value in model.graph.input)} - set(inputs)
        self.shapes: dict[str, tuple[int | None, ...]] = {}
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except Exception:  # a help: shapes that cannot be inferred are not known
            inferred = model.graph
        for value in [*inferred.value_info, *inferred.input]:
            self.shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else None
                for dim in value.type.tensor_type.shape.dim
            )
        self.shapes |= {name: tuple(tensor.dims) for name, tensor in self.arrays.items()}

    def constant(self, name: str) -> np.ndarray | None:
        """A small initializer or Constant as an array."""
        tensor = self.arrays.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def graph(self, graph: onnx.GraphProto, trails: dict[str, _Trail]) -> None:
        for node in graph.node:
            self.steps += 1
            if self.steps > _MAX_STEPS:
                return
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self.arrays[node.output[0]] = node.attribute[0].t
                self.shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
            for item in node.attribute:
                for inner in [*item.graphs, *([item.g] if item.HasField("g") else [])]:
                    self.shapes |= {t.name: tuple(t.dims) for t in inner.initializer}
                    self.graph(inner, dict(trails))
            if node.input and self.fixed.issuperset(node.input):
                self.fixed.update(node.output)
            for place, name in enumerate(node.input):
                if name in trails:
                    self.demand(node, place, trails[name])
            self.passed_on(node, trails)

    def demand(self, node: onnx.NodeProto, place: int, trail: _Trail) -> None:
        """What the node asks of a value that comes from an input."""
        table = _LOOKUPS.get(node.op_type) if node.domain in MAIN_DOMAINS else None
        if table and place == table[0]:
            shape = self.shapes.get(node.input[table[1]], ())
            axis = attribute(node, "axis", 0)
            if isinstance(axis, int) and -len(shape) <= axis < len(shape):
                self.limit(trail, shape[axis])
        elif node.op_type in ("GatherND", "ScatterND") and place == 1:
            known = [size for size in self.shapes.get(node.input[0], ()) if size is not None]
            self.limit(trail, min(known, default=None))
        elif node.op_type == "OneHot" and place == 0:
            depth = self.constant(node.input[1])
            self.limit(trail, None if depth is None or not depth.size else int(depth.reshape(-1)[0]))
        elif node.op_type == "EmbedLayerNormalization" and place in (0, 1, 7):
            shape = self.shapes.get(node.input[{0: 2, 1: 4, 7: 3}[place]], ())
            self.limit(trail, shape[0] if shape else None)
        else:
            self.layer(node, place, trail)
        for item in node.attribute:
            if item.name in _TEXTS:
                words = [text.decode(errors="replace") for text in item.strings]
                self.found.words.setdefault(trail.source, []).extend(words)

    def limit(self, trail: _Trail, rows: int | None) -> None:
        """Indices of an input stay below the rows of every table they look up."""
        if rows is None or trail.offset != int(trail.offset):
            return
        high = max(1, rows - max(0, int(trail.offset)))
        self.found.high[trail.source] = min(high, self.found.high.get(trail.source, high))

    def layer(self, node: onnx.NodeProto, place: int, trail: _Trail) -> None:
        """Sizes that a layer with a known weight expects of an input that still has its shape."""
        if not trail.shaped or len(node.input) < 2:
            return
        weight = self.shapes.get(node.input[1], ())
        if place == 0 and node.op_type == "Conv" and len(weight) > 2 and weight[1]:
            group = attribute(node, "group", 1)
            self.size(trail, 1, int(weight[1]) * (group if isinstance(group, int) else 1))
        elif place == 0 and node.op_type == "Gemm" and len(weight) == 2:
            self.size(trail, 1, weight[1] if attribute(node, "transB", 0) else weight[0])
        elif place == 0 and node.op_type == "MatMul" and len(weight) >= 2 and node.input[1] in self.fixed:
            self.size(trail, -1, weight[-2])
        elif node.op_type in _RECURRENT and len(weight) == 3:
            hidden = attribute(node, "hidden_size")
            if place == 0:
                self.size(trail, 2, weight[2])
            elif place in (5, 6):
                self.size(trail, 0, weight[0])
                self.size(trail, 2, hidden if isinstance(hidden, int) else None)
        elif place == 0 and node.op_type == "BatchNormalization" and weight:
            self.size(trail, 1, weight[0])
        elif node.op_type in ("LayerNormalization", "Add", "Mul", "Sub", "Div"):
            other = self.shapes.get(node.input[1 if place == 0 else 0], ())
            constant = node.input[1 if place == 0 else 0] in self.arrays
            if constant and other and other[-1] and other[-1] > 1:
                self.size(trail, -1, other[-1])

    def size(self, trail: _Trail, axis: int, size: int | None) -> None:
        rank = len(self.shapes.get(trail.source, ()))
        axis = axis + rank if axis < 0 else axis
        if size and 0 <= axis < rank:
            self.found.sizes.setdefault(trail.source, {}).setdefault(axis, int(size))

    def passed_on(self, node: onnx.NodeProto, trails: dict[str, _Trail]) -> None:
        """The node's outputs as far as they still are an input's values or shape."""
        sources = [trails[name] for name in node.input if name in trails]
        if not sources or node.domain not in MAIN_DOMAINS:
            return
        trail, first = sources[0], bool(node.input) and node.input[0] in trails
        if node.op_type in ("Add", "Sub") and len(sources) == 1 and len(node.input) == 2:
            other = self.constant(node.input[1 if first else 0])
            if other is not None and other.size and other.dtype.kind in "iuf":
                step = float(other.max()) if node.op_type == "Add" else -float(other.min())
                if node.op_type == "Add" or first:
                    for name in node.output:
                        trails[name] = replace(trail, offset=trail.offset + step)
                return
        if node.op_type == "Concat":
            for name in node.output:
                trails[name] = replace(trail, shaped=False)
        elif first and node.op_type in _SAME_VALUES | _SAME_SHAPE:
            shaped = trail.shaped and node.op_type in _SAME_SHAPE
            for name in node.output:
                if name:
                    trails[name] = replace(trail, shaped=shaped)
