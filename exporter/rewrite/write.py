"""The packed graph: planned layers replaced by packed operators, everything else as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ... import formats
from ...formats import Packed
from ...formats.base import Array
from ..graph import find as match
from ..graph.domain import DOMAIN, VERSION, main_opset
from ..graph.index import GraphIndex, Layer
from ..plan.plan import TensorPlan
from . import functions, sign_chains
from .sign_bits import channels_last
from .sign_rules import take_signs

#: A node, or a layer that will be one.
Node = onnx.NodeProto | Layer


def rewrite(
    index: GraphIndex, model: onnx.ModelProto, plans: Sequence[TensorPlan], packed: dict[str, Packed]
) -> onnx.ModelProto:
    """A new model in which every planned layer is one packed node.

    Parameters
    ----------
    index
        Index over `model`, which is left as it is.
    packed
        Weight name to packed tensor.
    """
    layers = [layer for plan in plans if plan.packed for layer in plan.layers]
    layers.sort(key=lambda layer: index.position[id(layer.nodes[0])])
    taken: set[int] = set()
    plan_of = {plan.name: plan for plan in plans}
    shapers: dict[int, onnx.NodeProto] = {}
    for plan in plans:
        if plan.packed and formats.get(plan.format).operator in functions.BINARY_INPUT:
            shapers |= take_signs(index, plan.layers)
            for layer in plan.layers:
                layer.zero_scale = False
    signed = {layer.x for layer in layers if layer.binary_input}
    for layer in layers:
        match.fold(index, layer, taken, signed)
    last = {id(layer.nodes[-1]): layer for layer in layers}
    nodes: list[Node] = []
    for node in index.nodes:
        if id(node) in shapers:
            nodes.append(shapers[id(node)])
        if id(node) in last or id(node) not in taken:
            nodes.append(last.get(id(node), node))
    writer = _Writer(model)
    outputs = {value.name for value in model.graph.output}
    pools = sign_chains.link(index, _drop_dead(nodes, outputs), outputs, writer.constant)
    written = []
    for item in nodes:
        if isinstance(item, Layer):
            written.append(writer.node(item, plan_of[item.weight], packed[item.weight]))
        else:
            written.append(pools.get(id(item), item))
    if pools:
        writer.functions[functions.POOL] = functions.pool(writer.opset)
    return writer.finish(written)


class _Writer:
    """Collects what the packed nodes need: initializers, functions, imports."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.source = model
        self.opset = main_opset(model.opset_import)
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.functions: dict[str, onnx.FunctionProto] = {}
        self._vectors: dict[bytes, str] = {}
        self._used = {tensor.name for tensor in model.graph.initializer}
        self._used |= {name for node in model.graph.node for name in [*node.input, *node.output]}

    def node(self, layer: Layer, plan: TensorPlan, packed: Packed) -> onnx.NodeProto:
        """The packed node of a layer; its components become initializers."""
        fmt = formats.get(plan.format)
        options = {
            "residual": layer.residual is not None,
            "activation": layer.activation,
            "binary_input": layer.binary_input,
            "packed_input": layer.packed_input,
        }
        name = functions.operator_name(fmt, layer.kind, **options)  # type: ignore[arg-type]
        if name not in self.functions:
            self.functions[name] = functions.build(fmt, layer.kind, opset=self.opset, **options)  # type: ignore[arg-type]
        components = [self._component(layer, part, packed) for part in fmt.operator_inputs]
        alpha = packed.components[fmt.scale_component].astype(np.float64) if fmt.scale_component else 1.0
        factor = plan.encoded.scale if plan.encoded and plan.encoded.scale is not None else 1.0
        scale = self._vector(layer.scale * alpha * factor, f"{layer.weight}.scale")
        bias = self._vector(layer.bias, f"{layer.weight}.bias")
        inputs = [layer.x, *components, scale, bias, *([layer.residual] if layer.residual else [])]
        attributes: dict[str, Any] = dict(layer.attributes)
        if layer.bounds is not None:
            attributes["min"], attributes["max"] = layer.bounds
        return helper.make_node(name, inputs, [layer.output], name=layer.name, domain=DOMAIN, **attributes)

    def _component(self, layer: Layer, part: str, packed: Packed) -> str:
        name = f"{layer.weight}.{part}"
        if name not in self.initializers:
            assert name not in self._used, name
            array = packed.components[part]
            if layer.binary_input:
                array = channels_last(array, packed.shape)
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def constant(self, array: Array, name: str) -> str:
        """An initializer of that array; returns its name."""
        while name in self._used or name in self.initializers:
            name += "_"
        self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def _vector(self, vector: NDArray[np.float64], name: str) -> str:
        """A float32 initializer; equal vectors (all ones, all zeros) are stored once."""
        single = vector.astype(np.float32)
        known = self._vectors.get(single.tobytes())
        if known is not None:
            return known
        self._vectors[single.tobytes()] = self.constant(single, name)
        return self._vectors[single.tobytes()]

    def finish(self, nodes: Sequence[Node]) -> onnx.ModelProto:
        """The model of these nodes, without the initializers nobody reads any more."""
        source = self.source
        outputs = {value.name for value in source.graph.output}
        alive = _drop_dead(nodes, outputs)
        needed = {name for node in alive for name in _reads(node)} | outputs
        model = onnx.ModelProto()
        model.ir_version = max(source.ir_version, 8)
        model.producer_name, model.producer_version = "sparse-export", "1"
        model.opset_import.extend(source.opset_import)
        if self.functions:
            model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
        model.metadata_props.extend(source.metadata_props)
        model.functions.extend(source.functions)
        model.functions.extend(self.functions.values())
        graph = model.graph
        graph.name = source.graph.name
        graph.node.extend(node for node in alive if not isinstance(node, Layer))
        graph.input.extend(
            value for value in source.graph.input if value.name in needed or not _is_weight(source, value)
        )
        graph.output.extend(source.graph.output)
        graph.initializer.extend(tensor for tensor in source.graph.initializer if tensor.name in needed)
        graph.initializer.extend(self.initializers.values())
        return model


def _is_weight(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> bool:
    return any(tensor.name == value.name for tensor in model.graph.initializer)


def _drop_dead(nodes: Sequence[Node], outputs: set[str]) -> list[Node]:
    """Without the nodes (a weight's Transpose, a sign) whose only readers were layers that are packed now."""
    read = set(outputs)
    alive = []
    for node in reversed(nodes):
        if read & set([node.output] if isinstance(node, Layer) else node.output):
            alive.append(node)
            read.update(_reads(node))
    return alive[::-1]


def _reads(node: Node) -> list[str]:
    if isinstance(node, Layer):
        return node.reads
    names = list(node.input)
    for item in node.attribute:
        for graph in [*item.graphs, *([item.g] if item.HasField("g") else [])]:
            names += [name for inner in graph.node for name in _reads(inner)]
            names += [value.name for value in graph.output]
    return names
