"""Training: one epoch loop for every recipe of the lab, resumable after a kill with the same result.

Everything random in an epoch (order, augmentation, dropout) is seeded from the run's seed and the
epoch's number, and the learning rate is a function of the step, so the state of a run is its
weights, its optimizer and the number of epochs done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import CorruptFileError, InputError
from . import checkpoints
from .data import Data, Split

#: Called after every step with (epochs done, epochs in all, steps done in this epoch, steps in it, loss).
Progress = Callable[[int, int, int, int, float], None]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    lr
        Peak learning rate. `onecycle` rises to it over the first fifth of the steps and falls to
        zero along a cosine; `cosine` only falls; `step` divides by 10 at one half and three quarters;
        `constant` stays.
    weight_decay
        L2 factor; for `adam` it is decoupled (AdamW).
    """

    epochs: int = 2
    batch_size: int = 32
    lr: float = 1e-3
    optimizer: str = "adam"
    schedule: str = "onecycle"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1 or not self.lr > 0:
            raise InputError("epochs must be >= 0, batch size >= 1 and the learning rate > 0")
        if self.optimizer not in OPTIMIZERS or self.schedule not in SCHEDULES:
            raise InputError(f"optimizer: {', '.join(OPTIMIZERS)}; schedule: {', '.join(SCHEDULES)}")


OPTIMIZERS = ("sgd", "adam")
SCHEDULES: dict[str, Callable[[float], float]] = {
    "onecycle": lambda t: t / 0.2 if t < 0.2 else 0.5 * (1 + math.cos(math.pi * (t - 0.2) / 0.8)),
    "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
    "step": lambda t: 1.0 if t < 0.5 else 0.1 if t < 0.75 else 0.01,
    "constant": lambda t: 1.0,
}


class Constraint:
    """What a run enforces on the weights; the base class enforces nothing."""

    def enter(self, done: float) -> None:
        """Make the weights those the net computes with; `done` is the fraction of the run's steps."""

    def leave(self) -> None:
        """Back to the weights the optimizer steps on: after a backward pass, and after evaluating."""

    def after_step(self) -> None:
        """Called after the optimizer's step."""


@dataclass
class History:
    """What was measured after each epoch."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split, batch_size: int = 120) -> float:
    """Fraction of the split that the net, in evaluation mode, classifies right."""
    was_training = model.training
    model.eval()
    right = sum(
        int((model(images).argmax(1) == labels).sum()) for images, labels in split.batches(batch_size)
    )
    model.train(was_training)
    return right / split.size


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    constraints: Sequence[Constraint] = (),
    resume: Resume | None = None,
    progress: Progress | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> History:
    """Train in place; with `resume`, go on where a killed run of the same settings stopped.

    Parameters
    ----------
    after_epoch
        Called with the number of epochs done, before that epoch's state is saved.

    Returns
    -------
    History
        Mean training loss and held-out accuracy after each epoch.
    """
    optimizer = _optimizer(model, recipe)
    history = History()
    first = resume.restore(model, optimizer, history) if resume else 0
    for epoch in range(first, recipe.epochs):
        history.loss.append(_epoch(model, data, recipe, optimizer, constraints, epoch, progress))
        for constraint in constraints:
            constraint.enter((epoch + 1) / recipe.epochs)
        history.accuracy.append(accuracy(model, data.test))
        for constraint in constraints:
            constraint.leave()
        if after_epoch:
            after_epoch(epoch + 1)
        if resume:
            resume.save(epoch + 1, model, optimizer, history)
    return history


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )


def _epoch(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    constraints: Sequence[Constraint],
    epoch: int,
    progress: Progress | None,
) -> float:
    """One pass over the training split; returns the mean loss."""
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout
    model.train()
    steps, total = math.ceil(data.train.size / recipe.batch_size), 0.0
    for step, (images, labels) in enumerate(data.train.shuffled(recipe.batch_size, recipe.seed, epoch)):
        if len(images) == 1 and steps > 1:
            continue  # BatchNorm over a 1x1 map cannot normalise a single sample
        done = (epoch * steps + step) / (recipe.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * SCHEDULES[recipe.schedule](done)
        for constraint in constraints:
            constraint.enter(done)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for constraint in constraints:
            constraint.leave()
        optimizer.step()
        for constraint in constraints:
            constraint.after_step()
        total += loss.item() * len(images)
        if progress:
            progress(epoch, recipe.epochs, step + 1, steps, loss.item())
    return total / data.train.size


class Resume:
    """The state of a run, kept beside its output until the run is done.

    Parameters
    ----------
    output
        The file the run will write; the state is `<output>.resume`.
    settings
        Everything the result depends on. A state left by other settings is refused.
    """

    def __init__(self, output: str | Path, settings: dict[str, Any]) -> None:
        self.path = Path(f"{output}.resume")
        self.settings = settings

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, history: History) -> int:
        """Load what is there; returns the number of epochs done."""
        if not self.path.exists():
            return 0
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch has no common class for what a damaged file raises
            raise CorruptFileError(f"{self.path}: cannot be read; delete it to start afresh") from error
        if not (
            isinstance(state, dict) and {"settings", "epoch", "model", "optimizer", "history"} <= set(state)
        ):
            raise CorruptFileError(f"{self.path}: not the state of a run; delete it to start afresh")
        if state["settings"] != self.settings:
            changed = [k for k in self.settings if state["settings"].get(k) != self.settings[k]]
            raise InputError(
                f"{self.path} is the state of a run with other settings ({', '.join(changed) or 'fewer'}); "
                "give the same ones to go on, or delete it to start afresh"
            )
        checkpoints.load_into(model, state["model"], f"{self.path} does not fit the net")
        optimizer.load_state_dict(state["optimizer"])
        history.__dict__.update(state["history"])
        return int(state["epoch"])

    def save(self, epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer, history: History) -> None:
        """Replace the state atomically."""
        state = {
            "settings": self.settings,
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": asdict(history),
        }
        checkpoints.write(self.path, state)

    def finish(self) -> None:
        """The output is written: forget the state."""
        self.path.unlink(missing_ok=True)
