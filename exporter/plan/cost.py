"""What a layer is expected to cost, dense and packed, on a processor with these vector instructions.

A layer's time is a sum: something for each call, for each multiply-add, for each weight (read once from
memory), for each value that goes in and comes out. Packed, the non-zeros stand for the weights, and each
of them is multiplied with a vector of 16 outputs at a time. The coefficients are fitted to measured
layers, one set for each kind of layer, what runs it and the instruction set (`benchmarks/fit_cost.py`;
cost_table.json says on which machine). It only has to put layers on the right side of the break-even;
`tune` measures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from ... import formats
from ...runtime.target import kernel_target
from ..graph.index import Layer, concrete_shapes
from .tensor_plan import TensorPlan

#: Packed must win by this much before it is believed.
MARGIN = 1.15
#: Table of each instruction set that the library can name: VNNI changes nothing for float kernels.
_TABLES = {"scalar": "avx2", "avx2": "avx2", "avx512": "avx512", "avx512vnni": "avx512"}


@dataclass(frozen=True)
class Work:
    """What one run of a layer has to do.

    Attributes
    ----------
    kind
        "square" (convolution), "pointwise" (1 x 1), "thin" (k x 1, 1 x k), "line" (one dimension), "linear".
    size, nnz
        Elements and non-zeros of the weight.
    rows
        Output channels.
    outputs
        Outputs of each channel.
    inputs
        Elements of the activation.
    """

    kind: str
    size: int
    nnz: int
    rows: int
    outputs: int
    inputs: int


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of one run on one core."""

    dense: float
    packed: float

    @property
    def packed_wins(self) -> bool:
        """Whether the packed layer is expected to be faster, margin included."""
        return self.packed * MARGIN < self.dense

    def __str__(self) -> str:
        return f"{self.packed * 1e3:.3g} ms packed, {self.dense * 1e3:.3g} ms dense"


def features(part: str, work: Work) -> list[float]:
    """What the time of a layer is a sum of, for "dense" or a format: the factors of the coefficients."""
    around = [float(work.inputs), float(work.rows * work.outputs)]
    if part == "dense":
        return [1.0, float(work.size * work.outputs), float(work.size), *around]
    entries = work.nnz if formats.get(part).operator_entries else work.size
    return [1.0, float(entries * math.ceil(work.outputs / 16)), float(entries), *around]


@cache
def _table() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("cost_table.json").read_text())
    return loaded


def estimate(work: Work, format_name: str, target: str) -> Estimate:
    """Expected cost of a layer with a format that a kernel runs.

    Parameters
    ----------
    target
        Instruction set, as the library names it.
    """
    coefficients = _table()["targets"][_TABLES.get(target, "avx2")]
    dense, packed = (
        1e-9
        * sum(
            a * b
            for a, b in zip(coefficients[f"{part} {work.kind}"]["ns"], features(part, work), strict=True)
        )
        for part in ("dense", format_name)
    )
    return Estimate(dense, packed)


def kernel_of(format_name: str) -> str:
    """The format whose measured kernel says what this one costs: rows of any other become csr's."""
    return format_name if formats.get(format_name).kernels else "csr"


def work_of(layer: Layer, nnz: int, size: int, shapes: dict[str, tuple[object, ...]]) -> Work | None:
    """The work of a layer of the graph, None where its shapes are not known.

    Parameters
    ----------
    nnz, size
        Non-zeros and elements of its weight.
    shapes
        Of the values of one run, by name.
    """
    y, x = (_elements(shapes.get(name)) for name in (layer.nodes[0].output[0], layer.x))
    if y is None or x is None:
        return None
    rows = max(1, layer.scale.size)
    return Work(_kind(layer), size, nnz, rows, y // rows, x)


def _elements(shape: tuple[object, ...] | None) -> int | None:
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return math.prod(int(dim) for dim in shape if isinstance(dim, int))


def _kind(layer: Layer) -> str:
    if layer.kind in ("MatMul", "QMatMul"):
        return "linear"
    shape = layer.attributes["shape"]
    assert isinstance(shape, list)
    kernel = shape[2:]
    if len(kernel) == 1:
        return "line"
    return {0: "pointwise", 1: "thin"}.get(sum(dim > 1 for dim in kernel), "square")


def keep_slow_layers_dense(
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    examples: Sequence[tuple[int, ...]] | None,
    signed: Collection[str] = (),
    target: str | None = None,
) -> None:
    """Turn back to dense every planned weight that a kernel is not expected to run faster.

    Parameters
    ----------
    signed
        Weights whose layers take the sign of their input: bits against bits, faster at every measured shape.
    target
        Instruction set; by default the one that the library's kernels use here.
    """
    shapes = concrete_shapes(model, examples)
    here = target or kernel_target()
    for plan in plans:
        if not plan.runs_packed or plan.name in signed:
            continue
        if not formats.get(plan.format).kernels:
            plan.stay_dense(f"{plan.format} has no kernel: it would run expanded")
            continue
        if any(is_depthwise(layer) for layer in plan.layers):
            plan.stay_dense("depthwise: a few taps a channel, where the dense kernel is faster")
            continue
        works = [work_of(layer, plan.nnz, plan.size, shapes) for layer in plan.layers]
        known = [work for work in works if work is not None]
        if len(known) < len(works):
            plan.stay_dense("its output size is not known, so neither is its cost")
            continue
        ones = [estimate(work, plan.format, here) for work in known]
        total = Estimate(sum(one.dense for one in ones), sum(one.packed for one in ones))
        where = f"density {plan.density:.1%} on {here}: {total}"
        if total.packed_wins:
            plan.reason += f"; expected {total} on {here}"
        elif total.packed >= total.dense:
            plan.stay_dense(f"expected slower at {where}")
        else:
            plan.stay_dense(f"expected to gain less than {MARGIN - 1:.0%} at {where}")


def is_depthwise(layer: Layer) -> bool:
    """Whether every output channel reads one input channel: measured slower packed at every size."""
    shape, group = layer.attributes["shape"], layer.attributes.get("group", 1)
    return isinstance(shape, list) and group != 1 and shape[1] == 1
