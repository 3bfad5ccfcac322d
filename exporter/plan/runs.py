"""What computes with a stored weight: an operator on its components, or the ordinary node on the tensor.

Both are the same file size but for a few headers; which of them is faster hangs on the layer's shape and
on the
processor. Where nothing is known, expanded is never slower than dense.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from ...runtime.target import kernel_target
from ..graph.index import GraphIndex, Layer, concrete_shapes
from . import cost, cost_int8, expanding
from .tensor_plan import TensorPlan
from .values import parse


def decide(
    index: GraphIndex,
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    optimize: str,
    examples: Sequence[tuple[int, ...]] | None,
    signed: Collection[str] = (),
) -> None:
    """Settle `run` in every plan that an operator could take.

    Parameters
    ----------
    optimize
        "size": packed where that is expected to be no slower than dense here; "memory" and "speed": packed.
    examples
        Shapes of the model's inputs in one run.
    signed
        Weights whose layers take the sign of their input: bits against bits, faster at every measured shape.
    """
    here = kernel_target()
    shapes = concrete_shapes(model, examples) if optimize == "size" else {}
    for plan in plans:
        if not plan.runs_packed:
            continue
        if optimize != "size":
            plan.run_reason = "wherever an operator takes it" if optimize == "memory" else ""
        elif plan.name in signed:
            plan.run_reason = "signs against signs"
        elif parse(plan.values).lossy:
            plan.run_reason = f"values stored as {plan.values}"
        else:
            slower, why = _slower(plan, shapes, here)
            if slower:
                expand(index, plan, why)
            else:
                plan.run_reason = why


def expand(index: GraphIndex, plan: TensorPlan, why: str) -> None:
    """Let a weight that an operator would take be expanded instead, in its own shape."""
    array = index.constant(plan.name)
    assert array is not None
    expanding.expand(plan, array, why)


def _estimate(plan: TensorPlan, layer: Layer, work: cost.Work, here: str) -> cost.Estimate:
    if layer.quantized is not None and plan.encoded is not None:
        return cost_int8.estimate(layer, work, cost_int8.groups(plan.encoded.array), here)
    return cost.estimate(work, cost.kernel_of(plan.format), here)


def _slower(plan: TensorPlan, shapes: dict[str, tuple[object, ...]], here: str) -> tuple[bool, str]:
    """Whether the layers of a weight are expected to be slower packed, and what that is taken from."""
    if any(cost.is_depthwise(layer) for layer in plan.layers):
        return True, "depthwise, where the dense kernel is faster"
    works = [cost.work_of(layer, plan.nnz, plan.size, shapes) for layer in plan.layers]
    known = [work for work in works if work is not None]
    if len(known) < len(works):
        return True, "its output size is not known, so neither is its cost"
    ones = [_estimate(plan, layer, work, here) for layer, work in zip(plan.layers, known, strict=True)]
    total = cost.Estimate(sum(one.dense for one in ones), sum(one.packed for one in ones))
    return total.packed > total.dense, f"expected {total} on {here}"
