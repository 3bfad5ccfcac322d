"""One-node models of the 1-bit operators, and what they must compute, in float64 numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from sparse_export.exporter import functions
from sparse_export.formats import get

from .builder import Array, Case, model_of, tensor


def signs(x: Array) -> Array:
    """The operators' sign: +1 for x >= 0, else -1."""
    return np.where(x >= 0, 1, -1).astype(np.float32)


def pack_bits(weight: Array) -> Array:
    """Sign bits of a weight, row by row, least significant first."""
    return np.packbits(weight.reshape(weight.shape[0], -1) < 0, axis=1, bitorder="little")


@dataclass
class BinaryCase(Case):
    """One operator with a weight of +1 and -1; `xnor`: it takes the sign of its input too."""

    xnor: bool = False

    def model(
        self,
        components: dict[str, Array] | None = None,
        attributes: dict[str, Any] | None = None,
        function: bool = False,
    ) -> onnx.ModelProto:
        """A model of this one node; `function`: with the body that a stock runtime runs."""
        parts = {"bits": pack_bits(self.weight), "scale": self.scale, "bias": self.bias} | (components or {})
        layer = "MatMul" if self.is_matmul else "Conv"
        inputs = ["x", *parts] + (["z"] if self.has_residual else [])
        name = f"{'Xnor' if self.xnor else 'BinaryWeight'}{layer}{self.suffix}"
        attrs = self.attributes() if attributes is None else attributes
        node = helper.make_node(name, inputs, ["y"], domain="sparse_export", **attrs)
        inits = [tensor(part, array) for part, array in parts.items()]
        model = model_of(node, inits, ["x", "z"] if self.has_residual else ["x"])
        if function:
            model.functions.append(
                functions.build(
                    get("bitpack"),
                    layer,
                    residual=self.has_residual,
                    activation=self.suffix.removeprefix("Add"),
                    binary_input=self.xnor,
                    opset=21,
                )
            )
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
