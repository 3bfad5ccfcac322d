"""What is packed of a weight, made of its constant in the graph each time it is asked for."""

from __future__ import annotations

import numpy as np

from ...formats.base import Array
from ..graph.index import GraphIndex
from ..graph.site import Site
from . import values
from .tensor_plan import TensorPlan
from .values import Encoded, Spec


def encode(index: GraphIndex, name: str, site: Site, spec: Spec) -> Encoded:
    """What a packed operator takes of a weight: outputs as its first axis, its values as asked for.

    Integers are taken as they are.
    """
    array = index.constant(name)
    assert array is not None
    if site.quantized is not None:
        return Encoded(site.quantized.codes(outputs_first(array, site)))
    return values.encode(outputs_first(array, site), spec)


def outputs_first(array: Array, site: Site) -> Array:
    """The weight of a layer, contiguous, with the outputs as its first axis."""
    return np.ascontiguousarray(array.T) if site.transposed else array


def stored(index: GraphIndex, plan: TensorPlan) -> Array:
    """What is packed for a planned weight: as its operator takes it, or in its own shape."""
    if plan.run == "packed":
        return encode(index, plan.name, plan.sites[0], values.parse(plan.values)).array
    array = index.constant(plan.name)
    assert array is not None
    return array
