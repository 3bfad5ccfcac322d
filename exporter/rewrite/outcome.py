"""The model that is written: packed where the whole file gets smaller, otherwise the source as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx

from ...formats import Packed
from ..files.onnx_size import dense_bytes, file_bytes, model_bytes
from ..graph.index import GraphIndex
from ..plan.tensor_plan import TensorPlan
from .portable import spelled_out
from .settle import settled
from .write import rewrite

if TYPE_CHECKING:
    from ..source import Source

#: What a report says where nothing is packed.
AS_GIVEN = "no weight makes the file smaller packed: it holds the source's model as it is"
DENSE = "no weight makes the file smaller packed: it is the dense model"


def outcome(
    source: Source,
    index: GraphIndex,
    plans: Sequence[TensorPlan],
    packed: dict[str, Packed],
    *,
    given: bool,
    portable: bool = False,
) -> tuple[onnx.ModelProto, list[tuple[str, str]]]:
    """The model to write, never bigger than its source or than the dense model, and notes for the report.

    Parameters
    ----------
    source, index
        The dense model, and look-ups over it.
    plans, packed
        Turned back to dense, all of them, where together they save nothing.
    given
        Whether the source is an .onnx file whose own model may be written: no weight was replaced on request.
    portable
        Whether the weights are expanded by standard operators.
    """
    model, sparse, path = source.model, source.sparse, source.path
    if any(plan.packed for plan in plans):
        small = rewrite(index, model, plans, packed, sparse)
        if portable:
            small = spelled_out(small)
        dense = file_bytes(path) if given else dense_bytes(settled(index, model, plans))
        if model_bytes(small) < dense:
            return small, []
    for plan in plans:
        if plan.packed:
            plan.stay_dense("with all headers and decoders the packed file would be no smaller")
    packed.clear()
    if given:
        assert source.read is not None, "only an .onnx file has a model of its own"
        return source.read, [("info", AS_GIVEN)]
    return rewrite(index, model, plans, packed, sparse), [("info", DENSE)]
