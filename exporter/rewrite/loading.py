"""What a packed file tells the session that will load it: the work of its layers, and what was measured.

The file may be loaded on another processor than it was made for. `runtime.choice` reads this and asks the
cost model again there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple

import onnx

from ...runtime.choice import FLOAT_WORK_KEY, MEASURED_KEY, WORK_KEY
from ...runtime.cost import Estimate
from ...runtime.target import kernel_target
from ..graph.domain import DOMAIN
from ..graph.index import GraphIndex, concrete_shapes
from ..plan import works
from ..plan.tensor_plan import TensorPlan
from .layout import operators


def tell(
    index: GraphIndex,
    packed: onnx.ModelProto,
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    examples: Sequence[tuple[int | None, ...]] | None,
    measured: Mapping[str, Estimate],
    target: str | None = None,
) -> None:
    """Put it into the metadata of a packed model.

    Layers that take signs are left out: bits against bits are faster on every processor.

    Parameters
    ----------
    index
        Index over `model`.
    packed, model
        The packed model, changed in place, and the one that it was made of.
    examples
        Shapes of the model's inputs in one run.
    measured
        What the layers of a weight took, by the weight's name.
    target
        Instruction set that was measured on; by default the one that the library's kernels use here.
    """
    plan_of = {plan.name: plan for plan in plans if plan.runs_packed}
    layers = {layer.output: layer.site for layer in operators(index, plans) if not layer.binary_input}
    found = [
        (node.name, plan_of[layers[node.output[0]].weight], layers[node.output[0]])
        for node in packed.graph.node
        if node.domain == DOMAIN and node.output[0] in layers
    ]
    if not found:
        return
    shapes = concrete_shapes(model, examples)
    told = {name: works.work_of(site, *works.counts(plan), shapes) for name, plan, site in found}
    _add(packed, WORK_KEY, {name: astuple(work) for name, work in told.items() if work is not None})
    floats = {name: works.as_floats(site, plan, shapes) for name, plan, site in found}
    if any(floats.values()):
        _add(
            packed, FLOAT_WORK_KEY, {name: astuple(work) for name, work in floats.items() if work is not None}
        )
    microseconds = {
        name: [round(seconds * 1e6, 1) for seconds in _ways(measured[plan.name])]
        for name, plan, _ in found
        if plan.name in measured
    }
    if microseconds:
        _add(packed, MEASURED_KEY, {target or kernel_target(): microseconds})


def _ways(one: Estimate) -> list[float]:
    """Packed, dense, and where it was measured computed in floats."""
    return [one.packed, one.dense, *([one.floats] if math.isfinite(one.floats) else [])]


def _add(packed: onnx.ModelProto, key: str, value: object) -> None:
    packed.metadata_props.add(key=key, value=json.dumps(value, separators=(",", ":")))
