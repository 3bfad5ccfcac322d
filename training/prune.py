"""Pruning: which weights of a net to zero, by score, scope and structure.

Every structure cuts a weight, seen as [rows = outputs, columns], into units; a unit's score decides
whether all of its weights stay or go. `masks` only decides; `apply` zeroes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from ..errors import InputError
from .targets import KINDS, prunable, weights

__all__ = [
    "CRITERIA",
    "KINDS",
    "SCOPES",
    "Masks",
    "Structure",
    "apply",
    "attach",
    "choose",
    "masks",
    "prunable",
]

SCOPES = ("global", "layer", "sensitivity")
CRITERIA = ("l1", "l2", "random")
Masks = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Structure:
    """Units of pruning: "unstructured", "channel", blocks, or "2:4" (N kept of M).

    "1x4" are blocks of one output and four input channels at one place of the kernel, which integer
    kernels multiply by one instruction; "block:4x1" are blocks of rows and columns as the weight lies,
    where the columns of a convolution run over the kernel first.
    """

    rows: int = 1
    cols: int = 1
    channel: bool = False
    keep: int | None = None
    over_channels: bool = False

    @classmethod
    def parse(cls, text: str) -> Structure:
        """Read the text form; raises InputError on anything else."""
        kind, _, size = text.partition(":")
        try:
            if text == "unstructured":
                return cls()
            if text == "channel":
                return cls(channel=True)
            if kind == "block":
                rows, cols = (int(part) for part in size.split("x"))
                if rows < 1 or cols < 1:
                    raise ValueError
                return cls(rows, cols)
            if "x" in text and not size:
                rows, cols = (int(part) for part in text.split("x"))
                if rows < 1 or cols < 1:
                    raise ValueError
                return cls(rows, cols, over_channels=True)
            keep, group = int(kind), int(size)
            if not 0 < keep < group:
                raise ValueError
            return cls(cols=group, keep=keep)
        except ValueError:
            raise InputError(
                f"structure '{text}': unstructured, OUTPUTSxINPUTS (1x4), block:ROWSxCOLS, channel or N:M "
                "(0 < N < M)"
            ) from None

    def units(self, shape: tuple[int, int], window: int = 1) -> torch.Tensor:
        """Number of the unit each entry belongs to, int64 [rows, columns].

        Parameters
        ----------
        window
            Columns of one input channel.
        """
        row, col = torch.arange(shape[0])[:, None], torch.arange(shape[1])[None, :]
        if self.channel:
            return row.expand(shape).contiguous()
        if not self.over_channels:
            return row // self.rows * (-(-shape[1] // self.cols)) + col // self.cols
        blocks = -(-shape[1] // window // self.cols) * window
        return row // self.rows * blocks + col // window // self.cols * window + col % window


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    matrix = weight.detach().reshape(weight.shape[0], -1)
    # Half precision neither ranks finely enough nor is known to numpy in all its forms.
    return matrix if matrix.dtype in (torch.float32, torch.float64) else matrix.float()


def _entry_scores(weight: torch.Tensor, criterion: str, generator: torch.Generator) -> torch.Tensor:
    """Importance of each entry; what is zero already comes before everything else."""
    matrix = _matrix(weight)
    if criterion == "random":
        scores = torch.rand(matrix.shape, generator=generator)
    else:
        scores = matrix.abs() if criterion == "l1" else matrix.square()
    return scores.masked_fill(matrix == 0, -1.0 if criterion == "random" else 0.0)


def masks(
    model: nn.Module,
    rate: float | None = None,
    target_nnz: int | None = None,
    scope: str = "global",
    criterion: str = "l1",
    structure: str = "unstructured",
    layers: Iterable[str] = (),
    seed: int = 0,
    kinds: Iterable[str] = (),
) -> Masks:
    """Weight name -> bool tensor of the weight's shape: True stays. As `choose`, of a net's weights."""
    return choose(weights(model, layers, kinds), rate, target_nnz, scope, criterion, structure, seed)


def choose(
    chosen: Mapping[str, torch.Tensor],
    rate: float | None = None,
    target_nnz: int | None = None,
    scope: str = "global",
    criterion: str = "l1",
    structure: str = "unstructured",
    seed: int = 0,
) -> Masks:
    """Weight name -> bool tensor of the weight's shape: True stays.

    Parameters
    ----------
    rate
        Fraction of the chosen weights that is zero afterwards, in [0, 1); rounded to a whole number of
        weights (of units, for a structure) as torch.nn.utils.prune does.
    target_nnz
        Instead of a rate: the number of the chosen weights to keep.
    scope
        "global": one ranking; "layer": the same rate in each layer; "sensitivity": one ranking of
        the scores in units of their layer's standard deviation (Han et al. 2015 prune below a
        multiple of it), which spares small layers.
    """
    if scope not in SCOPES or criterion not in CRITERIA:
        raise InputError(f"scope: {', '.join(SCOPES)}; criterion: {', '.join(CRITERIA)}")
    shape = Structure.parse(structure)
    generator = torch.Generator().manual_seed(seed)
    scores = {name: _entry_scores(weight, criterion, generator) for name, weight in chosen.items()}
    if shape.keep is not None:
        if rate is not None or target_nnz is not None:
            raise InputError(f"structure '{structure}' fixes the rate; leave out the amount")
        return {n: _n_of_m(s, shape.keep, shape.cols).reshape(chosen[n].shape) for n, s in scores.items()}
    rate = _rate(rate, target_nnz, sum(weight.numel() for weight in chosen.values()))
    units = {
        name: shape.units((s.shape[0], s.shape[1]), math.prod(chosen[name].shape[2:]))
        for name, s in scores.items()
    }
    means = {name: _unit_means(s, units[name]) for name, s in scores.items()}
    if scope == "sensitivity":
        power = 2 if criterion == "l2" else 1
        means = {
            n: m / max(float(_matrix(chosen[n]).double().std(correction=0)) ** power, 1e-30)
            for n, m in means.items()
        }
    if scope == "layer":
        kept = {name: _keep(mean, rate) for name, mean in means.items()}
    else:
        everything = _keep(torch.cat(list(means.values())), rate)
        kept = dict(zip(means, torch.split(everything, [len(m) for m in means.values()]), strict=True))
    return {name: kept[name][units[name]].reshape(chosen[name].shape) for name in chosen}


def _rate(rate: float | None, target_nnz: int | None, total: int) -> float:
    """The rate asked for, checked; `target_nnz` of `total` weights becomes the rate that leaves so many."""
    if (rate is None) == (target_nnz is None):
        raise InputError("give either a rate or a number of non-zeros")
    if target_nnz is not None:
        if not 0 < target_nnz <= total:
            raise InputError(f"{target_nnz} non-zeros asked for; the chosen layers hold {total} weights")
        return 1 - target_nnz / total
    assert rate is not None
    if not 0 <= rate < 1:
        raise InputError(f"rate {rate} is outside [0, 1)")
    return rate


def _unit_means(scores: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """Mean score of each unit; a unit at the ragged edge of a matrix is judged by its own size."""
    count = int(units.max()) + 1
    if count == scores.numel():
        return scores.reshape(-1)
    sums = torch.bincount(units.reshape(-1), scores.reshape(-1), minlength=count)
    return (sums / torch.bincount(units.reshape(-1), minlength=count)).to(scores.dtype)


def _keep(scores: torch.Tensor, rate: float) -> torch.Tensor:
    """True for all but the `round(rate * n)` lowest scores (torch.nn.utils.prune's rounding)."""
    drop = round(rate * scores.numel())
    if drop == scores.numel():
        return torch.zeros_like(scores, dtype=torch.bool)
    # A selection is ten times faster than a sort of everything; ties go by position.
    threshold = float(np.partition(scores.numpy(), drop)[drop])
    kept = scores > threshold
    ties = torch.nonzero(scores == threshold)[:, 0]
    kept[ties[len(ties) - (scores.numel() - drop - int(kept.sum())) :]] = True
    return kept


def _n_of_m(scores: torch.Tensor, keep: int, group: int) -> torch.Tensor:
    """True for the `keep` best of every `group` columns; a ragged last group keeps all that fit."""
    rows, cols = scores.shape
    padded = torch.full((rows, -(-cols // group) * group), -2.0, dtype=scores.dtype)
    padded[:, :cols] = scores
    grouped = padded.reshape(rows, -1, group)
    best = grouped.topk(keep, dim=2).indices
    return torch.zeros_like(grouped, dtype=torch.bool).scatter_(2, best, True).reshape(rows, -1)[:, :cols]


def apply(model: nn.Module, chosen: Masks) -> None:
    """Zero, in place, every weight whose mask is False. The zeros are +0.0."""
    with torch.no_grad():
        for name, mask in chosen.items():
            module, parameter = _owner(model, name)
            getattr(module, parameter).masked_fill_(~mask, 0.0)


def attach(model: nn.Module, chosen: Masks) -> None:
    """Reparametrise as torch.nn.utils.prune does: the state dict then holds weight_orig and weight_mask."""
    for name, mask in chosen.items():
        torch_prune.custom_from_mask(*_owner(model, name), mask)  # type: ignore[no-untyped-call]


def _owner(model: nn.Module, name: str) -> tuple[Any, str]:
    """The module that has the weight of that name, and the parameter's name in it."""
    modules: dict[str, Any] = dict(model.named_modules())
    if name in modules and isinstance(getattr(modules[name], "weight", None), torch.Tensor):
        return modules[name], "weight"
    layer, _, parameter = name.rpartition(".")
    return modules[layer], parameter


def count_nonzero(model: nn.Module) -> tuple[int, int]:
    """Non-zeros and size of all conv and linear weights."""
    weights = [m.weight for m in prunable(model).values() if isinstance(m.weight, torch.Tensor)]
    return sum(int(w.count_nonzero()) for w in weights), sum(w.numel() for w in weights)
