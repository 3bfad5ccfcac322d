"""What computes with a stored weight: an operator on its components, or the ordinary node on the tensor.

Both are the same file size but for a few headers; which of them is faster hangs on the layer's shape and
on the processor. Where nothing is known, expanded is never slower than dense.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx

from ...formats.base import Array
from ...runtime import cost
from ...runtime.target import kernel_target
from ..graph.index import GraphIndex, concrete_shapes
from . import expanding, works
from .tensor_plan import TensorPlan
from .values import Encoded, parse

#: What "speed" asks of a packed layer: it must win by this much before it is believed.
MARGIN = 1.15


def decide(
    index: GraphIndex,
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    optimize: str,
    examples: Sequence[tuple[int | None, ...]] | None,
    signed: Collection[str] = (),
    target: str | None = None,
) -> None:
    """Settle `run` in every plan that an operator could take.

    Parameters
    ----------
    optimize
        "size": packed where that is expected to be no slower than dense in its net (`cost.CAUTION`); "speed":
        where it is expected to be faster by `MARGIN`; "memory" and "measure", whose layers are timed later:
        packed.
    examples
        Shapes of the model's inputs in one run.
    signed
        Weights whose layers take the sign of their input: bits against bits, faster at every measured shape.
    target
        Instruction set; by default the one that the library's kernels use here.
    """
    here = target or kernel_target()
    expected = optimize in ("size", "speed")
    shapes = concrete_shapes(model, examples) if expected else {}
    for plan in plans:
        if not plan.runs_packed:
            continue
        if not expected:
            plan.run_reason = "wherever an operator takes it" if optimize == "memory" else ""
        elif plan.name in signed:
            plan.run_reason = "signs against signs"
        elif parse(plan.values).lossy:
            plan.run_reason = f"values stored as {plan.values}"
        else:
            slower, why = _slower(plan, shapes, here, MARGIN if optimize == "speed" else 1.0)
            if slower:
                expand(index, plan, why)
            else:
                plan.run_reason = why


def expand(index: GraphIndex, plan: TensorPlan, why: str) -> None:
    """Let a weight that an operator would take be expanded instead, in its own shape."""
    array = index.constant(plan.name)
    assert array is not None
    expanding.expand(index, plan, array, why)


def expand_all(index: GraphIndex, plans: Sequence[TensorPlan]) -> None:
    """Let no weight be taken by an operator: the file is for runtimes that have none of ours."""
    for plan in plans:
        if plan.runs_packed:
            turned = replace(plan, turned=True)
            expand(index, plan, "portable")
            if plan.sites[0].transposed:  # alphas and patterns lie along the outputs
                expanding.expand(index, turned, _turned(index, plan.name), "portable")
                if turned.packed_bytes < plan.packed_bytes:
                    turned.encoded = Encoded(partial(_turned, index, plan.name))
                    vars(plan).update(vars(turned))


def _turned(index: GraphIndex, name: str) -> Array:
    """A weight with its axes the other way round."""
    array = index.constant(name)
    assert array is not None
    return np.ascontiguousarray(array.T)


def _slower(plan: TensorPlan, shapes: works.Shapes, here: str, margin: float) -> tuple[bool, str]:
    """Whether the layers of a weight are expected to be slower packed, and what that is taken from."""
    if any(works.is_depthwise(site) for site in plan.sites):
        return True, "depthwise, where the dense kernel is faster"
    known = works.works_of(plan.sites, *works.counts(plan), shapes)
    if known is None:
        return True, "its output size is not known, so neither is its cost"
    found = cost.total(known, works.kernel_of(plan.format), here)
    floats = [works.as_floats(site, plan, shapes) for site in plan.sites]
    in_floats = sum(cost.as_floats(work, here) if work else math.inf for work in floats)
    found = replace(found, floats=in_floats)
    if found.gains(margin) or (margin == 1.0 and not found.loses):
        return False, f"expected {found} on {here}"
    if found.best > found.dense:
        return True, f"expected {found} on {here}"
    return True, f"expected to gain less than {max(margin, found.caution) - 1:.0%}: {found} on {here}"
