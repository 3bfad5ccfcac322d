"""A float source made one of integers: weights and activations of int8, by onnxruntime.quantization.

Weights are symmetric, with one scale for each output, so zeros stay zeros; activations get their range from
calibration data. What comes out is an ordinary QDQ model, which is packed like any other.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import InputError, MissingDependencyError
from ..quiet import quiet
from ..runtime.inputs import Feeds
from ..runtime.stock import said
from ..text import counted, shown
from .graph.normalize import normalize
from .graph.norms import fold_norms
from .graph.propagate import prepare
from .graph.site import Site
from .graph.unsigned import make_unsigned
from .graph.walk import all_nodes, attribute, fresh, read_names
from .reference import OnnxReference
from .source import Source

#: How the range of an activation is taken from the calibration data, by the names of onnxruntime.
METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
#: Samples that are run at once where the graph leaves the batch open, and at most.
_BATCH, SAMPLES = 8, 512
#: What becomes layers of integers.
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_Arrays = Mapping[str, NDArray[Any]]


def refuse_asymmetric(path: Path, layers: Sequence[Site]) -> None:
    """Refuse a model of integers whose weights cannot be packed, where that was asked for.

    Raises
    ------
    InputError
        Naming the first tensor.
    """
    for layer in layers:
        if layer.obstacle and "asymmetric" in layer.obstacle:
            raise InputError(
                f"{shown(path)}: {layer.obstacle}; quantize it again with symmetric weights (zero point 0)"
            )


def quantized(source: Source, arrays: _Arrays | None, method: str) -> Source:
    """The source with a model of integers, its reference as before.

    Parameters
    ----------
    arrays
        Calibration data by input name, samples along the first axis.
    method
        A key of `METHODS`.

    Raises
    ------
    InputError
        If there are no calibration data, or they do not fit the graph.
    """
    if method not in METHODS:
        raise InputError(f"calibration '{method}': choose {', '.join(METHODS)}")
    if not arrays:
        raise InputError(
            f"{shown(source.path)}: int8 activations need calibration data: --calibrate data.npz, arrays by "
            "input name with some hundred samples, or a data set of the lab, e.g. --calibrate digits"
        )
    batches = batches_of(source.model, arrays)
    model = normalize(_quantize(source, fold_norms(source.model), batches, METHODS[method]))
    prepare(model)
    make_unsigned(model)
    samples = sum(len(next(iter(batch.values()))) for batch in batches)
    text = f"weights and activations quantized to int8 on {counted(samples, 'sample')} ({method})"
    agreement = _agreement(source, model, batches)
    if agreement is not None:
        text += f"; top-1 agreement with the float source on them {agreement:.2%}"
    notes = [*source.notes, ("info", text)]
    return replace(source, model=model, activations="int8", calibration=batches[0], notes=notes, sparse={})


def batches_of(model: onnx.ModelProto, arrays: Mapping[str, NDArray[Any]]) -> list[Feeds]:
    """The calibration data as inputs of the graph, a batch each.

    Raises
    ------
    InputError
        If they do not fit the graph.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held]
    names = [value.name for value in inputs]
    chosen = _matched(inputs, arrays)
    sizes = {len(array) if array.ndim else 0 for array in chosen}
    if len(sizes) != 1 or not min(sizes):
        raise InputError("calibration data: every array needs the same number of samples, one at least")
    count = min(sizes.pop(), SAMPLES)
    fixed = [_first(value) for value in inputs if _first(value)]
    step = min(fixed) if fixed else min(_BATCH, count)  # all batches of one size: histograms want it
    if count < step:
        raise InputError(f"calibration data: {counted(count, 'sample')}, the graph takes batches of {step}")
    return [
        {name: np.ascontiguousarray(array[at : at + step]) for name, array in zip(names, chosen, strict=True)}
        for at in range(0, count - step + 1, step)
    ]


def _matched(inputs: Sequence[onnx.ValueInfoProto], arrays: _Arrays) -> list[NDArray[Any]]:
    """An array for each input: by name, or else by order and rank."""
    names = [value.name for value in inputs]
    if set(names) <= set(arrays):
        found = [arrays[name] for name in names]
    else:
        ranks = [len(value.type.tensor_type.shape.dim) for value in inputs]
        found = [array for array in arrays.values() if array.ndim in ranks]
        if len(found) != len(inputs) or [array.ndim for array in found] != ranks:
            has = ", ".join(f"{shown(name)} {array.shape}" for name, array in arrays.items())
            raise InputError(f"calibration data has {has}; the graph takes {', '.join(map(shown, names))}")
    types = [onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in inputs]
    for value, array in zip(inputs, found, strict=True):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if array.ndim != len(dims) or any(
            dim and dim != size for dim, size in zip(dims[1:], array.shape[1:], strict=True)
        ):
            shape = "x".join(str(dim) if dim else "?" for dim in dims)
            raise InputError(f"calibration data: {array.shape} is no array for {shown(value.name)} ({shape})")
        if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
            raise InputError(f"calibration data: the array for {shown(value.name)} holds NaN or infinity")
    return [array.astype(dtype, copy=False) for array, dtype in zip(found, types, strict=True)]


def _first(value: onnx.ValueInfoProto) -> int:
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def static_int8(
    model: onnx.ModelProto | str,
    target: Path,
    batches: Sequence[Feeds],
    method: str = "MinMax",
    *,
    tables: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> None:
    """Write `quantize_static`'s QDQ model: uint8 activations, symmetric int8 weights per channel.

    Parameters
    ----------
    model
        A model or the path of one.
    batches
        What ranges are taken from, by input name.
    method
        Name of an `onnxruntime.quantization.CalibrationMethod`.
    tables
        Constants that are weights although onnxruntime takes them for activations.
    exclude
        Names of nodes that stay as they are.

    Raises
    ------
    MissingDependencyError
        If onnxruntime is not installed.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingDependencyError("onnxruntime is not installed: pip install onnxruntime") from error

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[Feeds] = iter(batches)

        def get_next(self) -> Feeds | None:
            return next(self._left, None)

    quantization.quantize_static(
        model,
        str(target),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, method),
        nodes_to_exclude=list(exclude),
        extra_options={
            "WeightSymmetric": True,
            "ActivationSymmetric": False,
            "TensorQuantOverrides": {
                name: [{"quant_type": quantization.QuantType.QInt8, "symmetric": True}] for name in tables
            },
        },
    )


def _quantize(
    source: Source, model: onnx.ModelProto, batches: Sequence[Feeds], method: str
) -> onnx.ModelProto:
    """The model of integers."""
    exclude = _unfit(model)
    nodes = [node for node in model.graph.node if node.name not in exclude]
    if not any(node.op_type in (*_LAYERS, "Gather") for node in nodes):
        raise InputError(
            f"{shown(source.path)}: nothing in it becomes integers: there is no {', '.join(_LAYERS)} "
            "of float32 in its main graph; export it without --activations int8"
        )
    with (
        tempfile.TemporaryDirectory(prefix="sparse-export-") as folder,
        quiet(),
        contextlib.redirect_stdout(io.StringIO()),  # it prints what its histograms are made of
    ):
        target = Path(folder) / "quantized.onnx"
        try:
            static_int8(model, target, batches, method, tables=_tables(model), exclude=exclude)
            return onnx.load(str(target))
        except MissingDependencyError:
            raise
        except Exception as error:  # a library's own code: anything can come out
            raise InputError(f"{shown(source.path)}: cannot be quantized: {said(error)}") from error


def _tables(model: onnx.ModelProto) -> list[str]:
    """Embeddings: constants that only Gather reads. As activations their zeros would become non-zeros."""
    read = read_names(model.graph)
    other = {name for node in all_nodes(model.graph) if node.op_type != "Gather" for name in node.input}
    results = {value.name for value in model.graph.output}
    names = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    return [name for name in names if name in read and name not in other and name not in results]


def _unfit(model: onnx.ModelProto) -> list[str]:
    """Nodes that onnxruntime.quantization fails on: it knows one scale an output of a ConvTranspose but no
    groups, and floats of 32 bits."""
    held = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    floats = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    used, found = {node.name for node in model.graph.node}, []
    for node in model.graph.node:
        grouped = node.op_type == "ConvTranspose" and attribute(node, "group", 1) != 1
        if grouped or any(held.get(name) in floats for name in node.input):
            node.name = node.name or fresh(f"{node.op_type}_of_{node.output[0]}", used)
            found.append(node.name)
    return found


def _agreement(source: Source, model: onnx.ModelProto, batches: Sequence[Feeds]) -> float | None:
    """Share of the samples on which float and integers agree on the largest of the first output."""
    integers = OnnxReference(model, subject=shown(source.path))
    same = total = 0
    for feeds in batches:
        wanted, got = source.reference.run(feeds)[0], integers.run(feeds)[0]
        if not isinstance(wanted, np.ndarray) or wanted.ndim < 2 or wanted.shape[-1] < 2:
            return None
        agree = wanted.argmax(-1) == got.argmax(-1)
        same, total = same + int(agree.sum()), total + agree.size
    return same / total if total else None
