"""Ways from a trained net to a sparse one on the same budget of retraining epochs: what the lab compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ...errors import InputError
from .. import prune, retrain
from ..data import Data
from ..train import Constraint, Recipe, fit


@dataclass(frozen=True)
class Allowance:
    """What every method may spend.

    Parameters
    ----------
    recipe
        The recipe the net was trained with; its learning rate is "the original one".
    epochs
        Retraining epochs in all.
    rounds
        Over how many prunings the iterative methods spread them.
    scope, criterion, structure
        Of the pruning; the cubic schedule always ranks magnitudes globally.
    early
        State dict of an early epoch, which the ways of `REWINDS` go back to.
    """

    recipe: Recipe
    epochs: int = 3
    rounds: int = 3
    seed: int = 0
    scope: str = "global"
    criterion: str = "l1"
    early: Mapping[str, torch.Tensor] = field(default_factory=dict)
    structure: str = "unstructured"

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError("rounds must be at least 1")


def _prune(model: nn.Module, rate: float, budget: Allowance) -> None:
    masks = prune.masks(
        model,
        rate,
        scope=budget.scope,
        criterion=budget.criterion,
        structure=budget.structure,
        seed=budget.seed,
    )
    prune.apply(model, masks)


def _one_shot(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _prune(model, rate, budget)


def _batchnorm(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _one_shot(model, data, rate, budget)
    retrain.reestimate_batchnorm(model, data)


def _retrain(model: nn.Module, data: Data, budget: Allowance, schedule: str, epochs: int, seed: int) -> None:
    recipe = retrain.recipe_for(budget.recipe, schedule, epochs, seed)
    fit(model, data, recipe, [retrain.Masked(model)])


def _fine_tune(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _one_shot(model, data, rate, budget)
    _retrain(model, data, budget, "fine-tune", budget.epochs, budget.seed)


def _lr_rewind(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _one_shot(model, data, rate, budget)
    _retrain(model, data, budget, "lr-rewind", budget.epochs, budget.seed)


def _weight_rewind(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _one_shot(model, data, rate, budget)
    retrain.rewind(model, budget.early)
    _retrain(model, data, budget, "weight-rewind", budget.epochs, budget.seed)


def rounds_of(rate: float, budget: Allowance) -> list[tuple[float, int]]:
    """(rate, epochs) of each round: every round keeps the same share, the last takes the odd epochs."""
    rounds = max(1, min(budget.rounds, budget.epochs))
    rates = [1 - (1 - rate) ** (i / rounds) for i in range(1, rounds)] + [rate]
    each = budget.epochs // rounds
    return [(r, each if i < rounds else budget.epochs - each * (rounds - 1)) for i, r in enumerate(rates, 1)]


def _iterative(model: nn.Module, data: Data, rate: float, budget: Allowance, schedule: str) -> None:
    for number, (step_rate, epochs) in enumerate(rounds_of(rate, budget)):
        _prune(model, step_rate, budget)
        _retrain(model, data, budget, schedule, epochs, budget.seed * 1000 + number)


def _han(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _iterative(model, data, rate, budget, "fine-tune")


def _han_rewind(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _iterative(model, data, rate, budget, "lr-rewind")


def _han_batchnorm(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _han(model, data, rate, budget)
    retrain.reestimate_batchnorm(model, data)


def _han_rewind_batchnorm(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    _han_rewind(model, data, rate, budget)
    retrain.reestimate_batchnorm(model, data)


def _cubic(model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    constraint: Constraint = retrain.Cubic(model, rate, structure=budget.structure)
    fit(model, data, replace(budget.recipe, epochs=budget.epochs, seed=budget.seed), [constraint])


Run = Callable[[nn.Module, Data, float, Allowance], None]

#: Name -> (what it does, how).
METHODS: dict[str, tuple[str, Run]] = {
    "none": ("one-shot, no retraining", _one_shot),
    "bn": ("one-shot, BatchNorm re-estimated", _batchnorm),
    "fine-tune": ("one-shot + small-rate retraining", _fine_tune),
    "lr-rewind": ("one-shot + learning-rate rewinding", _lr_rewind),
    "weight-rewind": ("one-shot + weight rewinding", _weight_rewind),
    "han": ("iterative, small rate (Han)", _han),
    "han-rewind": ("iterative, rate rewinding", _han_rewind),
    "han-bn": ("iterative, small rate, BatchNorm re-estimated", _han_batchnorm),
    "han-rewind-bn": ("iterative, rate rewinding, BatchNorm re-estimated", _han_rewind_batchnorm),
    "cubic": ("cubic schedule", _cubic),
}

#: Ways that need the weights of an early epoch (Renda et al. 2020).
REWINDS = ("weight-rewind",)


def parse(text: str) -> list[str]:
    """`none,han,cubic` as names, each once; raises InputError for an unknown one or none at all."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in METHODS:
            raise InputError(f"unknown retraining '{name}': {', '.join(METHODS)}")
    if not names:
        raise InputError(f"no retraining named: {', '.join(METHODS)}")
    return names


def run(method: str, model: nn.Module, data: Data, rate: float, budget: Allowance) -> None:
    """Bring the net to the rate by the named method, in place.

    Raises
    ------
    InputError
        If the rate is outside [0, 1), or the method retrains and the budget has no epochs.
    """
    if not 0 <= rate < 1:
        raise InputError(f"rate {rate} is outside [0, 1)")
    if method not in ("none", "bn") and budget.epochs < 1:
        raise InputError(f"retraining '{method}' needs at least one epoch")
    METHODS[method][1](model, data, rate, budget)
