"""Where the bytes of an ONNX file go: layer by layer, and summed by kind."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats.base import as_bits
from .onnx_files import read_model

if TYPE_CHECKING:
    from ..exporter.rewrite.packed_nodes import PackedNode

#: Above this, layers are listed without their densities: reading the weights would take too long.
MAX_READ_BYTES = 1 << 30
#: Operators through which a stored weight reaches the layer that uses it.
_CARRIERS = {"DequantizeLinear", "Cast", "Reshape", "Transpose", "Identity", "QuantizeLinear"}
#: Components of a packed tensor that say where its weights are; the others hold the weights.
_POSITIONS = {"indptr", "gaps", "mask", "places"}


@dataclass
class WeightNode:
    """One node that holds weights.

    Attributes
    ----------
    name
        Of the weight, as in the export report and the checkpoint.
    nnz
        Entries with any bit set, or None where they were not counted.
    bytes
        Stored bytes of the weights with their indices; `index_bytes` of them are indices.
    dense_bytes
        What the weights take dense; of layers that are not ours, as float32.
    other_bytes
        Stored bytes of everything else that only this node reads: bias, scales, zero points.
    """

    name: str
    op: str
    format: str
    shape: list[int]
    size: int
    nnz: int | None
    bytes: int
    index_bytes: int
    dense_bytes: int
    other_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON form, with the density and room for the plan's reason."""
        density = self.nnz / self.size if self.nnz is not None and self.size else None
        return {**asdict(self), "density": density, "reason": None}


def stored_bytes(tensor: Any) -> int:
    """Bytes of a tensor by its type and shape; texts count as references."""
    import onnx

    from ..exporter.files.screen.sizes import nbytes

    if tensor.data_type == onnx.TensorProto.STRING:
        return 8 * int(math.prod(tensor.dims))
    return nbytes(tensor, tensor.name)


def _nonzeros(tensor: Any) -> int:
    """Entries of a tensor with any bit set."""
    import onnx

    array = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor))
    if array.dtype.itemsize in (1, 2, 4, 8):
        array = array.view(f"u{array.dtype.itemsize}")
    return int(np.count_nonzero(array))


class _Reader:
    """The layers of one graph."""

    def __init__(self, graph: Any, counted: bool) -> None:
        self.tensors = {t.name: t for t in graph.initializer}
        self.sparse = {t.values.name: t for t in graph.sparse_initializer}
        self.readers: dict[str, Any] = {}
        self.nodes = list(graph.node)  # held: a graph hands out a new wrapper at each access
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, node)
        self.graph, self.counted = graph, counted

    def layers(self) -> list[WeightNode]:
        """Every node that ends up with a weight of two or more dimensions, in graph order."""
        from ..exporter.rewrite import packed_nodes

        packed = {one.node.output[0]: one for one in packed_nodes.find(self.graph)}
        owners: dict[int, tuple[Any, list[str]]] = {}
        for name in [*self.tensors, *self.sparse]:
            node = self._owner(name)
            if node is not None:
                owners.setdefault(id(node), (node, []))[1].append(name)
        found: list[WeightNode | None] = []
        for node in self.nodes:
            owned = owners.get(id(node), (node, []))[1]
            if node.output[0] in packed:
                found.append(self._packed(packed[node.output[0]], owned))
            elif owned:
                found.append(self._plain(node, owned))
        return [layer for layer in found if layer is not None]

    def _owner(self, name: str) -> Any:
        """The node that a stored tensor serves, behind casts and dequantizations."""
        node = self.readers.get(name)
        for _ in range(8):
            if node is None or node.op_type not in _CARRIERS or not node.output:
                return node
            if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and node.input[0] not in self.tensors:
                return None  # scales of an activation belong to no layer
            node = self.readers.get(node.output[0])
        return node

    def _packed(self, one: PackedNode, owned: list[str]) -> WeightNode:
        """A node of ours: a layer, or the weight of others, expanded."""
        from ..exporter.rewrite.packed_nodes import components, packed_tensor

        size = math.prod(one.shape)
        parts = one.parts.items()
        stored = {part: stored_bytes(self.tensors[name]) for part, name in parts if name in self.tensors}
        nnz = None
        if self.counted and len(stored) == len(one.parts):
            packed = packed_tensor(one, components(one, self.tensors))
            nnz = int(np.count_nonzero(as_bits(one.fmt.unpack(packed))))
        index = sum(count for part, count in stored.items() if part in _POSITIONS)
        other = sum(stored_bytes(self.tensors[n]) for n in owned if n not in one.parts.values())
        dense = one.dtype.itemsize * size
        return WeightNode(
            one.name, one.node.op_type, one.fmt.name, list(one.shape), size, nnz, sum(stored.values()), index,
            dense, other,
        )  # fmt: skip

    def _plain(self, node: Any, owned: list[str]) -> WeightNode | None:
        """A node with an ordinary weight: its largest stored tensor; the rest are scales and bias."""
        sizes = {n: self._stored(n) for n in owned}
        weight = max(sizes, key=lambda n: sizes[n])
        sparse = self.sparse.get(weight)
        dims = list(sparse.dims if sparse is not None else self.tensors[weight].dims)
        if len(dims) < 2:
            return None
        size = int(np.prod(dims))
        index = stored_bytes(sparse.indices) if sparse is not None else 0
        values = sparse.values if sparse is not None else self.tensors[weight]
        nnz = _nonzeros(values) if self.counted and values.data_type == 1 else None
        kind = "sparse_initializer" if sparse is not None else _type_name(values)
        if node.op_type == "MatMulNBits":
            shape = {a.name: a.i for a in node.attribute}
            dims, kind = [int(shape["N"]), int(shape["K"])], f"{shape['bits']} bit"
            size = dims[0] * dims[1]
        other = sum(sizes.values()) - sizes[weight]
        return WeightNode(weight, node.op_type, kind, dims, size, nnz, sizes[weight], index, 4 * size, other)

    def _stored(self, name: str) -> int:
        sparse = self.sparse.get(name)
        if sparse is None:
            return stored_bytes(self.tensors[name])
        return stored_bytes(sparse.values) + stored_bytes(sparse.indices)


def _type_name(tensor: Any) -> str:
    """`float32`, `int8`: the element type as numpy names it."""
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))


def read(path: Path, total_bytes: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Layers of an ONNX file, and what its bytes are spent on.

    Parameters
    ----------
    total_bytes
        Of the file and its data files.

    Returns
    -------
    layers
        One JSON object a layer, see `WeightNode`.
    breakdown
        Bytes by kind: `weights`, `indices`, `other_tensors` (bias, scales, constants) and `structure`
        (nodes, functions, names); they add up to `total_bytes`.
    """
    counted = total_bytes <= MAX_READ_BYTES
    graph = read_model(path, weights=counted).graph
    layers = _Reader(graph, counted).layers()
    stored = sum(stored_bytes(t) for t in graph.initializer)
    stored += sum(stored_bytes(t.values) + stored_bytes(t.indices) for t in graph.sparse_initializer)
    indices = sum(layer.index_bytes for layer in layers)
    weights = sum(layer.bytes for layer in layers) - indices
    breakdown = {
        "weights": weights,
        "indices": indices,
        "other_tensors": stored - weights - indices,
        "structure": total_bytes - stored,
    }
    return [layer.as_dict() for layer in layers], breakdown
