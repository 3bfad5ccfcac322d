"""Layers whose input passes through a sign: the 1-bit x 1-bit operators take the sign themselves.

Between the sign and the layer may stand a padding with zeros, which the operator does, or a change of the
shape, which moves before the sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from ... import formats
from ..graph.domain import MAIN_DOMAINS
from ..graph.index import GraphIndex, attribute
from ..graph.site import Fused, Site
from ..plan.tensor_plan import TensorPlan
from .sign_rules import Signs, find_signs, rarely_zero, scalar


@dataclass(frozen=True)
class _Input:
    """The signs that a layer reads, through zero padding after them or through a change of their shape."""

    signs: Signs
    pads: list[int] | None = None
    shaper: onnx.NodeProto | None = None


def signed_weights(index: GraphIndex, plans: Sequence[TensorPlan]) -> set[str]:
    """The binary weights in `plans` whose layers would take the signs of their inputs."""
    binary = [plan for plan in plans if plan.runs_packed and formats.get(plan.format).sign_format]
    return {plan.name for plan in binary if _inputs(index, plan.sites) is not None}


def take_signs(index: GraphIndex, sites: Sequence[Site], shapers: dict[int, onnx.NodeProto]) -> list[Fused]:
    """The operators of one weight's sites: they take their inputs before the sign if all have one.

    They share the weight's bits, so either all of them do or none.

    Parameters
    ----------
    shapers
        Nodes that change the shape before the sign, by the id of the node that does so behind it; added to.
    """
    plain = [replace(Fused.alone(site), zero_scale=False) for site in sites]
    found = _inputs(index, sites)
    if found is None:
        return plain
    return [_signed(index, one, taken, shapers) for one, taken in zip(plain, found, strict=True)]


def _signed(index: GraphIndex, one: Fused, taken: _Input, shapers: dict[int, onnx.NodeProto]) -> Fused:
    """The operator with its input before the sign."""
    x, attributes = taken.signs.x, one.attributes
    if taken.pads is not None:
        attributes = {**attributes, "pads": taken.pads}
    if taken.shaper is not None:
        if id(taken.shaper) not in shapers:
            shapers[id(taken.shaper)] = twin = onnx.NodeProto()
            twin.CopyFrom(taken.shaper)
            twin.output[0] = index.fresh(f"{twin.output[0]}.unsigned")
            twin.name = f"{twin.name}.unsigned" if twin.name else ""
            twin.input[0] = taken.signs.x
        x = shapers[id(taken.shaper)].output[0]
    scale = one.scale * taken.signs.factor
    return replace(one, x=x, scale=scale, attributes=attributes, binary_input=True)


def _inputs(index: GraphIndex, sites: Sequence[Site]) -> list[_Input] | None:
    """The signs that each of the sites reads; None where one reads none that an operator may take."""
    found = []
    for site in sites:
        taken = _input(index, site)
        if taken is None or not (taken.signs.exact or rarely_zero(index, taken.signs.x)):
            return None
        found.append(taken)
    return found


def _input(index: GraphIndex, site: Site) -> _Input | None:
    signs = find_signs(index, site.x)
    if signs is not None:
        return _Input(signs)
    node = index.makers.get(site.x)
    if node is None or node.domain not in MAIN_DOMAINS:
        return None
    signs = find_signs(index, node.input[0])
    if signs is None:
        return None
    if site.kind == "MatMul" and node.op_type in ("Flatten", "Reshape"):
        return _Input(signs, shaper=node)
    pads = _zero_padding(index, node, site) if site.kind == "Conv" and node.op_type == "Pad" else None
    return None if pads is None else _Input(signs, pads=pads)


def _zero_padding(index: GraphIndex, node: onnx.NodeProto, site: Site) -> list[int] | None:
    """The layer's own padding and that of a Pad node with zeros around the image; None for any other."""
    own = site.attributes["pads"]
    assert isinstance(own, list)
    pads = index.constant(node.input[1])
    value = scalar(index, node.input[2]) if len(node.input) > 2 and node.input[2] else 0.0
    plain = attribute(node, "mode", b"constant") == b"constant" and not (
        len(node.input) > 3 and node.input[3]
    )
    if pads is None or value != 0 or not plain or pads.size != len(own) + 4:
        return None
    begins, ends = (half.tolist() for half in np.split(pads.reshape(-1), 2))
    if any(begins[:2]) or any(ends[:2]) or pads.min() < 0:
        return None
    return [a + int(b) for a, b in zip(own, [*begins[2:], *ends[2:]], strict=True)]
