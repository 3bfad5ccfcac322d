"""What is exported: a dense ONNX model, how to run the original, and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from ..formats.base import Array
from . import graph, verify
from .layers import GraphIndex


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
    reference: verify.Run
    reference_name: str
    arch: str | None = None
    example_shapes: list[tuple[int, ...]] | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)


def open_source(
    path: Path,
    *,
    arch: str | None = None,
    input_shapes: Sequence[tuple[int, ...]] | None = None,
    input_dtypes: Sequence[str] | None = None,
    trust_checkpoint: bool = False,
    binarize: Sequence[str] = (),
    alpha: str = "mean",
    verbose: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Source:
    """Read a checkpoint or an ONNX file and bring it to a dense ONNX model.

    Parameters
    ----------
    binarize
        Patterns over the names of latent weights to replace by alpha * sign(W), here and in the reference.
    alpha
        "mean" (of |W|, per output) or "one".

    Raises
    ------
    InputError
        If the file cannot be read, or no graph can be had for it.
    """
    from . import architecture, checkpoint
    from . import binarize as latent

    say(f"reading {path.name}")
    loaded = checkpoint.load(path, trust_checkpoint=trust_checkpoint)
    notes = [(note.level, note.text) for note in loaded.notes]
    if loaded.kind == "onnx":
        assert loaded.onnx_model is not None
        model = graph.normalize(latent.fold_weights(latent.lower_bipolar(loaded.onnx_model)))
        if binarize:
            notes += latent.binarize_model(model, binarize, alpha)
        shapes = list(input_shapes) if input_shapes else None
        return Source(path, model, verify.runner(model), "onnxruntime", None, shapes, notes)
    checkpoint.refuse_nan(loaded)
    resolved = architecture.resolve(
        loaded,
        arch,
        list(input_shapes) if input_shapes else None,
        list(input_dtypes) if input_dtypes else None,
    )
    say(f"tracing {resolved.arch_name or 'the module'}")
    if binarize:
        notes += latent.binarize_module(resolved.module, binarize, alpha)
    model = latent.fold_weights(graph.normalize(architecture.to_onnx(resolved, verbose=verbose)))
    notes += [(note.level, note.text) for note in resolved.notes]
    shapes = [tuple(example.shape) for example in resolved.example_inputs]
    return Source(path, model, _torch_runner(resolved.module), "torch", resolved.arch_name, shapes, notes)


def _torch_runner(module: Any) -> verify.Run:
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


def nan_weights(index: GraphIndex) -> list[str]:
    """Names of the float initializers that hold a NaN."""
    import numpy as np

    names = []
    for name in index.initializers:
        array = index.constant(name)
        if array is not None and array.dtype.kind == "f" and np.isnan(array).any():
            names.append(name)
    return names
