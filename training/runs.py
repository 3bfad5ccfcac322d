"""The lab's steps from file to file: train, prune, retrain, binarize; a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..exporter.files.atomic import check_target
from ..exporter.nets import cifar
from . import binarize as binary
from . import checkpoints, data, neurons, prune, retrain, train
from .train import Recipe, Resume


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


def _outcome(output: Path, arch: str, model: nn.Module, score: float | None, history: Any = None) -> Outcome:
    return Outcome(str(output), arch, score, *prune.count_nonzero(model), history)


def begin(output: Path, settings: dict[str, Any], force: bool, sources: Iterable[Path] = ()) -> Resume:
    """Where the run's state is kept; an output that exists is refused unless this run was writing it."""
    resume = Resume(output, settings)
    check_target(output, force=force or resume.path.exists(), sources=sources)
    return resume


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
    resume = begin(output, settings, force)
    samples = spec.load()
    torch.manual_seed(recipe.seed)
    model = cifar.create(arch, samples.classes)
    check_fit(model, samples)

    def keep(epoch: int) -> None:
        if epoch == rewind_epoch:
            checkpoints.write(early_path(output, epoch), model.state_dict())

    history = train.fit(model, samples, recipe, resume=resume, progress=progress, after_epoch=keep)
    score = history.accuracy[-1] if history.accuracy else train.accuracy(model, samples.test)
    checkpoints.write(output, model.state_dict())
    resume.finish()
    return _outcome(output, arch, model, score, history)


def run_prune(
    source: Path,
    output: Path,
    arch: str | None,
    choose: Callable[[nn.Module], prune.Masks],
    *,
    force: bool = False,
    keep_masks: bool = False,
    remove_dead: bool = False,
    evaluate: DataSpec | None = None,
    reestimate: bool = False,
) -> Outcome:
    """Prune a checkpoint; with `keep_masks` as torch.nn.utils.prune leaves it, else with plain zeros.

    With `remove_dead` also what leads to or from a neuron that pruning left without inputs or outputs.
    """
    check_target(output, force=force, sources=[source])
    model, name = checkpoints.load_model(source, arch)
    masks = choose(model)
    dead = None
    if remove_dead:
        masks, dead = _without_dead(model, masks)
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
    checkpoints.write(output, model.state_dict())
    return replace(_outcome(output, name, model, score), dead=dead)


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
    resume = begin(output, settings, force, [source])
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
    checkpoints.write(output, model.state_dict())
    resume.finish()
    return _outcome(output, name, model, score, history)


def run_binarize(
    source: Path,
    output: Path,
    arch: str | None,
    spec: DataSpec,
    recipe: Recipe,
    method: str,
    *,
    layers: Iterable[str] = (),
    force: bool = False,
    progress: train.Progress | None = None,
) -> Outcome:
    """Binarize a checkpoint; the written weights are exactly plus or minus one number per output channel."""
    if method not in binary.METHODS:
        raise InputError(f"method '{method}': {', '.join(binary.METHODS)}")
    _, trains, scaled, signs = binary.METHODS[method]
    model, name = checkpoints.load_model(source, arch)
    globs = list(layers)
    settings = {"step": "binarize", "source": checkpoints.digest(source), "method": method, "layers": globs}
    resume = begin(output, settings | asdict(spec) | asdict(recipe), force, [source])
    if signs:
        model, name = binary.with_sign_activations(model, name, model.state_dict())
    names = binary.layers_of(model, globs)
    samples = spec.load()
    check_fit(model, samples)
    constraint = binary.Binary(model, names, scaled)
    history = None
    if trains:
        # Weight decay would pull the masters to zero, where signs flip at random.
        history = train.fit(model, samples, replace(recipe, weight_decay=0.0), [constraint], resume, progress)
    constraint.enter(1.0)
    score = train.accuracy(model, samples.test)
    checkpoints.write(output, model.state_dict())
    resume.finish()
    return _outcome(output, name, model, score, history)
