"""Running sums of integers by float arithmetic that makes no error: engines fold those, and not the others.

OpenVINO computes a CumSum of floats when it compiles a model and one of integers on every run. Integers below
2^24 are floats too, and so are sums of theirs that stay below it: larger ones are summed in parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from ...formats.base import Array

#: Every integer below it is a float32.
EXACT = 1 << 24
#: Numbers summed at a time where all of them together would be too much, and where a number is cut in two.
BLOCK = 1 << 12

#: Of an operator, its inputs and attributes, the name of its result.
Add = Callable[..., str]
#: Of an array, the name under which the graph has it.
Constant = Callable[[Array], str]


class RunningSums:
    """Writes running sums by way of `add` and `constant`."""

    def __init__(self, add: Add, constant: Constant) -> None:
        self._add, self._constant = add, constant

    def of(self, x: str, numbers: Array, axis: int = 0) -> str:
        """The int32 running sums of int32 `x`.

        Parameters
        ----------
        numbers
            What `x` is: not negative, and with one dimension where they come to 2^24 together.
        """
        if int(numbers.sum(axis, dtype=np.int64).max(initial=0)) < EXACT:
            return self._direct(x, axis)
        if int(numbers.max()) >= BLOCK:
            return self._cut(x, numbers)
        return self._in_blocks(x, numbers)

    def from_end(self, x: str, numbers: Array) -> str:
        """int32 sums of int32 `x` [n] from each one to the last; `numbers`: what `x` is, none positive."""
        positive = self._add("Neg", x)
        before = self._add("Sub", self.of(positive, -numbers), positive)
        return self._add("Sub", before, self._number(-int(numbers.sum(dtype=np.int64))))

    def _direct(self, x: str, axis: int, **how: Any) -> str:
        floats = self._add("Cast", x, to=TensorProto.FLOAT)
        sums = self._add("CumSum", floats, self._number(axis, np.int64), **how)
        return self._add("Cast", sums, to=TensorProto.INT32)

    def _cut(self, x: str, numbers: Array) -> str:
        """Large numbers as two small ones each."""
        base = self._number(BLOCK)
        upper, lower = self._add("Div", x, base), self._add("Mod", x, base)
        high, low = self.of(upper, numbers // BLOCK), self.of(lower, numbers % BLOCK)
        return self._add("Add", self._add("Mul", high, base), low)

    def _in_blocks(self, x: str, numbers: Array) -> str:
        """Sums within blocks, and what all blocks before hold."""
        more = -numbers.size % BLOCK
        padded = np.concatenate([numbers, np.zeros(more, numbers.dtype)]).reshape(-1, BLOCK)
        if more:
            x = self._add("Concat", x, self._constant(np.zeros(more, np.int32)), axis=0)
        inner = self._direct(self._add("Reshape", x, self._sizes(-1, BLOCK)), 1)
        totals = padded.sum(1, dtype=np.int64)
        last = self._add("Slice", inner, self._sizes(BLOCK - 1), self._sizes(BLOCK), self._sizes(1))
        flat = self._add("Reshape", last, self._sizes(-1))
        before = self._add("Sub", self.of(flat, totals), flat)
        column = self._add("Reshape", before, self._sizes(-1, 1))
        sums = self._add("Reshape", self._add("Add", inner, column), self._sizes(-1))
        return self._add("Slice", sums, self._sizes(0), self._sizes(numbers.size)) if more else sums

    def _number(self, value: int, dtype: type = np.int32) -> str:
        return self._constant(np.array(value, dtype))

    def _sizes(self, *sizes: int) -> str:
        return self._constant(np.array(sizes, np.int64))
