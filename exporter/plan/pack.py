"""Packing the planned weights; nothing here touches the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import formats
from ...errors import SparseExportError
from ...formats import Packed
from .tensor_plan import TensorPlan


def pack(
    plans: Sequence[TensorPlan],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Packed]:
    """Weight name to packed tensor, for every plan that is not dense.

    Raises
    ------
    SparseExportError
        If a packed size differs from the planned one: a defect of the format.
    """
    todo = [plan for plan in plans if plan.packed]
    result = {}
    for done, plan in enumerate(todo):
        assert plan.encoded is not None
        packed = formats.get(plan.format).pack(plan.encoded.array)
        if packed.nbytes != plan.packed_bytes:
            raise SparseExportError(
                f"{plan.name}: {plan.format} took {packed.nbytes} B, not {plan.packed_bytes} B"
            )
        result[plan.name] = packed
        progress(done + 1, len(todo))
    return result
