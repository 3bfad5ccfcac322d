"""What is exported: a dense ONNX model, how to run the original, and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ..errors import InputError
from ..formats.base import Array, chunks
from ..runtime.inputs import Feeds, read_npz
from ..text import clean, shown
from .files import held, shards
from .graph.index import GraphIndex
from .graph.normalize import normalized
from .graph.propagate import prepare
from .graph.unsigned import make_unsigned
from .reference import OnnxReference, Reference, TorchReference
from .source_options import Shape
from .trace import dynamic as dynamic_axes

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .trace.resolved import Resolved


@dataclass
class Source:
    """A dense model in ONNX form, whatever the file held.

    Attributes
    ----------
    model
        What is packed: of a recent opset, computed weights folded.
    original
        The model of an .onnx file as it was given; None for checkpoints.
    reference
        Runs the original: the file in stock onnxruntime, or the torch module.
    arch
        What a checkpoint's net is called; None for .onnx files.
    example_shapes
        Of the inputs that a module was traced with.
    input_shape, input
        Sizes and arrays of the user's for its inputs.
    notes
        (level, text) pairs: the doctor's note of the checkpoint and the tracing.
    sparse
        Initializers that an .onnx file holds sparse; the model has them dense.
    read
        The model of an .onnx file exactly as it was read.
    tensors
        Keeps the large weights of these models: views of what was read.
    activations
        "int8" where the model was made one of integers, which the reference is not; else empty.
    calibration
        Then: a batch of what it was calibrated with.
    """

    path: Path
    model: onnx.ModelProto
    reference: Reference
    arch: str | None = None
    original: onnx.ModelProto | None = None
    example_shapes: Sequence[tuple[int | None, ...]] | None = None
    input_shape: Sequence[Shape] = ()
    input: Path | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)
    sparse: Mapping[str, onnx.SparseTensorProto] = field(default_factory=dict)
    read: onnx.ModelProto | None = None
    tensors: held.Tensors = field(default_factory=held.Tensors, repr=False)
    activations: str = ""
    calibration: Feeds = field(default_factory=dict)


def open_source(
    path: Path,
    *,
    arch: str | None = None,
    input_shape: Sequence[Shape] | None = None,
    input_dtype: Sequence[str] | None = None,
    input: str | Path | None = None,
    trust_checkpoint: bool = False,
    weights: str | None = None,
    prefix: str | None = None,
    strict: bool = False,
    dynamic: Sequence[str] = (),
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
        One for each input, in their order, or (name, shape) pairs; found out for the nets that are known.
    input
        .npz file of arrays for the inputs, by name.
    trust_checkpoint
        Allow pickles that run code.
    weights, prefix
        Which of several state dicts (its key, or "ema"), and which names of it, are the net's.
    strict
        Refuse a checkpoint that holds other tensors beside the net's.
    dynamic
        "NAME:AXIS" of input dimensions to keep open beside the batch, where torch traces the net.
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
    say(f"reading {path.name}")
    arrays = Path(input) if input is not None else None
    shapes = list(input_shape or ())
    located = shards.locate(path)
    if shards.identify(located) == "onnx":  # no step of this way needs torch
        dynamic_axes.refuse(path, dynamic, "an .onnx file")
        return _from_onnx(located, shapes, arrays, binarize, binarize_alpha)
    from . import checkpoint
    from .graph import latent
    from .trace.to_onnx import to_onnx

    loaded = checkpoint.load(path, trust_checkpoint=trust_checkpoint, weights=weights, prefix=prefix)
    checkpoint.refuse_nan(loaded)
    notes = [(note.level, note.text) for note in loaded.notes]
    resolved = _resolved(loaded, arch, shapes, input_dtype, arrays, strict=strict, dynamic=dynamic)
    _refuse_inputs(path, resolved)
    say(f"tracing {resolved.arch_name or 'the module'}")
    if binarize:
        notes += latent.binarize_module(resolved.module, binarize, binarize_alpha)
    tensors = held.Tensors()
    model = normalized(to_onnx(resolved, verbose, tensors)).model
    notes += [(note.level, note.text) for note in resolved.notes]
    examples = [tuple(example.shape) for example in resolved.example_inputs]
    name = resolved.arch_name or "a module"
    reference = TorchReference(resolved.module)
    return Source(path, model, reference, name, None, examples, (), arrays, notes, tensors=tensors)


def _from_onnx(
    path: Path,
    shapes: Sequence[Shape],
    arrays: Path | None,
    binarize: Sequence[str],
    alpha: str,
) -> Source:
    """The source in an .onnx file, whose reference is the file itself."""
    from .files.onnx_read import read_held
    from .graph import latent

    tensors = held.Tensors()
    read = read_held(path, tensors)
    original, given = onnx.ModelProto(), onnx.ModelProto()
    original.CopyFrom(read)
    given.CopyFrom(read)
    reference = OnnxReference(path, graph=given)
    if any(node.op_type == "BipolarQuant" for node in given.graph.node):
        # An operator of no runtime of ours: what it means is spelled out before anything else is done.
        given = latent.lower_bipolar(given)
        reference = OnnxReference(given, "onnxruntime, its BipolarQuant spelled out", shown(path))
    normal = normalized(original)
    model = normal.model
    prepare(model)
    make_unsigned(model)
    notes = [(note.level, note.text) for note in normal.notes]
    if binarize:
        notes += latent.binarize_model(model, binarize, alpha)
        asked = _with_weights_of(given, model, binarize)
        reference = OnnxReference(asked, "onnxruntime, binarized as asked for", shown(path))
    _refuse_nan(path, GraphIndex(model))
    sparse = normal.sparse
    return Source(path, model, reference, None, given, None, shapes, arrays, notes, sparse, read, tensors)


def _with_weights_of(given: onnx.ModelProto, model: onnx.ModelProto, globs: Sequence[str]) -> onnx.ModelProto:
    """The given graph with the weights binarized in `model`; `model` where it does not hold them itself."""
    from .graph.latent import fits

    new = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if any(fits(tensor.name, glob) for glob in globs)
    }
    asked = onnx.ModelProto()
    asked.CopyFrom(given)
    own = {tensor.name: tensor for tensor in asked.graph.initializer}
    if any(name not in own or list(own[name].dims) != list(new[name].dims) for name in new):
        return model
    for name, tensor in new.items():
        own[name].CopyFrom(tensor)
    return asked


def _resolved(
    loaded: Checkpoint,
    arch: str | None,
    shapes: Sequence[Shape],
    dtypes: Sequence[str] | None,
    arrays: Path | None,
    *,
    strict: bool,
    dynamic: Sequence[str],
) -> Resolved:
    """The net of a checkpoint, with the inputs that are given, or examples, to trace it with."""
    import torch

    from .trace import resolve as architecture

    given = read_npz(arrays) if arrays is not None else {}
    if given:
        shapes = [array.shape for array in given.values()]
        dtypes = [str(array.dtype) for array in given.values()]
    plain = [item[1] if len(item) == 2 and isinstance(item[0], str) else item for item in shapes]
    resolved = architecture.resolve(
        loaded, arch, plain or None, list(dtypes) if dtypes else None, strict=strict, dynamic=dynamic
    )
    if given and loaded.program is None:
        names = _argument_names(resolved.module)
        order = [name for name in names if name in given] if set(given) <= set(names) else list(given)
        resolved.example_inputs = tuple(torch.from_numpy(np.array(given[name])) for name in order)
    return resolved


def _argument_names(module: Any) -> list[str]:
    import inspect

    try:
        return list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return []


def _refuse_inputs(path: Path, resolved: Resolved) -> None:
    """Refuse, before the work of tracing, a module that does not take its example inputs.

    Raises
    ------
    InputError
        With what the module said.
    """
    import torch

    try:
        with torch.no_grad():
            resolved.module(*resolved.example_inputs)
    except Exception as error:  # the net's own code runs here, so anything can come out
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = shown(lines[0]) if lines else type(error).__name__
        shapes = ", ".join("x".join(map(str, item.shape)) or "()" for item in resolved.example_inputs)
        dtypes = ", ".join(str(item.dtype)[6:] for item in resolved.example_inputs)
        raise InputError(
            f"{shown(path)}: {clean(resolved.arch_name)} does not take an input of {shapes} {dtypes} "
            f"({why}); give --input-shape and --input-dtype, or the inputs with --input data.npz"
        ) from error


def _has_nan(array: Array) -> bool:
    return bool(np.isnan(array).any())


def _refuse_nan(path: Path, index: GraphIndex) -> None:
    """What `checkpoint.refuse_nan` is for checkpoints: no initializer of an .onnx file may hold a NaN."""
    names = []
    for name in index.initializers:
        array = held.array(index.initializers[name], aligned=False)
        if name in index.fixed and array.dtype.kind == "f" and any(map(_has_nan, chunks(array))):
            names.append(name)
    if names:
        raise InputError(
            f"{path}: weight '{names[0]}' holds NaN"
            + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
            + "; retrain or repair the checkpoint"
        )
