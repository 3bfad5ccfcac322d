"""Inputs for a model: seeded random tensors of its own shapes, or the arrays of an .npz file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class InputSpec:
    """One model input: a dimension is an int, or None / a name where the model leaves it open."""

    name: str
    shape: tuple[int | str | None, ...]
    dtype: str


def concrete_shape(spec: InputSpec, batch: int) -> tuple[int, ...]:
    """The shape with the batch filled in.

    Raises
    ------
    InputError
        If the model fixes another batch, or leaves open a dimension that is not the first.
    """
    if not spec.shape:
        return ()
    first, *rest = spec.shape
    if isinstance(first, int) and first > 0 and first != batch:
        raise InputError(
            f"input '{spec.name}' has a fixed batch of {first}; batch {batch} cannot be measured"
        )
    for axis, size in enumerate(rest, start=1):
        if not isinstance(size, int) or size <= 0:
            raise InputError(
                f"input '{spec.name}' leaves dimension {axis} open ({size}); "
                "give the inputs with --input file.npz"
            )
    return (batch, *(int(size) for size in rest if size is not None))


def random_inputs(specs: list[InputSpec], batch: int, seed: int) -> Feeds:
    """Seeded inputs: standard normal for floats, 0 or 1 for integers (any vocabulary has both)."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for spec in specs:
        shape = concrete_shape(spec, batch)
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            feeds[spec.name] = rng.standard_normal(shape, dtype=np.float32).astype(dtype)
        else:
            feeds[spec.name] = rng.integers(0, 2, size=shape).astype(dtype)
    return feeds


def read_npz(path: str | Path) -> Feeds:
    """Arrays of an .npz file by name.

    Raises
    ------
    InputError
        If it is not an .npz archive of plain arrays (object arrays would run code).
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a readable .npz file ({error})") from error


def fit(feeds: Feeds, specs: list[InputSpec], batch: int, where: str) -> Feeds:
    """The arrays of a file for these inputs: by name (a single one by position), repeated to the batch."""
    if len(specs) == 1 and len(feeds) == 1:
        feeds = {specs[0].name: next(iter(feeds.values()))}
    missing = [spec.name for spec in specs if spec.name not in feeds]
    if missing:
        raise InputError(f"{where}: no array named {', '.join(missing)} (found {', '.join(feeds) or 'none'})")
    fitted = {}
    for spec in specs:
        array = feeds[spec.name].astype(spec.dtype, copy=False)
        if array.ndim:
            repeats = -(-batch // max(1, array.shape[0]))
            array = np.concatenate([array] * repeats)[:batch] if array.shape[0] != batch else array
        fitted[spec.name] = np.ascontiguousarray(array)
    return fitted


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
