"""One-node models of the 1-bit operators, and what they must compute, in float64 numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from sparse_export.exporter.rewrite import functions
from sparse_export.exporter.rewrite.op_spec import POOL, OpSpec
from sparse_export.formats import get

from .builder import Array, Case, model_of, tensor


def signs(x: Array) -> Array:
    """The operators' sign: +1 for x >= 0, else -1."""
    return np.where(x >= 0, 1, -1).astype(np.float32)


def pack_signs(x: Array, image: bool) -> Array:
    """Packed signs of activations [N, C, H, W] (`image`) or [..., C]: channels last, 1 = negative."""
    last = np.moveaxis(x, 1, -1) if image else x
    return np.packbits(~(last >= 0), axis=-1, bitorder="little")


def pack_bits(weight: Array, channels_last: bool = False) -> Array:
    """Sign bits of a weight, row by row, least significant first."""
    if channels_last and weight.ndim > 2:
        weight = np.moveaxis(weight, 1, -1)
    return np.packbits(weight.reshape(weight.shape[0], -1) < 0, axis=1, bitorder="little")


@dataclass
class BinaryCase(Case):
    """One operator with a weight of +1 and -1; `xnor`: it takes the sign of its input too.

    `packed_x`: that input is packed signs; `packed_y`: so is its output.
    """

    xnor: bool = False
    packed_x: bool = False
    packed_y: bool = False

    def model(
        self,
        components: dict[str, Array] | None = None,
        attributes: dict[str, Any] | None = None,
        function: bool = False,
    ) -> onnx.ModelProto:
        """A model of this one node; `function`: with the body that a stock runtime runs."""
        parts = {"bits": pack_bits(self.weight, self.xnor), "scale": self.scale, "bias": self.bias} | (
            components or {}
        )
        layer = "MatMul" if self.is_matmul else "Conv"
        inputs = ["x", *parts] + (["z"] if self.has_residual else [])
        prefix = f"Xnor{'Packed' if self.packed_x else ''}" if self.xnor else "BinaryWeight"
        name = f"{prefix}{layer}{'Sign' if self.packed_y else self.suffix}"
        attrs = self.attributes() if attributes is None else attributes
        node = helper.make_node(name, inputs, ["y"], domain="sparse_export", **attrs)
        inits = [tensor(part, array) for part, array in parts.items()]
        model = model_of(node, inits, ["x", "z"] if self.has_residual else ["x"])
        for value, packed in ((model.graph.input[0], self.packed_x), (model.graph.output[0], self.packed_y)):
            value.type.tensor_type.elem_type = TensorProto.UINT8 if packed else TensorProto.FLOAT
        if function:
            last = "Sign" if self.packed_y else self.suffix.removeprefix("Add")
            fmt = get("signbits" if self.xnor else "bitpack")
            spec = OpSpec(fmt, layer, self.has_residual, last, self.packed_x)
            model.functions.append(functions.build(spec, 21))
        return model

    def reference(self, x: Array, z: Array | None = None) -> tuple[Array, Array]:
        return super().reference(signs(x) if self.xnor else x, z)

    def exact(self, x: Array, z: Array | None = None) -> Array:
        """What XnorConv and XnorMatMul give to the last bit: an exact sum, then float32 steps one by one."""
        plain = BinaryCase(self.weight, "", strides=self.strides, pads=self.pads, dilations=self.dilations)
        plain.group, plain.scale, plain.bias = self.group, np.ones_like(self.scale), np.zeros_like(self.bias)
        sums = plain.reference(signs(x))[0].astype(np.float32)
        trail = (slice(None),) + (None,) * (0 if self.is_matmul else x.ndim - 2)
        y = sums * self.scale[trail]
        y += self.bias[trail]
        if z is not None:
            y += z
        if self.suffix.endswith("Relu"):
            y = np.maximum(y, np.float32(0))
        elif self.suffix.endswith("Clip"):
            y = np.clip(y, *np.float32(self.clip))
        return y


def pool_model(falling: Array, attributes: dict[str, Any]) -> onnx.ModelProto:
    """A model of one XnorMaxPool with its function; `falling`: one flag a channel."""
    bits = np.packbits(falling, bitorder="little")
    node = helper.make_node(POOL, ["x", "falling"], ["y"], domain="sparse_export", **attributes)
    model = model_of(node, [tensor("falling", bits)], ["x"])
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.UINT8
    model.functions.append(functions.pool(21))
    return model
