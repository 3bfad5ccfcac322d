"""How every step of the lab begins: which data, whether its net fits them, where its state is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..exporter.files.targets import check_target
from . import data, prune
from .outcome import Outcome
from .train import Resume


@dataclass(frozen=True)
class DataSpec:
    """Which data, by name: what `data.load` takes."""

    source: str = "digits"
    directory: str | None = None
    download: bool = False
    image_size: int = 32

    def load(self) -> data.Data:
        """The data set, read once a process."""
        return _load(self)


@cache
def _load(spec: DataSpec) -> data.Data:
    return data.load(spec.source, spec.directory, spec.download, spec.image_size)


def outcome_of(
    output: Path, arch: str, model: nn.Module, score: float | None, history: Any = None
) -> Outcome:
    """What a step reports of the net it wrote."""
    return Outcome(str(output), arch, score, *prune.count_nonzero(model), history)


def begin(
    output: Path, settings: dict[str, Any], force: bool, sources: Iterable[Path] = ()
) -> tuple[Resume, bool]:
    """Where the run's state is kept, and whether the output may be overwritten.

    An output that exists is refused, unless `force` is given or a state says that this run was writing it.
    """
    resume = Resume(output, settings)
    force = force or resume.path.exists()
    check_target(output, force=force, sources=sources)
    return resume, force


def check_fit(model: nn.Module, samples: data.Data) -> None:
    """Run one training image through the net.

    Raises
    ------
    InputError
        If the net does not take such images, or gives another number of classes.
    """
    images, _ = samples.train.fetch(torch.arange(min(2, samples.train.size)))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores = model(images)
    except (RuntimeError, ValueError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(
            f"the net does not take {list(images.shape[1:])} images of '{samples.name}': {line}"
        ) from error
    model.train(was_training)
    if not isinstance(scores, torch.Tensor) or scores.dim() != 2 or scores.shape[1] < samples.classes:
        got = list(scores.shape[1:]) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise InputError(
            f"the net gives {got} scores an image; '{samples.name}' has {samples.classes} classes"
        )
