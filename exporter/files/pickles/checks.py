"""What is proved of the arguments in a pickle before anything is made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ....text import shown
from .. import budget


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes of the file as torch holds them; `dtype` is None for an untyped one."""

    untyped: torch.UntypedStorage
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class StorageType:
    """`torch.FloatStorage` and its like."""

    dtype: torch.dtype


def require(condition: bool, what: str) -> None:
    """Raise ValueError, which the reader of the pickle tells as damage, unless the condition holds."""
    if not condition:
        raise ValueError(what)


def sizes(value: Any, what: str) -> tuple[int, ...]:
    """A shape or strides: at most 64 plain integers from 0 to 2^62, their product below 2^62."""
    require(isinstance(value, (tuple, list)) and len(value) <= budget.MAX_RANK, f"a {what} that is none")
    for number in value:
        require(type(number) is int and 0 <= number < 1 << 62, f"a {what} out of range")
    return tuple(value)


def shape_of(value: Any) -> tuple[int, ...]:
    """A shape that torch can hold: empty axes must not hide that the others overflow."""
    shape = sizes(value, "shape")
    require(math.prod(max(1, n) for n in shape) < 1 << 62, f"a shape that is too large: {shown(list(shape))}")
    return shape
