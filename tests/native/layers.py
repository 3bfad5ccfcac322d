"""Small layers for every operator, and what they must compute, in plain numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sparse_export.formats import Format, all_formats

from .activations import activated, parameters
from .tables import Operator

Array = NDArray[Any]
#: Operators of 1-bit activations.
SIGN_PREFIXES = ("Xnor", "XnorPacked")


@dataclass(frozen=True)
class Shape:
    """Weight [K, C, ...] and window of a layer, and the size of its input."""

    weight: tuple[int, ...]
    spatial: tuple[int, ...] = ()
    batch: tuple[int, ...] = (1,)
    stride: int = 1
    pad: int = 0
    group: int = 1


CONVOLUTIONS = (
    Shape((8, 12, 3, 3), (9, 9), pad=1),
    Shape((24, 20, 1, 1), (8, 8), (2,)),
    Shape((16, 5, 3, 3), (7, 6), stride=2, pad=1),
    Shape((16, 4, 3, 2), (6, 8), group=2),
    Shape((40, 64, 3, 3), (4, 4), (3,), pad=1),
)
PRODUCTS = (
    Shape((33, 70), batch=()),
    Shape((64, 128), batch=(1,)),
    Shape((70, 200), batch=(2, 5)),
    Shape((96, 64), batch=(16,)),
    Shape((24, 40), batch=(130,)),
)
#: By the kind of layer in an operator's name; and the one shape of its golden models, which stays.
SHAPES = {"Conv": CONVOLUTIONS, "MatMul": PRODUCTS}
GOLDEN = {"Conv": Shape((8, 12, 3, 3), (5, 5), stride=2, pad=1), "MatMul": Shape((9, 28), batch=(3,))}


def format_of(operator: Operator) -> Format:
    """The format whose components the operator reads."""
    prefix = operator.prefix.removesuffix("Packed")
    return next(fmt for fmt in all_formats() if prefix in (fmt.operator, fmt.sign_operator))


def shapes_of(operator: Operator) -> Iterator[Shape]:
    """The shapes that the operator can have."""
    yield from SHAPES["Conv" if operator.conv else "MatMul"]


def weight_of(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A float32 weight that the format can hold, with zeros where the format has any.

    Values are small multiples of 1/4, so every sum is exact in float32 whatever its order.
    """
    values = rng.choice(np.array([-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0], np.float32), shape)
    if fmt.name in ("bitpack", "signbits"):
        return np.sign(values)
    if fmt.scale_component is not None:
        values = np.sign(values)
    if fmt.name == "nm":
        last = np.moveaxis(values, 1, -1)
        last[..., 2::4] = last[..., 3::4] = 0
    values[rng.random(shape) < 0.6] = 0
    return values


def dense_conv(x: Array, weight: Array, shape: Shape) -> Array:
    """A convolution in float64, tap by tap."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0)] + [(shape.pad, shape.pad)] * 2)
    rows, channels, height, width = weight.shape
    out_h = (x.shape[2] - height) // shape.stride + 1
    out_w = (x.shape[3] - width) // shape.stride + 1
    y = np.zeros((x.shape[0], rows, out_h, out_w))
    for group in range(shape.group):
        k = slice(group * rows // shape.group, (group + 1) * rows // shape.group)
        part = x[:, group * channels : (group + 1) * channels]
        for r in range(height):
            for s in range(width):
                seen = part[:, :, r : r + out_h * shape.stride : shape.stride]
                seen = seen[:, :, :out_h, s : s + out_w * shape.stride : shape.stride][..., :out_w]
                y[:, k] += np.einsum("nchw,kc->nkhw", seen, weight[k, :, r, s].astype(np.float64))
    return y


def pack_signs(x: Array, axis: int) -> Array:
    """Sign bits, channels (of `axis`) last, 1 = negative, least significant bit first."""
    return np.packbits(~(np.moveaxis(x, axis, -1) >= 0), axis=-1, bitorder="little")


class Layer:
    """One operator at one shape: its model, its feeds, and the output it must give."""

    def __init__(self, operator: Operator, shape: Shape, rng: np.random.Generator) -> None:
        self.operator, self.shape = operator, shape
        self.signs = operator.prefix in SIGN_PREFIXES
        self.format = format_of(operator)
        self.weight = weight = weight_of(self.format, shape.weight, rng)
        rows = shape.weight[0]
        # Powers of two and multiples of 1/4: exact again.
        self.scale = rng.choice(np.array([-2, -1, 0.5, 1, 2], np.float32), rows)
        self.bias = (rng.integers(-8, 9, rows) / 4).astype(np.float32)
        conv = operator.layer == "Conv"
        lead = (
            (*shape.batch, shape.weight[1] * shape.group, *shape.spatial)
            if conv
            else (
                *shape.batch,
                shape.weight[1],
            )
        )
        x = (rng.integers(-16, 17, lead) / 8).astype(np.float32)
        seen = np.where(x >= 0, 1.0, -1.0) if self.signs else x
        y = dense_conv(seen, weight, shape) if conv else seen.astype(np.float64) @ weight.T.astype(np.float64)
        trail = (slice(None), None, None) if conv else (slice(None),)
        y = y * self.scale[trail] + self.bias[trail]
        self.feeds: dict[str, Array] = {"x": x}
        if operator.suffix.startswith("Add"):
            self.feeds["z"] = (rng.integers(-16, 17, y.shape) / 8).astype(np.float32)
            y = y + self.feeds["z"]
        y = activated(y, operator.suffix)
        axis = 1 if conv else -1
        if operator.x == TensorProto.UINT8:
            self.feeds["x"] = pack_signs(x, axis)
        self.expected = pack_signs(y, axis) if operator.y == TensorProto.UINT8 else y
        self.components = self._components(weight)

    def _components(self, weight: Array) -> dict[str, Array]:
        packed = self.format.pack(weight)
        return {name: np.asarray(packed.components[name]) for name in self.operator.components}

    def model(self) -> bytes:
        """A model of this one node."""
        attributes: dict[str, Any] = {"shape": self.shape.weight}
        if self.operator.layer == "Conv":
            attributes |= {"strides": [self.shape.stride] * 2, "pads": [self.shape.pad] * 4}
            attributes |= {"dilations": [1, 1], "group": self.shape.group}
        attributes |= parameters(self.operator.suffix)
        parts = self.components | {"scale": self.scale, "bias": self.bias}
        extra = ["z"] if "z" in self.feeds else []
        name = self.operator.name
        node = helper.make_node(name, ["x", *parts, *extra], ["y"], domain="sparse_export", **attributes)
        inputs = [helper.make_tensor_value_info("x", self.operator.x, None)]
        inputs += [helper.make_tensor_value_info(z, TensorProto.FLOAT, None) for z in extra]
        outputs = [helper.make_tensor_value_info("y", self.operator.y, None)]
        inits = [numpy_helper.from_array(part, label) for label, part in parts.items()]
        graph = helper.make_graph([node], "one", inputs, outputs, inits)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("sparse_export", 1)]
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return bytes(model.SerializeToString())


def pool_case(rng: np.random.Generator) -> tuple[bytes, Array, Array]:
    """A model of XnorMaxPool 2 x 2, its packed input, and the packed output it must give."""
    x = rng.standard_normal((2, 11, 6, 6)).astype(np.float32)
    falling = rng.random(11) < 0.5
    windows = np.where(x >= 0, 1, -1).reshape(2, 11, 3, 2, 3, 2)
    most = np.where(falling[:, None, None], windows.min(axis=(3, 5)), windows.max(axis=(3, 5)))
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0] * 4}
    node = helper.make_node("XnorMaxPool", ["x", "falling"], ["y"], domain="sparse_export", **attributes)
    flags = numpy_helper.from_array(np.packbits(falling, bitorder="little"), "falling")
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in ("x", "y")]
    graph = helper.make_graph([node], "one", values[:1], values[1:], [flags])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("sparse_export", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString()), pack_signs(x, 1), pack_signs(most, 1)
