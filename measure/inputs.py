"""Inputs of a bench run: found once, on the baseline, in a process of their own; or of an .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..runtime import trials
from ..runtime.inputs import (
    Feeds,
    InputSpec,
    as_shapes,
    batch_keys,
    given,
    make,
    named_shapes,
    read_npz,
    sizes_in,
)
from ..text import shown

__all__ = ["Feeds", "InputSpec", "arranged", "find", "labelled", "read_npz", "repeated", "seeded"]


def seeded(specs: Sequence[InputSpec], batch: int, seed: int) -> Feeds:
    """Seeded inputs by the shapes alone, for what nothing more is known of.

    Raises
    ------
    InputError
        If the model fixes another batch, or leaves open a dimension that is not the batch.
    """
    for spec in specs:
        _refuse_other_batch(spec, batch)
    return make(specs, dict.fromkeys(batch_keys(specs), batch), seed)


def _refuse_other_batch(spec: InputSpec, batch: int) -> None:
    first = spec.key(0) if spec.shape else batch
    states = len(spec.shape) > 1 and isinstance(spec.key(1), str)
    if isinstance(first, int) and first != batch and not states:
        raise InputError(
            f"input '{shown(spec.name)}' has a fixed batch of {first}; batch {batch} cannot be measured"
        )


def repeated(arrays: Feeds, specs: Sequence[InputSpec], batch: int) -> Feeds:
    """Given arrays, cut or repeated along the axis that is the batch; what has none stays as it is."""
    keys = batch_keys(specs)
    result = dict(arrays)
    for spec in specs:
        axes = [axis for axis in range(len(spec.shape)) if spec.key(axis) in keys]
        if spec.name not in arrays or not axes:
            continue
        array, axis = np.asarray(arrays[spec.name]), axes[0]
        size = array.shape[axis]
        if size != batch:
            whole = np.concatenate([array] * -(-batch // max(1, size)), axis=axis)
            array = np.take(whole, range(batch), axis=axis)
        result[spec.name] = np.ascontiguousarray(array)
    return result


def find(job: dict[str, Any]) -> dict[str, Any]:
    """Write the inputs of every batch size into `job["feeds"]`: batch to file, or to why there is none.

    Runs in a process of its own: what it loads would show in the memory that is measured.
    """
    specs, attempt = _model(job)
    arrays = given(read_npz(job["input"]), specs, job["input"]) if job["input"] else {}
    files, errors, told = {}, {}, ""
    for batch in job["batches"]:
        try:
            feeds, sampling = _found(specs, attempt, arrays, job, batch)
        except InputError as error:
            errors[str(batch)] = str(error)
            continue
        told = trials.told(sampling) if sampling.guessed else ""
        path = Path(job["feeds"]) / f"inputs{batch}.npz"
        arrays_out: dict[str, Any] = {name: np.asarray(value, _text(value)) for name, value in feeds.items()}
        np.savez(path, **arrays_out)
        files[str(batch)] = str(path)
    return {"files": files, "errors": errors, "told": told}


def _text(value: Any) -> Any:
    """Text goes into a file as text: objects would be pickled."""
    return np.str_ if isinstance(value, np.ndarray) and value.dtype.kind == "O" else None


def _found(
    specs: Sequence[InputSpec], attempt: trials.Attempt, arrays: Feeds, job: dict[str, Any], batch: int
) -> tuple[Feeds, trials.Sampling]:
    for spec in specs:
        _refuse_other_batch(spec, batch)
    fitted = repeated(arrays, specs, batch)
    shapes = as_shapes(job["input_shape"]) if Path(job["path"]).suffix == ".onnx" else []
    sizes = {**named_shapes(shapes, specs), **dict.fromkeys(batch_keys(specs), batch)}
    sizes |= sizes_in(fitted, specs)
    sampling = trials.search(specs, attempt, given=fitted, sizes=sizes, seed=job["seed"], batches=(batch,))
    return sampling.feeds(specs, fitted, job["seed"], batch), sampling


def _model(job: dict[str, Any]) -> tuple[list[InputSpec], trials.Attempt]:
    """What the model takes, with what its graph demands, and how it is run."""
    path = Path(job["path"])
    if path.suffix == ".onnx":
        from ..exporter.files.onnx_read import read_onnx
        from ..exporter.prove.demands import inputs_of
        from ..runtime.stock import Session

        specs, session = inputs_of(read_onnx(path)), Session(path)
        return specs, session.run
    from ..exporter.reference import TorchReference
    from .runners.torch import load_module, torch_inputs

    module, examples = load_module(str(path), job["architecture"], job["input_shape"])
    return torch_inputs(examples), TorchReference(module).run


def arranged(arrays: Feeds, specs: Sequence[InputSpec], where: str) -> Feeds:
    """Arrays of a file for these inputs: by name, or by their order where the names are another runtime's.

    Raises
    ------
    InputError
        If an input gets none.
    """
    if not set(arrays) >= {spec.name for spec in specs} and len(arrays) == len(specs):
        arrays = dict(zip((spec.name for spec in specs), arrays.values(), strict=True))
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise InputError(
            f"{where}: no array named {', '.join(missing)} (found {', '.join(arrays) or 'none'})"
        )
    return given({spec.name: arrays[spec.name] for spec in specs}, specs, where)


def labelled(path: str | Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Samples and integer labels: the arrays `x` and `y`, or `images` and `labels`, of an .npz file.

    Raises
    ------
    InputError
        If it holds neither pair, or the lengths differ.
    """
    arrays = read_npz(path)
    for x, y in (("x", "y"), ("images", "labels")):
        if x in arrays and y in arrays:
            if not len(arrays[x]) or len(arrays[x]) != len(arrays[y]):
                raise InputError(f"{path}: {len(arrays[x])} samples but {len(arrays[y])} labels")
            return arrays[x], arrays[y]
    raise InputError(
        f"{path}: expected arrays x and y (or images and labels), found {', '.join(arrays) or 'none'}"
    )
