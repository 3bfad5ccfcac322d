"""Which format a tensor gets: exact sizes, compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..base import Format, TensorStats


@dataclass(frozen=True)
class Choice:
    """The format taken, the next best one, and the exact bytes of every format that can hold the tensor.

    `sizes` has the bytes of each, the best first; "dense" is always among them. `runner_up` is None where no
    format can hold the tensor.
    """

    chosen: str
    runner_up: str | None
    sizes: dict[str, int]
    reason: str

    @property
    def nbytes(self) -> int:
        """Bytes of the chosen format."""
        return self.sizes[self.chosen]


def choose(
    stats: TensorStats, candidates: Iterable[Format], dense_bytes: int | None = None, overhead: int = 0
) -> Choice:
    """The candidate that takes the fewest bytes, if fewer than dense; on a tie what a kernel runs.

    Parameters
    ----------
    dense_bytes
        What the tensor takes if it is not packed; by default its own bytes. They differ where its values
        are only stored smaller when packed.
    overhead
        Bytes that packing costs beside the components.

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
    asked = [fmt for fmt in candidates if fmt.name != "dense"]
    sizes = {fmt.name: fmt.nbytes(stats) for fmt in asked if fmt.applies_to(stats)}
    precedence = {fmt.name: fmt.precedence for fmt in asked}
    ranked = sorted(sizes, key=lambda name: (sizes[name], precedence[name]))
    sizes["dense"] = stats.nbytes if dense_bytes is None else dense_bytes
    place = sum(sizes[name] + overhead < sizes["dense"] for name in ranked)
    ranked.insert(place, "dense")
    chosen, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else None
    density = f"density {stats.density:.1%}"
    if runner_up is None:
        reason = f"{', '.join(fmt.name for fmt in asked) or 'no format'} cannot hold it"
    elif chosen == "dense":
        reason = f"{density}: {runner_up} would take {sizes[runner_up]:,} B"
    elif sizes[chosen]:
        reason = f"{sizes['dense'] / sizes[chosen]:.1f}x smaller at {density}"
    else:
        reason = f"nothing to store at {density}"
    return Choice(chosen, runner_up, {name: sizes[name] for name in ranked}, reason)
