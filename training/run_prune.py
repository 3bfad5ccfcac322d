"""Prune a checkpoint from file to file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..exporter.files.targets import check_target
from . import checkpoints, files, neurons, prune, retrain, targets, train
from .beginning import DataSpec, check_fit, outcome_of
from .outcome import Outcome


def run_prune(
    source: Path,
    output: Path,
    arch: str | None,
    choose: Callable[[dict[str, torch.Tensor]], prune.Masks],
    layers: Iterable[str] = (),
    kinds: Iterable[str] = (),
    *,
    force: bool = False,
    keep_masks: bool = False,
    remove_dead: bool = False,
    evaluate: DataSpec | None = None,
    reestimate: bool = False,
) -> Outcome:
    """Prune a checkpoint; with `keep_masks` as torch.nn.utils.prune leaves it, else with plain zeros.

    An .onnx file, and a state dict whose net is not known, are pruned as they are.

    Parameters
    ----------
    choose
        Masks of the weights that `layers` and `kinds` choose (`targets.chosen`).
    remove_dead
        Also zero what leads to or from a neuron that pruning left without inputs or outputs.
    """
    check_target(output, force=force, sources=[source])
    if files.is_graph(source) and (remove_dead or evaluate is not None or arch is not None):
        raise InputError(f"{source}: --arch, --evaluate, --bn-reestimate and --remove-dead need a checkpoint")
    if files.is_graph(source) or (
        arch is None and not remove_dead and evaluate is None and not checkpoints.is_known(source)
    ):
        return files.prune_file(source, output, choose, layers, kinds, force=force, keep_masks=keep_masks)
    model, name = checkpoints.load_model(source, arch)
    weights = targets.weights(model, layers, kinds)
    masks = choose(weights)
    dead = None
    if remove_dead:
        if not set(masks) <= set(prune.prunable(model)):
            raise InputError("--remove-dead follows convolutions and linear layers: leave out other kinds")
        masks, dead = _without_dead(model, masks)
    left = sum(int(weight.detach()[masks[n]].count_nonzero()) for n, weight in weights.items())
    size = sum(weight.numel() for weight in weights.values())
    if keep_masks:
        prune.attach(model, masks)
    else:
        prune.apply(model, masks)
    score = None
    if evaluate is not None:
        samples = evaluate.load()
        check_fit(model, samples)
        if reestimate:
            retrain.reestimate_batchnorm(model, samples)
        score = train.accuracy(model, samples.test)
    checkpoints.write(output, model.state_dict(), force=force, sources=[source])
    if kinds or not targets.has_default(model):  # counted are the weights that were chosen
        return Outcome(str(output), name, score, left, size, dead=dead)
    return replace(outcome_of(output, name, model, score), dead=dead)


def _without_dead(model: nn.Module, masks: prune.Masks) -> tuple[prune.Masks, int]:
    """The masks without dead neurons, and how many non-zero weights that removes.

    Raises
    ------
    InputError
        If no path from the input to the output is left, so that every weight would go.
    """
    living = neurons.without_dead(model, masks)
    if not any(bool(mask.any()) for mask in living.values()):
        raise InputError("pruned so far, no path leads from the input to the output: all weights would go")
    weights: dict[str, Any] = {name: module.weight for name, module in prune.prunable(model).items()}
    gone = (weights[name][mask & ~living[name]].count_nonzero() for name, mask in masks.items())
    return living, sum(int(count) for count in gone)
