"""What a model takes: its inputs, their types, and their dimensions, open or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, UnsupportedError
from ..text import shown

_TYPES = {
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("float16", "bool", "int8", "int16", "int32", "int64")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
    "string": "str",
}
#: What exporters write for a dimension that they know nothing of: no name, so two of them need not be equal.
_UNNAMED = ("", "?", "*", "-1", "None", "unk")


@dataclass(frozen=True)
class InputSpec:
    """One model input.

    Attributes
    ----------
    shape
        A dimension is an int, or None / a name where the model leaves it open.
    dtype
        As numpy names it, "str" for text.
    wrap
        "seq" where the model takes a sequence of such tensors.
    high
        The values are indices below this number (ids of an embedding), None where they index nothing.
    sizes
        Axis to the size that a layer behind it expects, where the shape leaves it open.
    words
        The texts that the model knows.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: str
    wrap: str = ""
    high: int | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    words: tuple[str, ...] = ()

    def key(self, axis: int) -> int | str:
        """The size of an axis, or the name under which it is looked up: equal names are equal sizes."""
        size = self.shape[axis]
        if isinstance(size, int) and size >= 0:
            return size
        named = isinstance(size, str) and size not in _UNNAMED
        return str(size) if named else f"{self.name}:{axis}"


def spec_of(name: str, shape: Sequence[Any], kind: str) -> InputSpec:
    """The input that onnxruntime describes with a type such as "tensor(float)" or "seq(tensor(int64))".

    Raises
    ------
    UnsupportedError
        If no numpy array is of that type.
    """
    wrap, inner = "", kind
    for outer in ("optional", "seq"):
        if inner.startswith(f"{outer}("):
            wrap, inner = (outer if outer == "seq" else wrap), inner[len(outer) + 1 : -1]
    dtype = _TYPES.get(inner.removeprefix("tensor(").removesuffix(")"))
    if dtype is None or not inner.startswith("tensor("):
        raise UnsupportedError(
            f"input '{shown(name)}' is {kind}, which no numpy array holds: nothing can be run to compare; "
            "--no-verify exports without"
        )
    return InputSpec(name, tuple(shape or ()), dtype, wrap)


def batch_keys(specs: Sequence[InputSpec], *, states: bool = True) -> set[str]:
    """Names of the open dimensions that are the batch.

    The first axis where it is open, wherever else that name stands. With `states` also the second axis
    behind a fixed first one, which is how recurrent states lie: [layers, batch, features]; where another
    input has that name further back, its own first axis is time.
    """
    inner: set[int | str] = set()
    if states:
        inner = {spec.key(1) for spec in specs if len(spec.shape) > 2 and isinstance(spec.key(0), int)}
    keys = inner | {
        spec.key(0)
        for spec in specs
        if spec.shape and not inner & {spec.key(axis) for axis in range(1, len(spec.shape))}
    }
    return {key for key in keys if isinstance(key, str)}


def shape_of(spec: InputSpec, sizes: Mapping[str, int], where: str = "") -> tuple[int, ...]:
    """The shape with the open dimensions filled in.

    Raises
    ------
    InputError
        If one is not in `sizes`.
    """
    shape = []
    for axis in range(len(spec.shape)):
        key = spec.key(axis)
        if isinstance(key, str) and key not in sizes:
            raise InputError(
                f"{where}input '{shown(spec.name)}' leaves dimension {axis} open ({shown(spec.shape[axis])}):"
                f" give --input-shape {shown(spec.name)}=SHAPE, or the inputs with --input file.npz"
            )
        shape.append(key if isinstance(key, int) else sizes[key])
    return tuple(shape)
