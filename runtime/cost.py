"""What a layer is expected to cost, dense and packed, on a processor with these vector instructions.

A layer's time is a sum: something for each call, for each multiply-add, for each weight (read once from
memory), for each value that goes in and comes out. Packed, the non-zeros stand for the weights, and each
of them is multiplied with a vector of 16 outputs at a time. The coefficients are fitted to measured
layers, one set for each kind of layer, what runs it and the instruction set (`benchmarks/fit_cost.py`;
cost_table.json says on which machine). It only has to put layers on the right side of the break-even;
`tune` measures.

It is asked twice: where a file is written, and where it is loaded, which may be another processor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import cost_int8

#: One input channel for every output channel: never faster packed, at any size.
DEPTHWISE = "depthwise"
#: A layer of integers, counted in groups of four input channels.
INTEGERS = "int8"
#: The fitted kernel that stands for those that were not.
_KERNEL = "csr"
#: Where a packed layer of integers is faster in floats.
FLOAT_TARGETS = frozenset(cost_int8.FLOATS)
#: By this much a packed layer must be expected to win not to count as slower: the table was fitted to layers
#: alone, and between dense neighbours onnxruntime also reorders what goes in and comes out.
CAUTION = 1.15


@dataclass(frozen=True)
class Work:
    """What one run of a layer has to do.

    Attributes
    ----------
    kind
        "square" (convolution), "pointwise" (1 x 1), "thin" (k x 1, 1 x k), "line" (one dimension), "linear",
        "depthwise"; "int8" for any layer of integers.
    size, nnz
        Elements and non-zeros of the weight; of integers, groups of four input channels.
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
    """Expected seconds of one run on one core; of a layer of integers also if it is computed in floats.

    Packed has to win by the factor `caution` to be no slower in a net. In floats it need not: what that takes
    was fitted in nets.
    """

    dense: float
    packed: float
    floats: float = math.inf
    caution: float = 1.0

    @property
    def best(self) -> float:
        """What the better way takes that reads packed bytes."""
        return min(self.packed, self.floats)

    @property
    def loses(self) -> bool:
        """Whether the packed layer is expected to be slower in its net."""
        return min(self.packed * self.caution, self.floats) > self.dense

    def wins_by(self, margin: float) -> bool:
        """Whether the packed layer is expected to be faster by that factor."""
        return self.best * margin < self.dense

    def gains(self, margin: float) -> bool:
        """Whether it is expected to be faster by that factor in its net."""
        return min(self.packed * max(margin, self.caution), self.floats * margin) < self.dense

    def __str__(self) -> str:
        floats = ", computed in floats" if self.floats < self.packed else ""
        return f"{self.best * 1e3:.3g} ms packed{floats}, {self.dense * 1e3:.3g} ms dense"


def features(work: Work, entries: int | None = None) -> list[float]:
    """What the time of a layer is a sum of: the factors of the coefficients.

    Parameters
    ----------
    entries
        What a kernel reads of a weight; None for the dense layer.
    """
    around = [float(work.inputs), float(work.rows * work.outputs)]
    if entries is None:
        return [1.0, float(work.size * work.outputs), float(work.size), *around]
    return [1.0, float(entries * math.ceil(work.outputs / 16)), float(entries), *around]


@cache
def _table() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("cost_table.json").read_text())
    return loaded


def kernel_of(operator: str) -> str:
    """The kernel whose costs are an operator's: its own where that was measured, else csr's."""
    kernels: dict[str, Any] = _table()["kernels"]
    return next((name for name, one in kernels.items() if operator.startswith(one["prefix"])), _KERNEL)


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of layers that `estimate` knows."""
    fitted = {part.partition(" ")[2] for parts in _table()["targets"].values() for part in parts}
    return (*sorted(fitted), DEPTHWISE, INTEGERS)


def _coefficients(target: str) -> dict[str, Any]:
    """Of the fitted target whose name that of `target` begins with: it has what that one has, and more."""
    targets: dict[str, Any] = _table()["targets"]
    found: dict[str, Any] = targets[cost_int8.fitted(targets, target)]
    return found


def estimate(work: Work, kernel: str, target: str) -> Estimate:
    """Expected cost of a layer.

    Parameters
    ----------
    kernel
        Format that a kernel reads: the weight's own, or "csr", into which rows of the others are decoded. One
        that was not measured is taken to cost what csr's does.
    target
        Instruction set, as the library names it; of one that the table lacks, AVX2's costs.
    """
    if work.kind == DEPTHWISE:
        return Estimate(0.0, math.inf)
    if work.kind == INTEGERS:
        results = work.rows * work.outputs
        # A convolution reads an input at several taps: it has fewer inputs than columns times outputs.
        linear = 4 * work.size * work.outputs <= work.rows * (work.inputs + 3 * work.outputs)
        found = cost_int8.seconds(
            work.size, work.nnz, work.outputs, work.inputs, results, target, linear=linear
        )
        return Estimate(*found, caution=CAUTION)
    coefficients = _coefficients(target)
    name = kernel if f"{kernel} {work.kind}" in coefficients else _KERNEL
    entries = work.size if _table()["kernels"][name]["entries"] == "all" else work.nnz
    dense, packed = (
        1e-9 * sum(a * b for a, b in zip(coefficients[f"{part} {work.kind}"]["ns"], factors, strict=True))
        for part, factors in (("dense", features(work)), (name, features(work, entries)))
    )
    return Estimate(dense, packed, caution=CAUTION)


def total(works: Iterable[Work], kernel: str, target: str) -> Estimate:
    """Expected cost of the layers of one weight together."""
    ones = [estimate(work, kernel, target) for work in works]
    caution = max((one.caution for one in ones), default=1.0)
    return Estimate(sum(one.dense for one in ones), sum(one.packed for one in ones), caution=caution)


def as_floats(work: Work, target: str) -> float:
    """Expected seconds of a packed layer of integers that is computed in floats; infinite where it never is.

    Parameters
    ----------
    work
        Of the same layer of floats.
    """
    if work.kind in (DEPTHWISE, INTEGERS):
        return math.inf
    results, linear = work.rows * work.outputs, work.kind == "linear"
    return cost_int8.in_floats(work.nnz, work.outputs, work.inputs, results, target, linear=linear)
