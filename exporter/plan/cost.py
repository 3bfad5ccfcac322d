"""What a layer is expected to cost, dense and packed, on a CPU of the class the kernels were measured on.

The model is two rooflines. A dense layer runs at the dense rate, or at the memory's where its weights are
used once. A packed layer pays for every non-zero once (reading and decoding it) and for every non-zero and
vector of 16 outputs. It only has to put layers on the right side of the break-even; `tune` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from ...formats.choice import KERNELS
from ..graph.index import Layer, concrete_shapes
from .plan import TensorPlan

#: Dense multiply-adds a second of one core with AVX-512 (240 GFLOP/s, facts of onnxruntime's Conv).
DENSE_MACS = 120e9
#: Weight bytes a second that a core streams: what bounds a linear layer, or a convolution of few pixels.
DENSE_BYTES = 37e9
#: Seconds for each non-zero (decode), and for each non-zero and vector of 16 outputs.
NONZERO = 0.55e-9
NONZERO_VECTOR = 0.40e-9
#: Packed must win by this much before it is believed.
MARGIN = 1.15


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of one run on one core."""

    dense: float
    packed: float

    @property
    def packed_wins(self) -> bool:
        """Whether the packed layer is expected to be faster, margin included."""
        return self.packed * MARGIN < self.dense


def outputs_per_channel(layer: Layer, shapes: dict[str, tuple[object, ...]]) -> int | None:
    """Outputs that each weight row computes in one run (pixels, or rows of a matmul), None where unknown."""
    shape = shapes.get(layer.nodes[0].output[0])
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return math.prod(int(dim) for dim in shape if isinstance(dim, int)) // max(1, layer.scale.size)


def estimate(layer: Layer, nnz: int, size: int, outputs: int) -> Estimate:
    """Expected cost of a layer.

    Parameters
    ----------
    nnz, size
        Non-zeros and elements of the weight.
    outputs
        See `outputs_per_channel`.
    """
    dense = max(size * outputs / DENSE_MACS, size * 4 / DENSE_BYTES)
    vectors = math.ceil(outputs / 16) if outputs > 1 else 1 / 4
    return Estimate(dense, nnz * (NONZERO + vectors * NONZERO_VECTOR))


def keep_slow_layers_dense(
    model: onnx.ModelProto, plans: Sequence[TensorPlan], examples: Sequence[tuple[int, ...]] | None
) -> None:
    """Turn back to dense every planned weight that a kernel is not expected to run faster."""
    shapes = concrete_shapes(model, examples)
    for plan in plans:
        if not plan.packed:
            continue
        if plan.format == "bitpack":
            continue  # faster than dense at every shape that benchmarks/binary.py measures
        if plan.format not in KERNELS:
            plan.stay_dense(f"{plan.format} has no kernel: it would run expanded")
            continue
        if any(_is_depthwise(layer) for layer in plan.layers):
            plan.stay_dense("depthwise: a few taps a channel, where the dense kernel is faster")
            continue
        total = Estimate(0.0, 0.0)
        for layer in plan.layers:
            outputs = outputs_per_channel(layer, shapes)
            if outputs is None:
                plan.stay_dense("its output size is not known, so neither is its cost")
                break
            one = estimate(layer, plan.nnz, plan.size, outputs)
            total = Estimate(total.dense + one.dense, total.packed + one.packed)
        else:
            if not total.packed_wins:
                plan.stay_dense(
                    f"expected slower at density {plan.density:.1%}: "
                    f"{total.packed * 1e3:.3g} ms packed, {total.dense * 1e3:.3g} ms dense"
                )


def _is_depthwise(layer: Layer) -> bool:
    """Whether every output channel reads one input channel: measured slower packed at every size."""
    shape, group = layer.attributes["shape"], layer.attributes.get("group", 1)
    return isinstance(shape, list) and group != 1 and shape[1] == 1
