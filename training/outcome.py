"""What a step of the lab did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import train


@dataclass
class Outcome:
    """What a step did; `as_json` of it is what the command prints."""

    output: str
    arch: str
    accuracy: float | None
    nonzeros: int
    weights: int
    history: train.History | None = None
    #: Weights of dead neurons that pruning removed beyond its rate; None where that was not asked for.
    dead: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"sparsity": 1 - self.nonzeros / self.weights}
