"""By what a float is judged: the size, the spread and the rounding of its own channel and its own row.

A slice of an axis is all values with one index on it: a row, a class, an image's channel. Axis 0 is taken
for each run, other axes over all runs. Every value has a slice on each axis, and is judged by the smallest
of them, so that a small column beside a large one, or a faint sample beside a strong one, counts like any
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: Values that a slice must have before its spread means anything.
MIN_VALUES = 3
#: A slice is saturated when this share of it sits at its smallest or largest value.
SATURATED = 0.5
_QUANTILE = 0.25


class Scales:
    """Sizes of the values of one output over several runs.

    Parameters
    ----------
    runs
        The output in each run; of one rank. Values that are not finite do not count.
    """

    def __init__(self, runs: Sequence[Array]) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            self.runs = [np.where(np.isfinite(run), run, np.nan).astype(np.float64) for run in runs]
        self.rank = self.runs[0].ndim

    def magnitude(self, run: int) -> Floats:
        """Largest magnitude in a value's own slices, the smallest over the axes."""
        return self._smallest(run, _largest)

    def spread(self, run: int) -> Floats:
        """Largest minus smallest value of a value's own slices, the smallest over the axes."""
        return self._smallest(run, _spread)

    def rounded(self, run: int) -> Floats:
        """The magnitude that rounding is relative to.

        Where a slice is saturated (most of a channel behind a Relu is 0) what was rounded is not seen any
        more: there it is at least that of the lower quarter of its neighbours.
        """
        return self._smallest(run, _largest_or_neighbours)

    def worst(self, run: int, gaps: Sequence[Array]) -> Floats:
        """Largest gap (an array for each run) in a value's own slices, the smallest over the axes."""
        return Scales(gaps)._smallest(run, _largest)

    def _smallest(self, run: int, measure: Callable[[Floats, int], Floats]) -> Floats:
        shape = self.runs[run].shape
        best = np.full(shape, np.inf)
        for axis in range(self.rank):
            stacks = self._stack(run, axis)
            if sum(stack.size for stack in stacks) < MIN_VALUES * shape[axis]:
                continue
            flat = np.concatenate([np.moveaxis(s, axis, 0).reshape(shape[axis], -1) for s in stacks], axis=1)
            found = measure(flat, shape[axis])
            best = np.minimum(best, found.reshape([-1 if k == axis else 1 for k in range(self.rank)]))
        if np.isinf(best).any():
            flat = np.concatenate([one.reshape(-1) for one in self.runs])[None, :]
            best = np.where(np.isinf(best), measure(flat, 1)[0], best)
        return best

    def _stack(self, run: int, axis: int) -> list[Floats]:
        """The runs that share the slices of an axis."""
        size = self.runs[run].shape[axis]
        same = [one for one in self.runs if one.shape[axis] == size]
        if axis == 0 and (self.rank > 1 and len(same) != len(self.runs)):
            return [self.runs[run]]
        return same


def _largest(flat: Floats, slices: int) -> Floats:
    return _reduced(np.fmax, np.abs(flat))


def _spread(flat: Floats, slices: int) -> Floats:
    return _reduced(np.fmax, flat) - _reduced(np.fmin, flat)


def _largest_or_neighbours(flat: Floats, slices: int) -> Floats:
    largest = _largest(flat, slices)
    low, high = _reduced(np.fmin, flat)[:, None], _reduced(np.fmax, flat)[:, None]
    ends = np.maximum((flat == low).mean(axis=1), (flat == high).mean(axis=1))
    alive = largest[largest > 0]
    neighbours = np.quantile(alive, _QUANTILE) if alive.size else 0.0
    return np.where(ends >= SATURATED, np.maximum(largest, neighbours), largest)


def _reduced(how: Any, flat: Floats) -> Floats:
    """Over the values of each slice; 0 for a slice without a finite one."""
    found = how.reduce(flat, axis=1) if flat.shape[1] else np.zeros(len(flat))
    return np.nan_to_num(found, nan=0.0)
