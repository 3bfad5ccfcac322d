"""Binarize a checkpoint from file to file; a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import InputError
from . import binarize as binary
from . import checkpoints, files, train
from .beginning import DataSpec, begin, check_fit, outcome_of
from .outcome import Outcome
from .train import Recipe


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
    return outcome_of(output, name, model, score, history)
