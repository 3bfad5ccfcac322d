"""The one reader of packed files: every weight that a node of ours holds, as it was packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from ... import formats
from ...errors import InputError
from ...formats import Format, Packed
from ...formats.base import Array
from ..files import held
from ..graph.domain import DOMAIN
from ..graph.walk import all_nodes, attribute, attributes
from . import quantized_functions, weight_functions
from .layer_kinds import prefix_of
from .op_spec import PACKED, POOL


@dataclass(frozen=True)
class PackedNode:
    """A node of ours, and the weight in it.

    Attributes
    ----------
    name
        Of the weight, as in the plan.
    run
        "packed" or "expanded", as in the plan.
    parts
        Names of the initializers by component.
    shape
        Of the weight: its own where it is expanded, else outputs first.
    """

    name: str
    node: onnx.NodeProto
    fmt: Format
    run: str
    parts: Mapping[str, str]
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type that its readers see."""
        expanded = self.run == "expanded"
        if self.quantized:
            return np.dtype(np.int8)
        return weight_functions.read_twin(self.node).dtype if expanded else np.dtype(np.float32)

    @property
    def quantized(self) -> bool:
        """Whether it computes with integers."""
        return self.run == "packed" and is_quantized(self.node)


def is_quantized(node: onnx.NodeProto) -> bool:
    """Whether a node of ours computes with integers."""
    return node.domain == DOMAIN and ("QConv" in node.op_type or "QMatMul" in node.op_type)


def find(graph: onnx.GraphProto) -> list[PackedNode]:
    """Every node of ours that has a weight, in graph order, those of nested graphs too.

    Raises
    ------
    InputError
        If a node of our domain has no known format.
    """
    prefixes = {fmt.operator: fmt for fmt in formats.all_formats() if fmt.operator}
    twins = {fmt.sign_operator: fmt for fmt in formats.all_formats() if fmt.sign_operator}
    packed = prefixes | twins | {f"{twin}{PACKED}": fmt for twin, fmt in twins.items()}
    found = []
    for node in all_nodes(graph):
        if node.domain != DOMAIN or node.op_type == POOL:
            continue
        if weight_functions.is_weight(node):
            fmt = prefixes.get(weight_functions.prefix_of(node.op_type))
            names, inputs = weight_functions.parts(fmt) if fmt else [], list(node.input)
        else:
            fmt = packed.get(prefix_of(node.op_type))
            first = 1 + len(quantized_functions.INPUTS_X) * is_quantized(node)
            names, inputs = list(fmt.operator_inputs) if fmt else [], list(node.input[first:])
        if fmt is None:
            raise InputError(f"node '{node.name}': operator {node.op_type} is not known to this version")
        if len(inputs) < len(names):
            raise InputError(f"node '{node.name}': packed inputs are missing")
        parts = dict(zip(names, inputs, strict=False))
        expanded = weight_functions.is_weight(node)
        name = node.output[0] if expanded else inputs[0].rpartition(".")[0]
        shape = attribute(node, "shape", [])
        assert isinstance(shape, list)
        run = "expanded" if expanded else "packed"
        found.append(PackedNode(name, node, fmt, run, parts, tuple(int(dim) for dim in shape)))
    return found


def components(one: PackedNode, initializers: Mapping[str, onnx.TensorProto]) -> dict[str, Array]:
    """The component arrays of a node, as they were packed.

    Raises
    ------
    InputError
        If one of them is not an initializer.
    """
    missing = [name for name in one.parts.values() if name not in initializers]
    if missing:
        raise InputError(f"node '{one.node.name}': packed input {missing} is not an initializer")
    return {part: held.array(initializers[name]) for part, name in one.parts.items()}


def packed_tensor(one: PackedNode, arrays: Mapping[str, Array]) -> Packed:
    """What a node holds as a tensor of its format; not checked yet."""
    if one.run == "packed":
        return one.fmt.from_operator(arrays, attributes(one.node))
    return Packed(one.fmt.name, one.fmt.version, one.shape, one.dtype, dict(arrays))
