"""What the layers of a graph have to do in one run, for the cost model of `runtime.cost`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ... import formats
from ...formats.base import Array
from ...runtime.cost import DEPTHWISE, INTEGERS, Work
from ...runtime.cost import kernel_of as kernel_of_operator
from ..graph.site import Site
from .tensor_plan import TensorPlan

#: Shapes of values by name, as `concrete_shapes` gives them.
Shapes = dict[str, tuple[object, ...]]


def kernel_of(format_name: str) -> str:
    """The format whose measured kernel says what this one costs, here as where the file is loaded."""
    return kernel_of_operator(formats.get(format_name).operator or "")


def works_of(sites: list[Site], nnz: int, size: int, shapes: Shapes) -> list[Work] | None:
    """The works of the layers that share a weight; None where the shapes of one are not known."""
    works = [work_of(site, nnz, size, shapes) for site in sites]
    known = [work for work in works if work is not None]
    return known if len(known) == len(works) else None


def counts(plan: TensorPlan) -> tuple[int, int]:
    """Non-zeros and elements of a planned weight; of integers, groups of four input channels."""
    if plan.encoded is None or not plan.sites or plan.sites[0].quantized is None:
        return plan.nnz, plan.size
    return groups(plan.encoded.array)


def groups(codes: Array) -> tuple[int, int]:
    """Groups of four input channels, outputs first, that hold a non-zero, and all of them.

    Examples
    --------
    >>> groups(np.array([[1, 0, 0, 0, 0, 0, 0, 0, 3]], np.int8))
    (2, 3)
    """
    rows, channels = codes.shape[:2]
    held = codes.reshape(rows, channels, -1) != 0
    padded = np.zeros((rows, -(-channels // 4) * 4, held.shape[2]), bool)
    padded[:, :channels] = held
    any_of_four = padded.reshape(rows, -1, 4, held.shape[2]).any(axis=2)
    return int(np.count_nonzero(any_of_four)), int(any_of_four.size)


def work_of(site: Site, nnz: int, size: int, shapes: Shapes) -> Work | None:
    """The work of a layer of the graph, None where its shapes are not known.

    Parameters
    ----------
    nnz, size
        Non-zeros and elements of its weight, as `counts` has them.
    shapes
        Of the values of one run, by name.
    """
    y, x = (_elements(shapes.get(name)) for name in (site.output, site.x))
    if is_depthwise(site):
        y, x = y or 0, x or 0
    if y is None or x is None:
        return None
    rows = max(1, site.scale.size)
    return Work(_kind(site), size, nnz, rows, y // rows, x)


def as_floats(site: Site, plan: TensorPlan, shapes: Shapes) -> Work | None:
    """The work of a layer of integers where it is computed in floats; None of others, or of unknown shape."""
    if site.quantized is None:
        return None
    return work_of(
        replace(site, quantized=None, kind=site.kind.removeprefix("Q")), plan.nnz, plan.size, shapes
    )


def _elements(shape: tuple[object, ...] | None) -> int | None:
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return math.prod(int(dim) for dim in shape if isinstance(dim, int))


def _kind(site: Site) -> str:
    if is_depthwise(site):
        return DEPTHWISE
    if site.quantized is not None:
        return INTEGERS
    if site.kind == "MatMul":
        return "linear"
    shape = site.attributes["shape"]
    assert isinstance(shape, list)
    kernel = shape[2:]
    if len(kernel) == 1:
        return "line"
    return {0: "pointwise", 1: "thin"}.get(sum(dim > 1 for dim in kernel), "square")


def is_depthwise(site: Site) -> bool:
    """Whether every output channel reads one input channel: measured slower packed at every size."""
    shape, group = site.attributes["shape"], site.attributes.get("group", 1)
    return isinstance(shape, list) and group != 1 and shape[1] == 1
