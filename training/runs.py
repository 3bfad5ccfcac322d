"""The lab's training from file to file: train, retrain; a killed run goes on where it was."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from ..errors import InputError
from ..exporter.files.targets import check_target
from ..exporter.nets import cifar
from . import checkpoints, retrain, train
from .beginning import DataSpec, begin, check_fit, outcome_of
from .outcome import Outcome
from .train import Recipe


def early_path(output: Path, epoch: int) -> Path:
    """Where a training of `output` keeps the weights after that epoch."""
    return output.with_name(f"{output.stem}.epoch{epoch}{output.suffix}")


def run_train(
    output: Path,
    arch: str,
    spec: DataSpec,
    recipe: Recipe,
    *,
    force: bool = False,
    rewind_epoch: int | None = None,
    progress: train.Progress | None = None,
) -> Outcome:
    """Train a net from scratch and write its state dict.

    Parameters
    ----------
    rewind_epoch
        Also keep the weights after that epoch, in `early_path`: what weight rewinding goes back to.
    """
    settings = {"step": "train", "arch": arch, **asdict(spec), **asdict(recipe), "rewind_epoch": rewind_epoch}
    if rewind_epoch is not None and not 0 < rewind_epoch <= recipe.epochs:
        raise InputError(f"epoch {rewind_epoch} to rewind to is not one of the {recipe.epochs} trained")
    resume, force = begin(output, settings, force)
    if rewind_epoch is not None:
        check_target(early_path(output, rewind_epoch), force=force)
    samples = spec.load()
    torch.manual_seed(recipe.seed)
    model = cifar.create(arch, samples.classes)
    check_fit(model, samples)

    def keep(epoch: int) -> None:
        if epoch == rewind_epoch:
            checkpoints.write(early_path(output, epoch), model.state_dict(), force=force)

    history = train.fit(model, samples, recipe, resume=resume, progress=progress, after_epoch=keep)
    score = history.accuracy[-1] if history.accuracy else train.accuracy(model, samples.test)
    checkpoints.write(output, model.state_dict(), force=force)
    resume.finish()
    return outcome_of(output, arch, model, score, history)


def run_retrain(
    source: Path,
    output: Path,
    arch: str | None,
    spec: DataSpec,
    recipe: Recipe,
    *,
    schedule: str = "fine-tune",
    rewind_to: Path | None = None,
    gradual_to: float | None = None,
    reestimate: bool = False,
    force: bool = False,
    progress: train.Progress | None = None,
) -> Outcome:
    """Retrain the survivors of a pruned checkpoint; every zero stays zero to the last step.

    Parameters
    ----------
    recipe
        The one the net was trained with, with the epochs and the seed of the retraining.
    rewind_to
        For "weight-rewind": the earlier checkpoint whose values the survivors go back to.
    gradual_to
        Prune along the cubic schedule while retraining, to this rate.
    """
    if (schedule == "weight-rewind") != (rewind_to is not None):
        raise InputError("schedule 'weight-rewind' and a checkpoint to rewind to (--rewind-to) go together")
    if gradual_to is not None and not 0 <= gradual_to < 1:
        raise InputError(f"rate {gradual_to} is outside [0, 1)")
    model, name = checkpoints.load_model(source, arch)
    settings = {"step": "retrain", "source": checkpoints.digest(source), **asdict(spec), **asdict(recipe)}
    settings |= {"schedule": schedule, "gradual_to": gradual_to, "reestimate": reestimate}
    settings["rewind_to"] = checkpoints.digest(rewind_to) if rewind_to and rewind_to.is_file() else None
    sources = [source, rewind_to] if rewind_to else [source]
    resume, force = begin(output, settings, force, sources)
    samples = spec.load()
    check_fit(model, samples)
    if rewind_to is not None:
        retrain.rewind(model, checkpoints.read_state(rewind_to))
    constraint = retrain.Masked(model) if gradual_to is None else retrain.Cubic(model, gradual_to)
    retrain.scale_dropout(model)
    shape = retrain.recipe_for(recipe, schedule, recipe.epochs, recipe.seed)
    history = train.fit(model, samples, shape, [constraint], resume, progress)
    if reestimate:
        retrain.reestimate_batchnorm(model, samples)
    score = train.accuracy(model, samples.test)
    checkpoints.write(output, model.state_dict(), force=force, sources=sources)
    resume.finish()
    return outcome_of(output, name, model, score, history)
