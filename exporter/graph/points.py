"""Scales and zero points: what the integers of a QDQ model stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...formats.base import Array

EIGHT_BITS = ("int8", "uint8")


@dataclass(frozen=True)
class Point:
    """Scale and zero point of a tensor of 8-bit integers; the zero point has the tensor's type."""

    scale: np.float32
    zero: np.int8 | np.uint8

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer of its type."""
        return (-128, 127) if self.zero.dtype == np.int8 else (0, 255)

    def quantize(self, value: float) -> int:
        """The integer of a number, rounded to even and held to the range.

        Examples
        --------
        >>> Point(np.float32(0.5), np.uint8(128)).quantize(-1.0)
        126
        """
        low, high = self.limits
        return int(np.clip(np.rint(np.float32(value) / self.scale) + int(self.zero), low, high))


@dataclass(frozen=True)
class Quantized:
    """What a layer has beside its weight when it computes with integers.

    Attributes
    ----------
    x
        Of its input.
    w_scale, bias
        float32 and int32 [K]: of the weight, and the offset in units of x.scale * w_scale.
    y
        Of its result; None where that is float.
    z, total
        Of the residual and of the sum with it; None where nothing is added.
    clamp
        Smallest and largest integer of the result, where an activation says more than its type.
    offset
        What is taken from the integers that the weight is stored as: 128 where they are uint8.
    """

    x: Point
    w_scale: NDArray[np.float32]
    bias: NDArray[np.int32]
    y: Point | None = None
    z: Point | None = None
    total: Point | None = None
    clamp: tuple[int, int] | None = None
    offset: int = 0

    def codes(self, array: Array) -> Array:
        """The int8 weight of what the model stores."""
        return (array ^ np.uint8(128)).view(np.int8) if self.offset else array
