"""Weights that are stored packed and run dense: what reads them finds an ordinary constant.

A `<Prefix>Weight` node gives the tensor in its own shape and type, so nothing about its readers matters:
they may
be layers without a packed operator, a recurrent layer, an embedding, a branch, a DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from ...formats import TensorStats
from ...formats.base import Array, as_bits
from ..files import held
from ..graph.census import Constant
from ..graph.index import GraphIndex
from . import choosing
from .encode import stored
from .tensor_plan import TensorPlan
from .types import decoded_exactly
from .values import Encoded


def expand(index: GraphIndex, plan: TensorPlan, array: Array, why: str) -> None:
    """Let a plan store its weight in the smallest of its candidates, and expand it, because of `why`.

    Parameters
    ----------
    array
        The weight as its readers see it.
    """
    if not decoded_exactly(array):
        plan.stay_dense(f"{why}; no decode gives {plan.dtype} bit for bit")
        return
    plan.run, plan.run_reason, plan.values = "expanded", why, "fp32"
    plan.encoded = Encoded(partial(stored, index, plan))
    choosing.choose(plan, TensorStats(array), plan.candidates)
    if not plan.packed:
        plan.run, plan.encoded = "dense", None
        plan.reason = f"{plan.reason}; {why}"


def plan_constant(index: GraphIndex, constant: Constant, told: Mapping[str, str], wanted: str) -> TensorPlan:
    """The plan of a constant that is the weight of no layer; `told` has better reasons than its readers."""
    tensor = constant.tensor
    shape = tuple(tensor.dims)
    settled = index.constant(constant.name) if constant.name in index.negative_zeros else None
    array = held.array(tensor) if settled is None else settled
    nbytes = choosing.tensor_bytes(tensor)
    plan = TensorPlan(
        name=constant.name,
        op="/".join(constant.readers),
        shape=shape,
        dtype=str(array.dtype),
        nnz=_nonzeros(array),
        size=int(array.size),
        format="dense",
        dense_bytes=nbytes,
        packed_bytes=nbytes,
        reason="",
        role="weight" if sum(dim > 1 for dim in shape) > 1 else "parameter",
    )
    why = told.get(constant.name, constant.reason)
    if not constant.movable:
        plan.reason = why
    else:
        plan.reason = choosing.refusal(wanted, plan)
    if not plan.reason:
        plan.candidates = choosing.candidates(wanted)
        expand(index, plan, array, why)
    return plan


def prefer_sources(index: GraphIndex, plan: TensorPlan) -> None:
    """Take back that a computed weight is packed where what it is computed from takes less, packed itself."""
    total = 0
    for name in plan.freed:
        array = held.array(index.initializers[name])
        sizes = [array.nbytes]
        if decoded_exactly(array) and array.nbytes >= choosing.MIN_DENSE_BYTES:
            twin = TensorPlan(
                name, "", array.shape, "", 0, array.size, "dense", array.nbytes, array.nbytes, ""
            )
            choosing.choose(twin, TensorStats(array), plan.candidates)
            sizes.append(twin.packed_bytes)
        total += min(sizes)
    if plan.packed and total < plan.packed_bytes:
        plan.stay_dense(f"its sources take less: {total:,} B packed")


def _nonzeros(array: Array) -> int:
    if array.dtype.kind == "O":
        return int(array.size)
    if array.dtype.itemsize in (1, 2, 4, 8):
        return int(np.count_nonzero(as_bits(array)))
    return int(np.count_nonzero(array))
