"""What an operator's suffix makes of a layer's output: what the documents say, computed by numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparse_export.exporter.graph.activations import ACTIVATIONS

Array = NDArray[Any]
#: Of the attributes of an activation, in their order; they cut off a good part of what small layers give.
VALUES = (-0.75, 1.25)


def parameters(suffix: str) -> dict[str, float]:
    """Values of the attributes that an operator of that suffix takes.

    Examples
    --------
    >>> parameters("AddClip")
    {'min': -0.75, 'max': 1.25}
    """
    one = ACTIVATIONS.get(suffix.removeprefix("Add"))
    return {} if one is None else dict(zip(one.parameters, VALUES, strict=False))


def activated(y: Array, suffix: str) -> Array:
    """`y` [...] as its activation leaves it; as it is where the suffix names none.

    Examples
    --------
    >>> activated(np.array([-1.0, 0.5]), "AddRelu").tolist()
    [0.0, 0.5]
    """
    one = ACTIVATIONS.get(suffix.removeprefix("Add"))
    if one is None:
        return y
    names = vars(np) | parameters(suffix) | {"y": y}
    result: Array = eval(one.result.replace("…", "y"), {"__builtins__": {}}, names)
    return result
