"""Layers that compute with integers: what a QDQ model says around a Conv, Gemm or MatMul.

A model in QDQ form has `DequantizeLinear` in front of each input of a layer and `QuantizeLinear` behind it:
it means integers and is written in floats. `site_of` reads one layer of it; what stands behind,
`requantized` takes in.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import onnx

from ...formats.base import Array
from .index import GraphIndex
from .padding import explicit_pads, window
from .points import EIGHT_BITS, Quantized
from .qdq import dequantizer, dequantizes, point
from .site import Site
from .walk import attribute

#: A bias beyond this leaves no room for the products in 32 bits.
MAX_BIAS = 1 << 30
#: A row of zeros takes any scale: one of which its bias is this many, or fewer.
_BIAS_STEPS = 1 << 20


def site_of(index: GraphIndex, node: onnx.NodeProto) -> Site | None:
    """A Conv, Gemm or MatMul whose weight is a constant of 8-bit integers; None for any other node.

    What keeps it from an operator of ours is its `obstacle`.
    """
    behind, turned = _behind_weight(index, node)
    codes = index.constant(behind.input[0]) if behind is not None else None
    if behind is None or codes is None or codes.dtype.name not in EIGHT_BITS or codes.size == 0:
        return None
    x_node = dequantizer(index, node.input[0])
    if behind.input[0] not in index.initializers and x_node is None:
        return None  # trained with its weights rounded: the floats that they are is what it computes with
    conv = node.op_type == "Conv"
    if (conv and codes.ndim < 3) or (not conv and codes.ndim != 2):
        return None
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        turned = not turned
    transposed = not conv and not turned
    outputs = codes.shape[1] if transposed else codes.shape[0]
    obstacle = None
    if conv:
        attributes, obstacle = _window(index, node, codes)
    else:
        attributes = {"shape": [outputs, codes.size // outputs]}
        if attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0:
            obstacle = "its input is transposed (transA), or scaled (alpha)"
    part, why = _read(index, node, behind, x_node, codes, transposed)
    return Site(
        node,
        "QConv" if conv else "QMatMul",
        behind.input[0],
        transposed,
        x_node.input[0] if x_node is not None else node.input[0],
        np.ones(outputs),
        np.zeros(outputs),
        attributes,
        obstacle or why,
        part,
    )


def readers_beside(index: GraphIndex, name: str, heads: Collection[int]) -> list[str]:
    """Operators that read a weight's integers otherwise than as the weight of a layer.

    Parameters
    ----------
    heads
        Ids of the layers' nodes.
    """
    found = []
    for node in index.readers[name]:
        if dequantizes(node) and node.input[0] == name:
            found += _strange(index, node.output[0], heads)
        else:
            found.append(node.op_type)
    return found


def add_bias(part: Quantized, rows: Array, bias: Array) -> Quantized | None:
    """With this float bias too, in units of its scales; None where it does not fit.

    Parameters
    ----------
    rows
        The weight's codes, outputs first.
    """
    empty = ~rows.reshape(rows.shape[0], -1).any(axis=1)
    step = float(part.x.scale)
    bias = np.broadcast_to(bias, part.bias.shape) + part.bias * part.w_scale.astype(np.float64) * step
    wanted = np.maximum(np.abs(bias) / step / _BIAS_STEPS, np.finfo(np.float32).tiny)
    with np.errstate(over="ignore", invalid="ignore"):
        w_scale = np.where(empty & (bias != 0), wanted, part.w_scale).astype(np.float32)
        units = np.rint(bias / (w_scale.astype(np.float64) * step))
    if not bool((np.isfinite(w_scale) & (np.abs(units) <= MAX_BIAS)).all()):
        return None
    return replace(part, w_scale=w_scale, bias=units.astype(np.int32))


def rows_of(index: GraphIndex, site: Site) -> Array:
    """The codes of a site's weight, outputs first."""
    codes = index.constant(site.weight)
    assert codes is not None and site.quantized is not None
    return site.quantized.codes(np.ascontiguousarray(codes.T) if site.transposed else codes)


def _behind_weight(index: GraphIndex, node: onnx.NodeProto) -> tuple[onnx.NodeProto | None, bool]:
    """The DequantizeLinear of a node's weight, and whether a Transpose stands between."""
    behind, maker = dequantizer(index, node.input[1]), index.makers.get(node.input[1])
    turned = maker is not None and maker.op_type == "Transpose" and node.op_type != "Conv"
    if maker is None or not turned or list(attribute(maker, "perm", [1, 0])) != [1, 0]:  # type: ignore[call-overload]
        return behind, False
    return dequantizer(index, maker.input[0]), True


def _strange(index: GraphIndex, value: str, heads: Collection[int]) -> list[str]:
    """Readers of a dequantized weight that are no layer's."""
    found = ["an output"] if value in index.pinned else []
    for reader in index.readers[value]:
        if reader.op_type == "Transpose":
            found += _strange(index, reader.output[0], heads)
        elif id(reader) not in heads or [p for p, e in enumerate(reader.input) if e == value] != [1]:
            found.append(reader.op_type)
    return found


def _window(index: GraphIndex, node: onnx.NodeProto, codes: Array) -> tuple[dict[str, object], str | None]:
    """Attributes of a convolution, and what stands against it."""
    spatial = codes.ndim - 2
    image = index.shapes.get(node.input[0])
    pads, obstacle = explicit_pads(node, codes.shape[2:], image[2:] if image else None)
    if spatial not in (1, 2):
        obstacle = f"{spatial}-D convolution has no packed operator"
    return {"shape": list(codes.shape), **window(node, spatial, pads)}, obstacle


def _read(
    index: GraphIndex,
    node: onnx.NodeProto,
    behind: onnx.NodeProto,
    x_node: onnx.NodeProto | None,
    codes: Array,
    transposed: bool,
) -> tuple[Quantized | None, str | None]:
    """What a layer has beside its weight, or what stands against it."""
    name = behind.input[0]
    outputs = codes.shape[1] if transposed else codes.shape[0]
    named = len(behind.input) > 2 and behind.input[2]
    scale, zero = index.constant(behind.input[1]), index.constant(behind.input[2]) if named else None
    if scale is None or (named and zero is None):
        return None, "its scale is computed at run time"
    middle = 128 if codes.dtype == np.uint8 else 0
    zeros = np.zeros(1, codes.dtype) if zero is None else zero
    if bool((zeros.astype(np.int64) != middle).any()):
        return None, f"{name} is asymmetric: its zero point makes non-zeros of the zeros"
    axis = attribute(behind, "axis", 1)
    assert isinstance(axis, int)
    axis += codes.ndim if axis < 0 else 0
    per_output = scale.size == outputs and scale.ndim == 1 and axis == int(transposed)
    if (scale.size != 1 and not per_output) or attribute(behind, "block_size", 0):
        return None, "its scales are not one for each output"
    if scale.dtype != np.float32 or not bool((np.isfinite(scale) & (scale > 0)).all()):
        return None, "the scales of its weight are not float32, positive and finite"
    if x_node is None:
        return None, f"{name} is quantized, the layer's activations are not"
    x = point(index, x_node)
    if x is None:
        return None, "its activations have no constant scale and zero point of 8 bits"
    w_scale = np.broadcast_to(scale.reshape(-1), outputs).copy()
    part = Quantized(x, w_scale, np.zeros(outputs, np.int32), offset=middle)
    if len(node.input) < 3 or not node.input[2]:
        return part, None
    bias = index.constant(node.input[2])
    if bias is None or bias.size not in (1, outputs) or (bias.size > 1 and bias.shape[-1] != outputs):
        return None, "its bias is no constant vector over the outputs"
    beta = float(attribute(node, "beta", 1.0))  # type: ignore[arg-type]
    rows = part.codes(np.ascontiguousarray(codes.T) if transposed else codes)
    whole = add_bias(part, rows, bias.astype(np.float64).reshape(-1) * beta)
    return whole, None if whole else "its bias does not fit 32 bits in units of its scales"
