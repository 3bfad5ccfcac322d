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
from ..exporter.files.targets import check_target
from ..exporter.nets import cifar
from . import binarize as binary
from . import checkpoints, data, files, neurons, prune, retrain, targets, train
from .outcome import Outcome
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


def _outcome(output: Path, arch: str, model: nn.Module, score: float | None, history: Any = None) -> Outcome:
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
    return _outcome(output, arch, model, score, history)


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
    evaluate: bool = True,
    force: bool = False,
    progress: train.Progress | None = None,
) -> Outcome:
    """Binarize a checkpoint; the written weights are exactly plus or minus one number per output channel.

    Where nothing is trained (`method` "sign"), no data are read unless `evaluate` is set, and neither an
    .onnx file nor a state dict needs its net.
    """
    if method not in binary.METHODS:
        raise InputError(f"method '{method}': {', '.join(binary.METHODS)}")
    _, trains, scaled, signs = binary.METHODS[method]
    evaluate = evaluate or trains
    if files.is_graph(source) and (evaluate or arch is not None):
        raise InputError(
            f"{source}: an .onnx file is only binarized as it is: --method sign, without a net or data"
        )
    if files.is_graph(source) or (arch is None and not evaluate and not checkpoints.is_known(source)):
        return files.binarize_file(source, output, layers, force=force)
    model, name = checkpoints.load_model(source, arch)
    globs = list(layers)
    settings = {"step": "binarize", "source": checkpoints.digest(source), "method": method, "layers": globs}
    resume, force = begin(output, settings | asdict(spec) | asdict(recipe), force, [source])
    if signs:
        model, name = binary.with_sign_activations(model, name, model.state_dict())
    names = binary.layers_of(model, globs)
    samples = spec.load() if evaluate else None
    if samples is not None:
        check_fit(model, samples)
    constraint = binary.Binary(model, names, scaled)
    history = None
    if trains and samples is not None:
        # Weight decay would pull the masters to zero, where signs flip at random.
        history = train.fit(model, samples, replace(recipe, weight_decay=0.0), [constraint], resume, progress)
    constraint.enter(1.0)
    score = None if samples is None else train.accuracy(model, samples.test)
    checkpoints.write(output, model.state_dict(), force=force, sources=[source])
    resume.finish()
    return _outcome(output, name, model, score, history)
