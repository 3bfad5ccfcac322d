"""What is exported: a dense ONNX model, how to run the original, and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnx

from ..errors import InputError
from ..formats.base import Array
from .graph.index import GraphIndex
from .graph.normalize import normalize
from .prove import compare


@dataclass
class Source:
    """A dense model in ONNX form, whatever the file held.

    Attributes
    ----------
    reference
        Runs the original: the torch module where there is one, the ONNX model otherwise.
    notes
        (level, text) pairs: the doctor's note of the checkpoint and the tracing.
    """

    path: Path
    model: onnx.ModelProto
    reference: compare.Run
    reference_name: str
    arch: str | None = None
    example_shapes: list[tuple[int, ...]] | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)


class SourceOptions(TypedDict, total=False):
    """How a source is read: what everything that opens one hands on to `open_source`."""

    arch: str | None
    input_shape: Sequence[tuple[int, ...]] | None
    input_dtype: Sequence[str] | None
    trust_checkpoint: bool
    binarize: Sequence[str]
    binarize_alpha: str
    verbose: bool


def open_source(
    path: Path,
    *,
    arch: str | None = None,
    input_shape: Sequence[tuple[int, ...]] | None = None,
    input_dtype: Sequence[str] | None = None,
    trust_checkpoint: bool = False,
    binarize: Sequence[str] = (),
    binarize_alpha: str = "mean",
    verbose: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Source:
    """Read a checkpoint or an ONNX file and bring it to a dense ONNX model.

    Parameters
    ----------
    arch
        Architecture of a state dict: a name, or `file.py:factory`.
    input_shape, input_dtype
        One for each input; found out for the nets that are known.
    trust_checkpoint
        Allow pickles that run code.
    binarize, binarize_alpha
        Patterns over the names of latent weights to replace by alpha * sign(W), here and in the reference;
        alpha is "mean" (of |W|, per output) or "one".
    verbose
        Let the tracer write its own log.

    Raises
    ------
    InputError
        If the file cannot be read, a weight is NaN, or no graph can be had for it.
    """
    from . import checkpoint
    from .graph import latent
    from .trace import resolve as architecture

    say(f"reading {path.name}")
    loaded = checkpoint.load(path, trust_checkpoint=trust_checkpoint)
    notes = [(note.level, note.text) for note in loaded.notes]
    if loaded.kind == "onnx":
        assert loaded.onnx_model is not None
        model = normalize(latent.fold_weights(latent.lower_bipolar(loaded.onnx_model)))
        if binarize:
            notes += latent.binarize_model(model, binarize, binarize_alpha)
        _refuse_nan(path, GraphIndex(model))
        shapes = list(input_shape) if input_shape else None
        return Source(path, model, compare.runner(model), "onnxruntime", None, shapes, notes)
    checkpoint.refuse_nan(loaded)
    resolved = architecture.resolve(
        loaded,
        arch,
        list(input_shape) if input_shape else None,
        list(input_dtype) if input_dtype else None,
    )
    say(f"tracing {resolved.arch_name or 'the module'}")
    if binarize:
        notes += latent.binarize_module(resolved.module, binarize, binarize_alpha)
    model = latent.fold_weights(normalize(architecture.to_onnx(resolved, verbose=verbose)))
    notes += [(note.level, note.text) for note in resolved.notes]
    shapes = [tuple(example.shape) for example in resolved.example_inputs]
    return Source(path, model, _torch_runner(resolved.module), "torch", resolved.arch_name, shapes, notes)


def _torch_runner(module: Any) -> compare.Run:
    """A function that runs the torch module on the ONNX model's feeds, in their order."""
    import torch

    def flatten(value: Any) -> list[Array]:
        if isinstance(value, torch.Tensor):
            return [value.numpy()]
        items = value.values() if isinstance(value, dict) else value
        return [array for item in items for array in flatten(item)]

    def run(feeds: dict[str, Array]) -> list[Array]:
        with torch.no_grad():
            return flatten(module(*[torch.from_numpy(array) for array in feeds.values()]))

    return run


def _refuse_nan(path: Path, index: GraphIndex) -> None:
    """What `checkpoint.refuse_nan` is for checkpoints: no initializer of an .onnx file may hold a NaN."""
    names = []
    for name in index.initializers:
        array = index.constant(name)
        if array is not None and array.dtype.kind == "f" and np.isnan(array).any():
            names.append(name)
    if names:
        raise InputError(
            f"{path}: weight '{names[0]}' holds NaN"
            + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
            + "; retrain or repair the checkpoint"
        )
