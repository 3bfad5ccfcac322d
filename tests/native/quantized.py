"""Small quantized layers, and what they must compute: integers, then float32 operations one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .layers import Shape, dense_conv, format_of, weight_of
from .tables import Operator

Array = NDArray[Any]
F32 = np.float32


def rounded(value: Array, zero: Array) -> Array:
    """To the nearest integers, even ones from the middle, within the type of ``zero``; counted from it."""
    info = np.iinfo(zero.dtype)
    return np.rint(np.clip(value, F32(info.min - int(zero)), F32(info.max - int(zero)))).astype(F32)


def quantum(rng: np.random.Generator, scale: float, signed: bool, exact: bool = False) -> tuple[Array, Array]:
    """A scale near this one, a power of two if `exact`, and a zero point."""
    zero = np.int8(rng.integers(-128, 128)) if signed else np.uint8(rng.integers(0, 256))
    near = scale * rng.uniform(0.5, 2)
    return np.array(2.0 ** np.rint(np.log2(near)) if exact else near, F32), np.array(zero)


class QuantizedLayer:
    """One operator at one shape: its model, its feeds, and the output it must give, to the last bit.

    With `exact` every product of scales and every sum is exact in float32, and two products of neighbours fit
    into 16 bits: so every runtime on every processor gives the same.
    """

    def __init__(
        self,
        operator: Operator,
        shape: Shape,
        rng: np.random.Generator,
        signed: bool,
        *,
        exact: bool = False,
    ) -> None:
        self.operator, self.shape = operator, shape
        conv = operator.conv
        rows = shape.weight[0]
        fmt = format_of(operator)
        weight = weight_of(fmt, shape.weight, rng)
        if fmt.scale_component is None:
            few = fmt.name in ("codebook", "palette")
            most = 60 if exact else 127
            weight = np.sign(weight) * (
                rng.choice([3, 50, most], weight.shape) if few else rng.integers(1, most + 1, weight.shape)
            )
            weight = weight.astype(np.int8)
        # Formats of signs take their alpha, here 1, from floats.
        packed = fmt.pack(weight)
        self.weight = weight = weight.astype(np.int8)
        self.components = {name: np.asarray(packed.components[name]) for name in operator.components}
        lead = (
            *shape.batch,
            shape.weight[1] * (shape.group if conv else 1),
            *(shape.spatial if conv else ()),
        )
        kind = np.int8 if signed else np.uint8
        x = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, lead).astype(kind)
        x_scale, x_zero = quantum(rng, 0.02, signed, exact)
        w_scale = rng.uniform(0.001, 0.02, rows).astype(F32)
        if exact:
            w_scale = np.exp2(np.rint(np.log2(w_scale)))
        bias = rng.integers(-3000, 3000, rows).astype(np.int32)
        moved = x.astype(np.int64) - int(x_zero)
        sums = dense_conv(moved, weight, shape) if conv else moved @ weight.T.astype(np.int64)
        trail = (slice(None), None, None) if conv else (slice(None),)
        sums = sums.astype(np.int64).astype(np.int32) + bias[trail]
        self.feeds: dict[str, Array] = {"x": x}
        self.before = {"x_scale": x_scale, "x_zero": x_zero}
        self.after: dict[str, Array] = {"w_scale": w_scale, "bias": bias}
        self.last: dict[str, Array] = {}
        if operator.suffix == "Float":
            self.expected = sums.astype(F32) * (x_scale * w_scale)[trail]
            return
        y_scale, y_zero = quantum(rng, float(np.std(sums)) * float(x_scale) * 0.01 / 40 + 1e-3, False, exact)
        self.after |= {"y_scale": y_scale, "y_zero": y_zero}
        y = rounded(sums.astype(F32) * (x_scale * w_scale / y_scale)[trail], y_zero)
        zero = y_zero
        if operator.suffix == "Add":
            z = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, y.shape).astype(kind)
            z_scale, z_zero = quantum(rng, float(y_scale), signed, exact)
            s_scale, zero = quantum(rng, 1.5 * float(y_scale), False, exact)
            if exact:  # no halves: onnxruntime adds the zero point before it rounds a sum
                z_scale, s_scale = 2 * y_scale, y_scale
                z = (z // 8 + (int(z_zero) - 16 if int(z_zero) > 16 else 0)).astype(kind)
            self.feeds["z"] = z
            self.last = {"z_scale": z_scale, "z_zero": z_zero, "s_scale": s_scale, "s_zero": zero}
            theirs = (z.astype(np.int32) - int(z_zero)).astype(F32) * (z_scale / s_scale)
            y = rounded(y * (y_scale / s_scale) + theirs, zero)
        self.expected = (y.astype(np.int32) + int(zero)).astype(zero.dtype)

    def model(self, **replaced: Array) -> bytes:
        """A model of this one node; ``replaced`` stand for its initializers of those names."""
        attributes: dict[str, Any] = {"shape": self.shape.weight}
        if self.operator.conv:
            attributes |= {"strides": [self.shape.stride] * 2, "pads": [self.shape.pad] * 4}
            attributes |= {"dilations": [1, 1], "group": self.shape.group}
        z = ["z"] if "z" in self.feeds else []
        names = ["x", *self.before, *self.components, *self.after, *z, *self.last]
        node = helper.make_node(self.operator.name, names, ["y"], domain="sparse_export", **attributes)
        infos = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in (self.feeds | {"y": self.expected}).items()
        ]
        inits = self.before | self.components | self.after | self.last | replaced
        stored = [numpy_helper.from_array(np.asarray(part), label) for label, part in inits.items()]
        graph = helper.make_graph([node], "one", infos[:-1], infos[-1:], stored)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("sparse_export", 1)]
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return bytes(model.SerializeToString())
