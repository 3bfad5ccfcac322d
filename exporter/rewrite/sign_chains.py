"""Chains of 1-bit layers: a layer whose result only becomes signs gives them packed, the next reads them so.

Between two layers of a chain may stand max pooling and normalisation. The largest value has the largest
sign, so pooling is done on the signs; a normalisation behind it moves before it, into the layer's scale and
bias, and where it turns the order round the smallest sign is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ...formats.base import Array
from ...formats.parts.bits import pack_rows
from ..graph.domain import DOMAIN, MAIN_DOMAINS
from ..graph.fuse import norm_factors
from ..graph.index import GraphIndex, attribute
from ..graph.site import Fused
from .op_spec import POOL, SIGN

Node = onnx.NodeProto | Fused


@dataclass(frozen=True)
class Chains:
    """What passes packed signs, instead of what did not, by the id of that; and the constants it needs."""

    layers: dict[int, Fused]
    pools: dict[int, onnx.NodeProto]
    constants: dict[str, Array]


@dataclass
class _Link:
    """What lies between a layer and those that take the signs of its result.

    `pools` are the max poolings with, for each output, whether a normalisation behind turns the order round.
    """

    scale: NDArray[np.float64]
    bias: NDArray[np.float64]
    pools: list[onnx.NodeProto] = field(default_factory=list)
    turned: list[NDArray[np.bool_]] = field(default_factory=list)
    value: str = ""
    readers: list[Fused] = field(default_factory=list)


def link(index: GraphIndex, nodes: Sequence[Node], outputs: set[str]) -> Chains:
    """Let the layers of every chain pass packed signs.

    Parameters
    ----------
    nodes
        The live nodes and packed layers, in graph order.
    outputs
        Values that something other than a node reads.
    """
    readers: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.reads if isinstance(node, Fused) else node.input:
            readers[name].append(node)
    chains = Chains({}, {}, {})
    for layer in nodes:
        if isinstance(layer, Fused) and layer.binary_input and _gives_signs(layer):
            found = _follow(index, layer, readers, outputs)
            if found is not None:
                _apply(index, layer, found, chains)
    return chains


def _gives_signs(layer: Fused) -> bool:
    """Whether an operator gives the signs of what this layer computes."""
    group = layer.attributes.get("group", 1)
    assert isinstance(group, int)
    if layer.residual or (group > 1 and layer.scale.size // group % 8):
        return False
    if layer.kind == "Conv" and len(layer.attributes["shape"]) != 4:  # type: ignore[arg-type]
        return False  # packed signs are images [N, H, W, bytes] or rows
    if layer.activation == "Clip":
        return layer.parameters["min"] < 0 <= layer.parameters["max"]  # such bounds change no sign
    return layer.activation == ""


def _follow(
    index: GraphIndex, layer: Fused, readers: dict[str, list[Node]], outputs: set[str]
) -> _Link | None:
    """The way from a layer to those that read its signs, or None where something else reads its result."""
    found = _Link(layer.scale, layer.bias, value=layer.output)
    while True:
        nodes = readers[found.value]
        if not nodes or found.value in outputs or found.value in index.pinned:
            return None
        if all(isinstance(node, Fused) and _takes_signs(node, layer, found.value) for node in nodes):
            found.readers = [node for node in nodes if isinstance(node, Fused)]
            return found
        node = nodes[0]
        if len(nodes) > 1 or isinstance(node, Fused) or not _pass(index, node, layer, found):
            return None
        found.value = node.output[0]


def _takes_signs(layer: Fused, source: Fused, value: str) -> bool:
    return layer.kind == source.kind and layer.binary_input and layer.x == value and layer.residual != value


def _pass(index: GraphIndex, node: onnx.NodeProto, layer: Fused, found: _Link) -> bool:
    """Go past a max pooling or a normalisation."""
    if node.domain not in MAIN_DOMAINS or layer.kind != "Conv":
        return False
    if node.op_type == "MaxPool":
        if not _plain_pool(node):
            return False
        found.pools.append(node)
        found.turned.append(np.zeros(layer.scale.size, np.bool_))
        return True
    factors = norm_factors(index, node, layer.scale.size)
    if factors is None or layer.activation:
        return False
    factor, mean, beta = factors
    found.scale, found.bias = found.scale * factor, (found.bias - mean) * factor + beta
    scale = found.scale.astype(np.float32)
    if not (np.isfinite(scale).all() and np.isfinite(found.bias.astype(np.float32)).all() and scale.all()):
        return False
    found.turned = [turned ^ (factor < 0) for turned in found.turned]
    return True


def _plain_pool(node: onnx.NodeProto) -> bool:
    """Whether the operator for packed signs does this pooling."""
    kernel = attribute(node, "kernel_shape", [])
    assert isinstance(kernel, list)
    pads = attribute(node, "pads", [0] * (2 * len(kernel)))
    dilations = attribute(node, "dilations", [1])
    assert isinstance(pads, list) and isinstance(dilations, list)
    return (
        len(node.output) == 1
        and len(kernel) == 2
        and attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID", b"")
        and not attribute(node, "ceil_mode", 0)
        and set(dilations) == {1}
        and all(pad < size for pad, size in zip(pads, [*kernel, *kernel], strict=True))
    )


def _apply(index: GraphIndex, layer: Fused, found: _Link, chains: Chains) -> None:
    """Add to the chains what lies between this layer and those that read its signs."""
    value = index.fresh(f"{layer.output}.signs")
    begins = chains.layers.get(id(layer), layer)
    chains.layers[id(layer)] = replace(
        begins, scale=found.scale, bias=found.bias, activation=SIGN, parameters={}, output=value
    )
    for node, turned in zip(found.pools, found.turned, strict=True):
        kernel = attribute(node, "kernel_shape")
        assert isinstance(kernel, list)
        falling = index.fresh(f"{node.output[0]}.falling")
        chains.constants[falling] = pack_rows(turned)
        output = index.fresh(f"{node.output[0]}.signs")
        chains.pools[id(node)] = helper.make_node(
            POOL,
            [value, falling],
            [output],
            name=node.name,
            domain=DOMAIN,
            kernel_shape=kernel,
            strides=attribute(node, "strides", [1] * len(kernel)),
            pads=attribute(node, "pads", [0] * (2 * len(kernel))),
        )
        value = output
    for reader in found.readers:
        chains.layers[id(reader)] = replace(chains.layers.get(id(reader), reader), x=value, packed_input=True)
