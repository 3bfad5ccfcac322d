"""Weights that are stored packed and run dense, made dense before onnxruntime sees them.

A node `<Prefix>Weight` stands for a weight that no packed layer reads. Its function is a hundred nodes, which
onnxruntime inlines, folds and never quite forgets: with dozens of small weights that takes more time and
memory than the net. The library decodes them in one pass. What it does not take is left to the function.
"""

from __future__ import annotations

import ctypes
import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import wire
from .domains import Node
from .splice import Edit, appended, removed

#: What stands in an operator's name behind its format's prefix, and behind that where a cast follows.
WEIGHT, CAST = "Weight", "Cast"
#: No protobuf message is longer than 2 GiB; some room for what is not weights.
_LONGEST = (1 << 31) - (1 << 24)
#: Element types (of ONNX) of components and what they are in memory; bfloat16 as its bits.
_DTYPES = {1: "f4", 2: "u1", 3: "i1", 4: "u2", 10: "f2", 12: "u4", 13: "u8", 16: "u2"}
#: Types that a weight is cast to.
_CASTS: dict[int, np.dtype[Any]] = {
    0: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    10: np.dtype(np.float16),
}
_FLOAT = 1
#: A body is so many fields further in than the graph around it: its node, its attribute, itself.
_DEPTH = 3

Array = np.ndarray[Any, Any]
#: Prefix, components with their element types, and shape to the float32 weight; None where a rule is broken.
Expand = Callable[[str, Sequence[tuple[int, Array]], Sequence[int]], Array | None]


class _Component(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("rank", ctypes.c_size_t),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("data", ctypes.c_void_p),
    )


def by_library(library: ctypes.CDLL) -> Expand:
    """Decoding by the native library.

    Raises
    ------
    AttributeError
        If it is of a version that cannot.
    """
    function = library.SparseExportExpand
    function.argtypes = [
        ctypes.c_char_p,
        ctypes.POINTER(_Component),
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_int64),
        ctypes.c_size_t,
        ctypes.c_void_p,
    ]

    def expand(prefix: str, parts: Sequence[tuple[int, Array]], shape: Sequence[int]) -> Array | None:
        components = (_Component * len(parts))()
        for place, (kind, part) in zip(components, parts, strict=True):
            place.type, place.rank, place.data = kind, part.ndim, part.ctypes.data
            place.shape = (ctypes.c_int64 * part.ndim)(*part.shape)
        dense = np.empty(shape, np.float32)
        dims = (ctypes.c_int64 * len(shape))(*shape)
        done = function(prefix.encode(), components, len(parts), dims, len(shape), dense.ctypes.data)
        return dense if done else None

    return expand


def is_weight(operator: str) -> bool:
    """Whether it gives a weight and is never registered."""
    return WEIGHT in operator.removeprefix("BinaryWeight")


def expanded(
    data: wire.Buffer, nodes: Sequence[Node], uses: Mapping[str, int], expand: Expand
) -> tuple[list[Edit], set[wire.Field], set[wire.Field]]:
    """What is to change so that nodes of graphs become initializers, what holds them, and which do.

    Parameters
    ----------
    nodes
        Nodes `<Prefix>Weight`.
    uses
        How often each name is an input of any node.

    Raises
    ------
    ValueError
        If the bytes are no model, or are written in an unusual way.
    """
    edits: list[Edit] = []
    done: set[wire.Field] = set()
    holders: set[wire.Field] = set()
    if len(wire.graphs(data)) != 1:
        return [], holders, done
    graphs: dict[wire.Field, dict[str, wire.Field]] = {}
    read: dict[str, list[wire.Field]] = {}
    room = _LONGEST - len(data)
    for node in nodes:
        if node.within[0].number != wire.MODEL_GRAPH:
            continue
        for graph in node.within[::_DEPTH]:
            graphs.setdefault(graph, {} if graph in graphs else wire.constants(data, graph))
        tensors = ChainMap(*[graphs[graph] for graph in reversed(node.within[::_DEPTH])])
        found = _weight(data, node.place, tensors, expand, room)
        if found is None:
            continue
        inputs, tensor = found
        room -= sum(map(len, tensor))
        done.add(node.place)
        holders.update(node.within)
        edits += [removed(data, node.place), *appended(node.within[-1], *tensor)]
        for name in inputs:
            read.setdefault(name, []).append(tensors[name])
    for name, places in read.items():
        if len(places) == uses[name]:
            edits += [removed(data, place) for place in set(places)]
    return edits, holders, done


def _weight(
    data: wire.Buffer, node: wire.Field, tensors: Mapping[str, wire.Field], expand: Expand, room: int
) -> tuple[list[str], list[bytes]] | None:
    """The names of a node's components, and its output as an initializer; None where it is to stay."""
    inputs, outputs = (
        [wire.text(data, field) for field in wire.inside(data, node, number)]
        for number in (wire.NODE_INPUTS, wire.NODE_OUTPUTS)
    )
    (operator,) = (wire.text(data, field) for field in wire.inside(data, node, wire.NODE_OPERATOR))
    prefix, _, suffix = operator.rpartition(WEIGHT)
    attributes = {
        wire.text(data, name): attribute
        for attribute in wire.inside(data, node, wire.NODE_ATTRIBUTES)
        for name in wire.inside(data, attribute, wire.ATTRIBUTE_NAME)
    }
    if suffix not in ("", CAST) or "shape" not in attributes or len(outputs) != 1:
        return None
    shape = list(wire.numbers(data, attributes["shape"], wire.ATTRIBUTE_INTS))
    to = 0
    if suffix:
        to = next(wire.numbers(data, attributes.get("to", node), wire.ATTRIBUTE_INT), -1)
    size = math.prod(shape)
    if to not in _CASTS or not 0 < size * 4 < room or any(dim <= 0 for dim in shape):
        return None
    found = [_read(data, tensors[name]) for name in inputs if name in tensors]
    parts = [part for part in found if part is not None]
    if len(parts) != len(inputs):
        return None
    dense = expand(prefix, parts, shape)
    if dense is None:
        return None
    raw = dense.astype(_CASTS[to], copy=False).tobytes()
    fields = b"".join(wire.number(wire.TENSOR_DIMS, dim) for dim in shape)
    fields += wire.number(wire.TENSOR_TYPE, to or _FLOAT) + wire.message(
        wire.TENSOR_NAME, outputs[0].encode()
    )
    fields += wire.head(wire.TENSOR_RAW, len(raw))
    return inputs, [wire.head(wire.GRAPH_INITIALIZERS, len(fields) + len(raw)) + fields, raw]


def _read(data: wire.Buffer, tensor: wire.Field) -> tuple[int, Array] | None:
    """Element type and content of an initializer that lies in the file as it is in memory; else None."""
    raw = list(wire.inside(data, tensor, wire.TENSOR_RAW))
    kind = next(wire.numbers(data, tensor, wire.TENSOR_TYPE), 0)
    shape = list(wire.numbers(data, tensor, wire.TENSOR_DIMS))
    if len(raw) != 1 or kind not in _DTYPES:
        return None
    dtype = np.dtype(_DTYPES[kind]).newbyteorder("<")
    if raw[0].end - raw[0].start != math.prod(shape) * dtype.itemsize:
        return None
    # A copy lies where its elements may be read at once.
    return kind, np.frombuffer(data[raw[0].start : raw[0].end], dtype).reshape(shape).copy()
