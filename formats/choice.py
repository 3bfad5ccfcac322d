"""Which format a tensor gets: exact sizes, compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InputError
from .base import Format, TensorStats

#: Formats that a kernel of ours reads directly, the fastest first.
KERNELS = ("bitpack", "csr")
#: What a tie goes to: what a kernel runs, then the more regular layout.
PREFERENCE = (*KERNELS, "nm")
#: With optimize="speed" a format with a kernel is taken if it is at most this much bigger than the smallest.
SPEED_MARGIN = 1.35


@dataclass(frozen=True)
class Choice:
    """The format taken, the next best one, and the exact bytes of every format that can hold the tensor.

    `sizes` is ordered from the smallest; it always has "dense". `runner_up` is None where only dense fits.
    """

    chosen: str
    runner_up: str | None
    sizes: dict[str, int]
    reason: str

    @property
    def nbytes(self) -> int:
        """Bytes of the chosen format."""
        return self.sizes[self.chosen]


def choose(stats: TensorStats, candidates: Iterable[Format], optimize: str = "size") -> Choice:
    """The best of the candidates that can hold the tensor, never bigger than dense.

    Parameters
    ----------
    optimize
        "size": the fewest bytes, on a tie what a kernel runs. "speed": the smallest of those a kernel runs,
        if it costs at most 35 % over the smallest of all.

    Raises
    ------
    InputError
        If `optimize` is neither.

    Examples
    --------
    >>> import numpy as np
    >>> from sparse_export import formats
    >>> weight = np.zeros((8, 64), np.float32)
    >>> weight[:, 5] = 1.5
    >>> choice = choose(TensorStats(weight), formats.all_formats())
    >>> choice.chosen, choice.nbytes, choice.runner_up
    ('palette', 12, 'signgaps')
    """
    if optimize not in ("size", "speed"):
        raise InputError(f"optimize must be 'size' or 'speed', not '{optimize}'")
    found = {
        fmt.name: fmt.nbytes(stats) for fmt in candidates if fmt.name != "dense" and fmt.applies_to(stats)
    }
    found["dense"] = stats.nbytes
    ranked = sorted(found, key=lambda name: (found[name], name != "dense", _rank(name)))
    sizes = {name: found[name] for name in ranked}
    chosen = ranked[0]
    reason = f"{stats.nbytes / max(1, found[chosen]):.1f}x smaller at density {stats.density:.1%}"
    if chosen == "dense":
        reason = f"dense is smallest at density {stats.density:.1%}"
    elif optimize == "speed" and chosen not in KERNELS:
        fast = next((name for name in ranked if name in KERNELS), None)
        if fast and found[fast] <= SPEED_MARGIN * found[chosen] and found[fast] < stats.nbytes:
            reason = f"a kernel runs it, at {found[fast] - found[chosen]:,} B over {chosen}"
            chosen = fast
    runner_up = next((name for name in ranked if name != chosen), None)
    return Choice(chosen, runner_up, sizes, reason)


def _rank(name: str) -> int:
    return PREFERENCE.index(name) if name in PREFERENCE else len(PREFERENCE)
