"""One row of a sweep to compute, and what all rows of it share."""

from __future__ import annotations

from dataclasses import dataclass

from .. import train
from ..beginning import DataSpec


@dataclass(frozen=True)
class Settings:
    """What all rows of a sweep share; a folder holds rows of one set of settings only.

    Parameters
    ----------
    epochs, rounds
        Budget of the retraining methods.
    structure
        What is pruned together.
    activations
        "int8": each net is also quantized, on training data, and that file judged.
    """

    arch: str
    data: DataSpec
    recipe: train.Recipe
    epochs: int = 3
    rounds: int = 3
    scope: str = "global"
    criterion: str = "l1"
    formats: tuple[str, ...] = ("csr", "auto")
    latency: bool = False
    structure: str = "unstructured"
    activations: str = "float"


@dataclass(frozen=True)
class Task:
    """One row to compute; small and picklable, so that any process can.

    Parameters
    ----------
    digest
        Of the files that the row is computed from.
    early
        Checkpoint of the early epoch that the method goes back to.
    """

    settings: Settings
    checkpoint: str
    digest: str
    seed: int
    method: str
    rate: float
    early: str | None = None

    @property
    def key(self) -> str:
        """Name of the row's file."""
        return f"seed{self.seed}-{self.method}-{self.rate:.6f}"
