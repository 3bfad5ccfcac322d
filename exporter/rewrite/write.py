"""The packed graph: planned layers replaced by packed operators, everything else as it was."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ... import formats
from ...formats import Format, Packed
from ...formats.base import Array
from ..files import held, proto_size
from ..graph.domain import DOMAIN, VERSION, main_opset
from ..graph.hoist import MARK, moved, sink
from ..graph.index import GraphIndex
from ..graph.site import Fused
from ..graph.walk import all_graphs, copied, fresh
from ..plan.tensor_plan import TensorPlan
from . import functions, quantized_nodes, weight_functions
from .functions import Known
from .layout import alive, lay_out, reads
from .op_spec import POOL, OpSpec
from .sign_bits import signs
from .weight_functions import Twin, twin_of


def rewrite(
    index: GraphIndex,
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    packed: Mapping[str, Packed],
    sparse: Mapping[str, onnx.SparseTensorProto] | None = None,
) -> onnx.ModelProto:
    """A new model in which every planned layer is one packed node.

    Parameters
    ----------
    index
        Index over `model`, which is left as it is.
    packed
        Weight name to packed tensor.
    sparse
        Initializers that the source holds sparse: those that stay as they are stay so.
    """
    layout = lay_out(index, plans)
    plan_of = {plan.name: plan for plan in plans if plan.runs_packed}
    writer = _Writer(model, index, layout.constants)
    expanded = {plan.name: plan for plan in plans if plan.expanded}
    written = [node for name, plan in expanded.items() for node in writer.weight(plan, packed[name])]
    for item in layout.nodes:
        if isinstance(item, Fused):
            written += writer.nodes(item, plan_of[item.weight], packed[item.weight])
        else:
            written.append(without_results(item, expanded, index))
    if layout.pools:
        writer.functions[POOL] = functions.pool(writer.opset)
    return writer.finish(written, sparse or {})


#: Initializers from which scales, zero points and biases may be taken have at most this many bytes.
_SMALL = 1 << 17


def _key(array: Array) -> bytes:
    return f"{array.dtype}{array.shape}".encode() + array.tobytes()


class _Writer:
    """Collects what the packed nodes need: initializers, functions, imports."""

    def __init__(self, model: onnx.ModelProto, index: GraphIndex, constants: Mapping[str, Array]) -> None:
        self.source = model
        self._fresh = index.fresh
        self.opset = main_opset(model.opset_import)
        self.initializers = {name: numpy_helper.from_array(array, name) for name, array in constants.items()}
        self.functions: dict[str, onnx.FunctionProto] = {}
        self._operators: dict[str, tuple[OpSpec, Known]] = {}
        self._weights: dict[str, tuple[Format, Twin, Known]] = {}
        self._vectors: dict[bytes, str] = {}
        self._held: dict[bytes, str] = {}
        self._parts: dict[tuple[str, str], str] = {}
        self._signs: dict[str, Packed] = {}
        self._node_names = {node.name for node in model.graph.node}
        self._made: set[str] = set()

    def nodes(self, layer: Fused, plan: TensorPlan, packed: Packed) -> list[onnx.NodeProto]:
        """The packed node of a layer, and what it needs behind it; its components become initializers."""
        fmt = formats.get(plan.format)
        alpha = packed.components[fmt.scale_component].astype(np.float64) if fmt.scale_component else 1.0
        if layer.binary_input:
            packed = self._signs_of(layer.weight, packed)
            fmt = formats.get(packed.format)
        spec = OpSpec.of(layer, fmt)
        components = [self._component(layer, part, packed) for part in fmt.operator_inputs]
        title = layer.site.node.name or fresh(layer.site.name, self._node_names)
        if layer.quantized is not None:
            self._operator(spec, functions.NOTHING)
            return quantized_nodes.nodes(layer, spec, components, title, self._held_or_new, self._fresh)
        factor = plan.encoded.scale if plan.encoded and plan.encoded.scale is not None else 1.0
        scales = layer.scale * alpha * factor
        known = Known(bool((scales == 1).all()), layer.site.op_type == "Gemm", fmt.operator_parts(packed))
        self._operator(spec, known)
        scale = self._vector(scales, f"{layer.weight}.scale")
        bias = self._vector(layer.bias, f"{layer.weight}.bias")
        inputs = [layer.x, *components, scale, bias, *([layer.residual] if layer.residual else [])]
        attributes: dict[str, Any] = {**layer.attributes, **layer.parameters}
        return [helper.make_node(spec.name, inputs, [layer.output], name=title, domain=DOMAIN, **attributes)]

    def _operator(self, spec: OpSpec, known: Known) -> None:
        """Count one more node of an operator, of which so much is known."""
        before = self._operators.get(spec.name, (spec, known))[1]
        self._operators[spec.name] = spec, before & known

    def _signs_of(self, weight: str, packed: Packed) -> Packed:
        if weight not in self._signs:
            self._signs[weight] = signs(packed)
        return self._signs[weight]

    def weight(self, plan: TensorPlan, packed: Packed) -> list[onnx.NodeProto]:
        """The nodes that give an expanded weight under the name it has."""
        fmt, twin = formats.get(plan.format), twin_of(packed.dtype)
        name, known = weight_functions.operator_name(fmt, twin), Known(parts=fmt.operator_parts(packed))
        self._weights[name] = fmt, twin, self._weights.get(name, (fmt, twin, known))[2] & known
        parts = weight_functions.parts(fmt)
        inputs = [self.constant(packed.components[part], f"{plan.name}.{part}") for part in parts]
        self._made.add(plan.name)
        title = fresh(plan.name, self._node_names)
        attributes: dict[str, Any] = {"shape": list(packed.shape)}
        if twin.to:
            attributes["to"] = twin.to
        result = self._fresh(f"{plan.name}.turned") if plan.turned else plan.name
        nodes = [helper.make_node(name, inputs, [result], name=title, domain=DOMAIN, **attributes)]
        if plan.turned:
            nodes.append(helper.make_node("Transpose", [result], [plan.name], perm=[1, 0]))
        return nodes

    def _component(self, layer: Fused, part: str, packed: Packed) -> str:
        key = (layer.weight, part)
        if key not in self._parts:
            self._parts[key] = self.constant(packed.components[part], f"{layer.weight}.{part}")
        return self._parts[key]

    def constant(self, array: Array, name: str) -> str:
        """An initializer of that array; returns its name."""
        name = self._fresh(name)
        self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def _vector(self, vector: NDArray[np.float64], name: str) -> str:
        """A float32 initializer; equal vectors (all ones, all zeros) are stored once."""
        return self._small(vector.astype(np.float32), name)

    def _small(self, array: Array, name: str) -> str:
        """An initializer of that array, stored once for all that are equal."""
        key = _key(array)
        if key not in self._vectors:
            self._vectors[key] = self.constant(array, name)
        return self._vectors[key]

    def _held_or_new(self, array: Array, name: str) -> str:
        """An initializer of that array: the source's own, where it has one that nobody may override."""
        if not self._held:
            inputs = {value.name for value in self.source.graph.input}
            for tensor in self.source.graph.initializer:
                if proto_size.tensor_bytes(tensor) < _SMALL and tensor.name not in inputs:
                    self._held.setdefault(_key(held.array(tensor)), tensor.name)
        return self._held.get(_key(array)) or self._small(array, name)

    def _own(self) -> set[tuple[str, str]]:
        return {(DOMAIN, name) for name in self.functions}

    def finish(
        self, nodes: Sequence[onnx.NodeProto], sparse: Mapping[str, onnx.SparseTensorProto]
    ) -> onnx.ModelProto:
        """The model of these nodes, without the initializers nobody reads any more."""
        for name, (spec, known) in self._operators.items():
            self.functions[name] = functions.build(spec, self.opset, known)
        for name, (fmt, twin, known) in self._weights.items():
            self.functions[name] = weight_functions.build(fmt, twin, self.opset, known.parts)
        source = self.source
        outputs = {value.name for value in source.graph.output}
        kept = alive(nodes, outputs)
        needed = {name for node in kept for name in reads(node)} | outputs
        needed |= {value.name for value in source.graph.input}  # of an initializer: a caller may override it
        model = onnx.ModelProto()
        model.ir_version = max(source.ir_version, 8)
        model.producer_name, model.producer_version = "sparse-export", "1"
        model.opset_import.extend(source.opset_import)
        if self.functions and all(entry.domain != DOMAIN for entry in source.opset_import):
            model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
        model.metadata_props.extend(source.metadata_props)
        model.functions.extend(f for f in source.functions if (f.domain, f.name) not in self._own())
        model.functions.extend(self.functions.values())
        graph = model.graph
        graph.name = source.graph.name
        graph.node.extend(kept)
        graph.input.extend(source.graph.input)
        graph.output.extend(source.graph.output)
        for tensor in source.graph.initializer:
            if tensor.name not in needed or tensor.name in self._made:
                continue
            if tensor.name in sparse and sparse[tensor.name].ByteSize() < proto_size.tensor_bytes(tensor):
                graph.sparse_initializer.append(sparse[tensor.name])
            else:
                graph.initializer.append(tensor)
        graph.initializer.extend(self.initializers.values())
        sink(graph, moved(source.graph))
        for tensor in (tensor for inner in all_graphs(graph) for tensor in inner.initializer):
            if tensor.doc_string == MARK:
                tensor.ClearField("doc_string")
        return model


def without_results(node: onnx.NodeProto, names: Collection[str], index: GraphIndex) -> onnx.NodeProto:
    """The node, its results of these names under other ones: something else gives them now."""
    if not any(name in names for name in node.output):
        return node
    twin = copied(node)
    for place, name in enumerate(twin.output):
        if name in names:
            twin.output[place] = index.fresh(name)
    return twin
