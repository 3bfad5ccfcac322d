"""What pickles make of numpy's names: dtypes and single numbers, nothing wider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .checks import require


@dataclass(frozen=True, eq=False)
class Dtype:
    """A numpy dtype of numbers; anything wider could make gigabytes of a name."""

    dtype: np.dtype[Any]


def numpy_dtype(name: Any, *flags: Any) -> Dtype:
    """`numpy.dtype`."""
    plain = type(name) is str and len(name) < 8 and name.lstrip("<>=|")[:1] in ("f", "i", "u", "b", "?")
    require(plain and all(type(flag) in (bool, int) for flag in flags), "a numpy dtype that is no number's")
    dtype = np.dtype(name)
    require(dtype.kind in "fiub" and dtype.itemsize <= 16, "a numpy dtype that is no number's")
    return Dtype(dtype)


def numpy_scalar(dtype: Any, raw: Any = None) -> Any:
    """`numpy.core.multiarray.scalar`."""
    require(isinstance(dtype, Dtype) and type(raw) is bytes, "a numpy scalar that is no number")
    require(len(raw) == dtype.dtype.itemsize, "a numpy scalar of a wrong size")
    return np.frombuffer(raw, dtype.dtype)[0]
