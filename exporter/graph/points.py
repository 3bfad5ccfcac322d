"""Scales and zero points: what the integers of a QDQ model stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from ...formats.base import Array
from .domain import MAIN_DOMAINS
from .walk import attribute

if TYPE_CHECKING:
    from .index import GraphIndex

#: Where the two nodes live: below opset 21 onnxruntime may write them in its own domain.
DOMAINS = (*MAIN_DOMAINS, "com.microsoft")
EIGHT_BITS = ("int8", "uint8")


@dataclass(frozen=True)
class Point:
    """Scale and zero point of a tensor of 8-bit integers; the zero point has the tensor's type."""

    scale: np.float32
    zero: np.generic

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer of its type."""
        info = np.iinfo(self.zero.dtype)
        return int(info.min), int(info.max)

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


def quantizes(node: onnx.NodeProto) -> bool:
    """Whether a node is a QuantizeLinear."""
    return node.op_type == "QuantizeLinear" and node.domain in DOMAINS


def dequantizes(node: onnx.NodeProto) -> bool:
    """Whether a node is a DequantizeLinear."""
    return node.op_type == "DequantizeLinear" and node.domain in DOMAINS


def dequantizer(index: GraphIndex, name: str) -> onnx.NodeProto | None:
    """The DequantizeLinear that gives a value."""
    node = index.makers.get(name)
    return node if node is not None and dequantizes(node) else None


def point(index: GraphIndex, node: onnx.NodeProto) -> Point | None:
    """Scale and zero point of such a node; None unless it has one of each, constant, valid, for 8 bits."""
    scale = index.constant(node.input[1])
    zero: Array | None
    if len(node.input) > 2 and node.input[2]:
        zero = index.constant(node.input[2])
    else:
        zero = _default_zero(index, node)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or scale.dtype != np.float32:
        return None
    value = scale.reshape(-1)[0]
    if zero.dtype.name not in EIGHT_BITS or not np.isfinite(value) or value <= 0:
        return None
    return Point(value, zero.reshape(-1)[0])


def _default_zero(index: GraphIndex, node: onnx.NodeProto) -> Array | None:
    """The zero point of a node that names none: 0, in the type of its integers."""
    if quantizes(node):
        wanted = attribute(node, "output_dtype", 0) or onnx.TensorProto.UINT8
    else:
        wanted = index.types.get(node.input[0], 0)
    names = {onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.INT8: np.int8}
    return np.zeros(1, names[wanted]) if wanted in names else None  # type: ignore[index]
