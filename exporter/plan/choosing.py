"""Which formats a weight may take, and the smallest of them."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from ... import formats
from ...formats import TensorStats
from ..files import held, proto_size
from .tensor_plan import TensorPlan

#: Weights below this many bytes stay dense: node and tensor headers would eat the gain.
MIN_DENSE_BYTES = 1024

#: Decodes count positions in int32.
MAX_ELEMENTS = 1 << 31


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's data in a file."""
    return proto_size.raw_bytes(tensor) or int(held.array(tensor).nbytes)


def refusal(wanted: str, plan: TensorPlan) -> str:
    """Why a weight stays dense whatever reads it; empty where nothing speaks against packing."""
    if wanted == "dense":
        return "asked for"
    if plan.dense_bytes < MIN_DENSE_BYTES:
        return f"under {MIN_DENSE_BYTES} B: headers would eat the gain"
    if plan.size >= MAX_ELEMENTS:
        return "2^31 elements or more: a decode counts positions in 32 bits"
    return ""


def candidates(wanted: str) -> tuple[str, ...]:
    """Names of the formats that are tried."""
    if wanted == "auto":
        return tuple(fmt.name for fmt in formats.packable())
    fmt = formats.asked(wanted)
    return (fmt.name,) if fmt.operator is not None else ()


def choose(plan: TensorPlan, stats: TensorStats, names: Iterable[str]) -> None:
    """Give a plan the smallest of these formats, or let it stay dense."""
    choice = formats.choose(stats, [formats.get(name) for name in names], plan.dense_bytes)
    plan.format, plan.packed_bytes, plan.reason = choice.chosen, choice.nbytes, choice.reason
    plan.sizes = choice.sizes if plan.packed else {}
    if choice.runner_up:
        plan.runner_up = (choice.runner_up, choice.sizes[choice.runner_up])
