"""The model that is written: packed where the whole file gets smaller, otherwise the source as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from ...formats import Packed
from ..files.kinds import identify
from ..files.onnx_read import read_onnx
from ..files.onnx_size import dense_bytes, file_bytes, model_bytes
from ..graph.index import GraphIndex
from ..plan.plan import TensorPlan
from .settle import settled
from .write import rewrite

#: What a report says where nothing is packed.
AS_GIVEN = "no weight makes the file smaller packed: it holds the source's model as it is"
DENSE = "no weight makes the file smaller packed: it is the dense model"


def outcome(
    path: Path,
    model: onnx.ModelProto,
    index: GraphIndex,
    plans: Sequence[TensorPlan],
    packed: dict[str, Packed],
    sparse: Mapping[str, onnx.SparseTensorProto],
    *,
    changed: bool = False,
) -> tuple[onnx.ModelProto, list[tuple[str, str]]]:
    """The model to write, never bigger than its source or than the dense model, and notes for the report.

    Parameters
    ----------
    path
        The source.
    model, index, sparse
        The dense model made of it, look-ups over it, and the initializers that the source holds sparse.
    plans, packed
        Turned back to dense, all of them, where together they save nothing.
    changed
        Whether weights were replaced on request, so that the source's own bytes are another model.
    """
    given = identify(path) == "onnx" and not changed
    if any(plan.packed for plan in plans):
        small = rewrite(index, model, plans, packed, sparse)
        dense = file_bytes(path) if given else dense_bytes(settled(index, model, plans))
        if model_bytes(small) < dense:
            return small, []
    for plan in plans:
        if plan.packed:
            plan.stay_dense("with all headers and decoders the packed file would be no smaller")
    packed.clear()
    if given:
        return read_onnx(path), [("info", AS_GIVEN)]
    return rewrite(index, model, plans, packed, sparse), [("info", DENSE)]
