"""The node of a layer that computes with integers, and the clip of integers that its activation may leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ...formats.base import Array
from ..graph.domain import DOMAIN
from ..graph.points import Point
from ..graph.site import Fused
from .op_spec import OpSpec

#: Of an array and a wished name, the name of an initializer that holds it.
Store = Callable[[Array, str], str]


def nodes(
    layer: Fused, spec: OpSpec, components: list[str], title: str, store: Store, fresh: Callable[[str], str]
) -> list[onnx.NodeProto]:
    """The packed node, and behind it a Clip where the integers are held to less than their type.

    Parameters
    ----------
    components
        Names of the initializers that hold the weight.
    """
    part, weight = layer.quantized, layer.weight
    assert part is not None

    def named(point: Point, what: str) -> list[str]:
        scale = store(np.asarray(point.scale, np.float32), f"{weight}.{what}_scale")
        return [scale, store(np.asarray(point.zero), f"{weight}.{what}_zero")]

    inputs = [layer.x, *named(part.x, "x"), *components]
    inputs += [store(part.w_scale, f"{weight}.w_scale"), store(part.bias, f"{weight}.bias")]
    if part.y is not None:
        inputs += named(part.y, "y")
    if layer.residual and part.z is not None and part.total is not None:
        inputs += [layer.residual, *named(part.z, "z"), *named(part.total, "s")]
    attributes: dict[str, Any] = dict(layer.attributes)
    output = layer.output if part.clamp is None else fresh(f"{layer.output}.whole")
    made = [helper.make_node(spec.name, inputs, [output], name=title, domain=DOMAIN, **attributes)]
    result = part.total or part.y
    if part.clamp is not None and result is not None:
        dtype = result.zero.dtype
        bounds = [
            store(np.asarray(bound, dtype), f"{weight}.{what}")
            for bound, what in zip(part.clamp, ("least", "most"), strict=True)
        ]
        made.append(helper.make_node("Clip", [output, *bounds], [layer.output], name=f"{title}.clip"))
    return made
