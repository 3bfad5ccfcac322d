"""Inputs of a model: what it takes, seeded values that it accepts, and the arrays of an .npz file.

NOTES
-----
numpy alone: the processes that are measured import this. What a graph tells about its inputs (how many rows a
table has that ids look up) comes from `exporter.prove.demands` as fields of `InputSpec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..text import listed, shown
from .input_spec import InputSpec, batch_keys, shape_of, spec_of

__all__ = [
    "FAMILIES",
    "Feeds",
    "InputSpec",
    "as_shapes",
    "batch_keys",
    "draw",
    "given",
    "make",
    "named_shapes",
    "read_npz",
    "shape_of",
    "sizes_in",
    "spec_of",
]

Feeds = dict[str, Any]

#: Integers that index nothing are small: sizes, counts and classes all allow them.
_SMALL = 2


#: How floats are drawn, in the order in which they are tried.
FAMILIES = ("normal", "unit", "large", "positive", "negative", "ones")


def draw(spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator, family: str = "normal") -> Any:
    """A seeded value of an input.

    Floats as the family says; ids over the whole of their table; other integers and masks 0 and 1, every row
    beginning with a 1 (a mask of zeros alone makes attention NaN); fair booleans; known words.
    """
    if spec.wrap == "seq":
        return [draw(replace(spec, wrap=""), shape, rng, family) for _ in range(3)]
    if spec.dtype == "str":
        words = np.array(spec.words or ("a", "b", "c"), dtype=object)
        return np.asarray(words[rng.integers(0, len(words), shape)], dtype=object)
    dtype = np.dtype(spec.dtype)
    if spec.high is not None:
        return rng.integers(0, max(1, spec.high), shape).astype(dtype)
    masks = "mask" in spec.name.lower()
    if dtype.kind == "b":
        drawn = _masked(rng, shape) == 1 if masks else rng.random(shape) < 0.5
        return np.asarray(drawn)
    if dtype.kind in "iu" or masks:
        return np.asarray(_masked(rng, shape)).astype(dtype)
    return np.asarray(_floats(rng, shape, family)).astype(dtype)


def _masked(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Ones and then zeros along the last axis, as padding leaves them; a scalar or a lone axis is mixed."""
    if not shape or shape[-1] < 2:
        return np.asarray(rng.integers(0 if shape else 1, _SMALL, shape))
    lengths = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    return (np.arange(shape[-1]) < lengths).astype(np.int64)


def _floats(rng: np.random.Generator, shape: tuple[int, ...], family: str) -> Any:
    if family == "unit":
        return rng.random(shape)
    if family == "large":
        return 100 * rng.standard_normal(shape)
    if family in ("positive", "negative"):
        return (1 if family == "positive" else -1) * (60 + 190 * rng.random(shape))
    if family == "ones":
        return 1 + 0.01 * rng.random(shape)
    return rng.standard_normal(shape)


def make(specs: Sequence[InputSpec], sizes: Mapping[str, int], seed: int, family: str = "normal") -> Feeds:
    """Seeded inputs of a model; one seed gives the same arrays everywhere."""
    rng = np.random.default_rng(seed)
    return {spec.name: draw(spec, shape_of(spec, sizes), rng, family) for spec in specs}


def normal(name: str, shape: Sequence[int], seed: int = 0) -> Feeds:
    """Seeded normal float32 input of a model that takes one."""
    return make([InputSpec(name, tuple(shape), "float32")], {}, seed)


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file by name.

    Raises
    ------
    InputError
        If it is not an .npz archive of plain arrays (object arrays would run code).
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zip, header and EOF errors of several modules
        raise InputError(f"{shown(path)}: not a readable .npz file ({shown(error)})") from error


def given(arrays: Mapping[str, NDArray[Any]], specs: Sequence[InputSpec], where: str) -> Feeds:
    """The arrays of a file that belong to these inputs, in their dtypes; axes and sizes as they are.

    A single array belongs to a single input whatever its name.

    Raises
    ------
    InputError
        If an array names no input, or has another rank, a fixed size that differs, or values its dtype
        cannot hold.
    """
    if len(specs) == 1 and len(arrays) == 1:
        arrays = {specs[0].name: next(iter(arrays.values()))}
    names = [spec.name for spec in specs]
    unknown = [name for name in arrays if name not in names]
    if unknown:
        raise InputError(
            f"{shown(where)}: no input is named {listed(unknown)}; the model takes {listed(names, 12)}"
        )
    return {spec.name: _fitted(arrays[spec.name], spec, where) for spec in specs if spec.name in arrays}


def _fitted(array: NDArray[Any], spec: InputSpec, where: str) -> Any:
    name = f"{shown(where)}: array '{shown(spec.name)}'"
    if len(spec.shape) and array.ndim != len(spec.shape):
        raise InputError(f"{name} has {array.ndim} dimensions, the model takes {len(spec.shape)}")
    for axis, size in enumerate(array.shape[: len(spec.shape)]):
        wanted = spec.key(axis)
        if isinstance(wanted, int) and wanted != size:
            raise InputError(f"{name} has {size} in dimension {axis}, the model takes {wanted}")
    if spec.dtype == "str":
        return array.astype(object)
    dtype = np.dtype(spec.dtype)
    with np.errstate(all="ignore"):
        try:
            cast = array.astype(dtype)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} is {array.dtype}, the model takes {dtype}") from error
    if dtype.kind in "iub" and not np.array_equal(cast.astype(np.float64), array.astype(np.float64)):
        raise InputError(f"{name} is {array.dtype} with values that {dtype} cannot hold")
    return np.ascontiguousarray(cast) if cast.ndim else cast


def sizes_in(feeds: Feeds, specs: Sequence[InputSpec]) -> dict[str, int]:
    """The open dimensions that given arrays fix.

    Raises
    ------
    InputError
        If two arrays disagree about one name.
    """
    found: dict[str, int] = {}
    for spec in specs:
        if spec.name not in feeds or spec.wrap:
            continue
        for axis, size in enumerate(np.shape(feeds[spec.name])):
            key = spec.key(axis)
            if isinstance(key, str) and found.setdefault(key, size) != size:
                raise InputError(
                    f"input '{shown(spec.name)}': '{shown(key)}' is {size} here, {found[key]} elsewhere"
                )
    return found


def as_shapes(value: Any) -> list[Any]:
    """Shapes as `--input-shape` or JSON gives them; a single one need not be in a list."""
    if not value:
        return []
    items = [value] if isinstance(value[0], int) else value
    return [
        (item[0], tuple(item[1])) if len(item) == 2 and isinstance(item[0], str) else tuple(item)
        for item in items
    ]


def named_shapes(shapes: Sequence[Any], specs: Sequence[InputSpec]) -> dict[str, int]:
    """Sizes of open dimensions from `--input-shape`: (name, shape) pairs, or shapes in the inputs' order.

    Raises
    ------
    InputError
        If a shape names no input, or contradicts what the model fixes.
    """
    sizes: dict[str, int] = {}
    by_name = {spec.name: spec for spec in specs}
    for place, item in enumerate(shapes):
        name, shape = item if len(item) == 2 and isinstance(item[0], str) else (None, item)
        if (name is None and place >= len(specs)) or (name is not None and name not in by_name):
            raise InputError(
                f"--input-shape {shown(name or place)}: the model takes {listed(list(by_name), 12)}"
            )
        spec = specs[place] if name is None else by_name[name]
        text = f"--input-shape {'x'.join(map(str, shape))}: input '{shown(spec.name)}' has"
        if len(shape) != len(spec.shape):
            raise InputError(f"{text} {len(spec.shape)} dimensions")
        for axis, size in enumerate(shape):
            key = spec.key(axis)
            if isinstance(key, str):
                sizes[key] = int(size)
            elif key != size:
                raise InputError(f"{text} {key} in dimension {axis}")
    return sizes
