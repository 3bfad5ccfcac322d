"""Retraining what pruning left: masks that hold to the last step, and what the weights start from.

Sources: Han et al. 2015 (prune, retrain the survivors, repeat; less dropout), Zhu & Gupta 2017 (the
cubic schedule), Renda et al. 2020 (learning-rate and weight rewinding).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from ..errors import InputError
from . import prune, targets
from .data import Data
from .train import Constraint, Recipe

SCHEDULES = ("fine-tune", "lr-rewind", "weight-rewind")

#: Fine-tuning's learning rate as a fraction of the original one (Han: 1/10 to 1/100).
FINE_TUNE_FACTOR = 0.1


class Masked(Constraint):
    """Keeps at zero what is zero: in the gradients before each step, in the weights after it.

    Parameters
    ----------
    model
        Its layers' weights that hold zeros, of whatever kind, are masked where they do.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.zeros: list[tuple[nn.Parameter, torch.Tensor]] = []
        self.find()

    def find(self) -> None:
        """Take the present zeros as the masks."""
        weights = targets.weights(self.model, kinds=targets.MODULES).values()
        self.zeros = [
            (w, w.detach() == 0) for w in weights if isinstance(w, nn.Parameter) and bool((w == 0).any())
        ]

    def leave(self) -> None:
        for weight, zero in self.zeros:
            if weight.grad is not None:
                weight.grad.masked_fill_(zero, 0.0)

    def after_step(self) -> None:
        with torch.no_grad():
            for weight, zero in self.zeros:
                weight.masked_fill_(zero, 0.0)


class Cubic(Masked):
    """Prunes while it trains, along s(t) = s_f + (s_i - s_f)(1 - t)^3, then keeps the final masks.

    Parameters
    ----------
    rate
        Final rate s_f; the initial one is the net's own.
    ramp, events
        Fraction of the run in which the rate rises, and in how many prunings.
    structure
        What is pruned together.
    """

    def __init__(
        self,
        model: nn.Module,
        rate: float,
        ramp: float = 0.6,
        events: int = 12,
        structure: str = "unstructured",
    ) -> None:
        super().__init__(model)
        self.structure = structure
        nnz, size = prune.count_nonzero(model)
        self.initial, self.final = 1 - nnz / size, rate
        self.ramp, self.events = ramp, events
        self.event = -1

    def rate_at(self, done: float) -> float:
        """The rate at that fraction of the run."""
        left = 1 - min(done / self.ramp, 1.0)
        return self.final + (self.initial - self.final) * left**3

    def enter(self, done: float) -> None:
        event = min(int(done / self.ramp * self.events), self.events)
        if event > self.event:
            self.event = event
            rate = self.rate_at(event / self.events * self.ramp)
            prune.apply(self.model, prune.masks(self.model, rate, structure=self.structure))
            self.find()


def recipe_for(original: Recipe, schedule: str, epochs: int, seed: int) -> Recipe:
    """The recipe of a retraining of a net that the original recipe trained.

    "fine-tune" stays at a tenth of the original learning rate; "lr-rewind" and "weight-rewind" replay
    the original schedule over the given number of epochs.
    """
    if schedule not in SCHEDULES:
        raise InputError(f"schedule '{schedule}': {', '.join(SCHEDULES)}")
    if schedule == "fine-tune":
        lr = original.lr * FINE_TUNE_FACTOR
        return replace(original, epochs=epochs, seed=seed, lr=lr, schedule="constant")
    return replace(original, epochs=epochs, seed=seed)


def rewind(model: nn.Module, early: Mapping[str, torch.Tensor]) -> None:
    """Set the surviving weights, and everything else, to earlier values; zeros stay zero."""
    state = model.state_dict()
    mine = {key: tensor for key, tensor in early.items() if key in state}
    if mine.keys() != state.keys() or any(mine[k].shape != state[k].shape for k in state):
        raise InputError("the checkpoint to rewind to is of another architecture")
    masks = Masked(model)
    model.load_state_dict(mine)
    masks.after_step()


def scale_dropout(model: nn.Module) -> dict[str, float]:
    """Han's rule: each Dropout's probability times sqrt(connections left / connections) of its layer.

    The layer is the first convolution or linear layer behind the Dropout, in the order of definition.

    Returns
    -------
    dict
        Name of the Dropout module -> its new probability.
    """
    waiting: dict[str, nn.modules.dropout._DropoutNd] = {}
    changed: dict[str, float] = {}
    layers = prune.prunable(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            waiting[name] = module
        elif name in layers and isinstance(module.weight, torch.Tensor):
            left = int(module.weight.count_nonzero()) / module.weight.numel()
            for dropout, dropper in waiting.items():
                dropper.p = changed[dropout] = dropper.p * math.sqrt(left)
            waiting.clear()
    return changed


@torch.no_grad()
def reestimate_batchnorm(model: nn.Module, data: Data, batch_size: int = 128) -> int:
    """Measure every BatchNorm's mean and variance anew on the training data; returns how many there are.

    A cheap repair after pruning without retraining: no weight changes.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    dropouts = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    was_training = model.training
    model.train()
    for dropout in dropouts:
        dropout.eval()
    for images, _ in data.train.batches(batch_size):
        if len(images) > 1:
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
    return len(norms)
