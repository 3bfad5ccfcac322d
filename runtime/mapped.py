"""Components that a kernel reads once, left in the file: onnxruntime maps them instead of copying them.

A layer of integers takes its components into a form of its own when the session is made, and never looks at
them again. In the model that onnxruntime gets they are external data, and the file that they are in is the
model's own: so they take none of the process's memory, and loading copies them nowhere.

NOTES
-----
Only of layers that read them once. A kernel that reads its components on every run trusts what was checked
when the session was made, which the file may no longer hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain

from . import as_floats, wire
from .domains import Node
from .splice import Edit

#: Bytes below which a copy is cheaper than a mapping, which is of whole pages.
_LEAST = 1 << 14
#: Element types (of ONNX) that components of integers have, and their bytes.
_ITEM_BYTES = {2: 1, 3: 1, 4: 2, 12: 4, 13: 8}
_EXTERNAL = 1


def edits(
    data: wire.Buffer,
    nodes: Iterable[tuple[Node, bool]],
    uses: Mapping[str, int],
    taken: Iterable[Edit],
    name: str,
) -> list[Edit]:
    """What is to change so that components of these layers stay where they are.

    Parameters
    ----------
    nodes
        Nodes of the graph that the library runs, and whether it computes them in floats.
    uses
        How often each name is an input of any node.
    taken
        What is changed otherwise.
    name
        Of the file.

    Raises
    ------
    ValueError
        If the bytes are no model.
    """
    read: dict[str, int] = {}
    for node, in_floats in nodes:
        inputs = [wire.text(data, field) for field in wire.inside(data, node.place, wire.NODE_INPUTS)]
        for component in as_floats.components(node.operator, inputs, in_floats=in_floats):
            read[component] = read.get(component, 0) + 1
    gone = {edit.start for edit in taken}
    found = []
    for graph in wire.graphs(data) if read else ():
        for called, tensor in wire.constants(data, graph).items():
            if read.get(called) != uses.get(called):  # others may copy it
                continue
            content = _outside(data, tensor, called, name)
            start = wire.begin(data, tensor)
            if content is not None and start not in gone:
                found.append(Edit(start, tensor.end, wire.message(wire.GRAPH_INITIALIZERS, content)))
    return found


def _outside(data: wire.Buffer, tensor: wire.Field, called: str, name: str) -> bytes | None:
    """The tensor with its bytes where they are; None where it has to be copied."""
    raw = list(wire.inside(data, tensor, wire.TENSOR_RAW))
    kind = next(wire.numbers(data, tensor, wire.TENSOR_TYPE), 0)
    dims = list(wire.numbers(data, tensor, wire.TENSOR_DIMS))
    if len(raw) != 1 or kind not in _ITEM_BYTES:
        return None
    start, size, item = raw[0].start, raw[0].end - raw[0].start, _ITEM_BYTES[kind]
    if size < _LEAST or start % item or math.prod(dims) * item != size:
        return None
    entries = {"location": name, "offset": str(start), "length": str(size)}
    pairs = (
        wire.message(wire.ENTRY_KEY, key.encode()) + wire.message(wire.ENTRY_VALUE, value.encode())
        for key, value in entries.items()
    )
    numbers = [(wire.TENSOR_TYPE, kind), *((wire.TENSOR_DIMS, dim) for dim in dims)]
    return b"".join(
        chain(
            (wire.number(field, value) for field, value in numbers),
            [wire.message(wire.TENSOR_NAME, called.encode())],
            (wire.message(wire.TENSOR_EXTERNAL, pair) for pair in pairs),
            [wire.number(wire.TENSOR_LOCATION, _EXTERNAL)],
        )
    )
