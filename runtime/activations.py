"""How large the activations of a model are, as far as it says so before it is loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from . import wire
from .cost import INTEGERS, Work

#: Bytes of an activation that malloc keeps for the next run: ever larger ones it gets from the system anew,
#: page by page. Layers that nothing is told of may have several times as much.
_LARGEST = 4 << 20
_FLOAT_BYTES = 4


def are_small(data: wire.Buffer, works: Collection[Work], *, others: bool = False) -> bool:
    """Whether the sizes of all inputs are fixed, and no packed layer has large activations.

    Then a session needs no memory of its own for them: onnxruntime's arena grows by powers of two and gives
    nothing back.

    Parameters
    ----------
    works
        What the file says of its packed layers.
    others
        Whether layers with packed weights run dense, or in floats: then integers count as floats.

    Raises
    ------
    ValueError
        If the bytes are no model.
    """
    sizes = [
        max(work.inputs, work.rows * work.outputs) * (_FLOAT_BYTES if others or work.kind != INTEGERS else 1)
        for work in works
    ]
    if not sizes or max(sizes) > _LARGEST:
        return False
    return all(list(wire.numbers(data, dim, wire.DIM_VALUE)) for dim in _dims(data))


def _dims(data: wire.Buffer) -> Iterator[wire.Field]:
    """Every dimension of every input of the graph."""
    path = (
        wire.MODEL_GRAPH,
        wire.GRAPH_INPUTS,
        wire.VALUE_TYPE,
        wire.TYPE_TENSOR,
        wire.TENSOR_TYPE_SHAPE,
        wire.SHAPE_DIM,
    )
    found = [wire.whole(data)]
    for number in path:
        found = [inner for field in found for inner in wire.inside(data, field, number)]
    yield from found
