"""Layers of integers on a processor without integer dot products: computed in floats.

There four multiply-adds of floats take less than what stands in for a dot product of bytes. Such a layer's
node becomes, as the file is loaded, the library's operator of the same inputs that sums in floats: the same
bits come out, and what lies between layers stays bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

#: In the place of a domain: which way a layer is computed.
IN_FLOATS = "in floats"
#: Layers of integers and those in their place, whose names are as long: a node changes in place.
LAYERS = {"QConv": "FConv", "QMatMul": "FMatMul"}
#: Inputs around the components: before them, and behind them by what the layer gives.
_BEFORE, _BEHIND = 3, {"": 4, "Add": 9, "Float": 2}
#: Whose components the library reads on every run, in floats.
_READ_AGAIN = "Sparse"


def split(operator: str) -> tuple[str, str, str] | None:
    """Prefix, layer and suffix of an operator of integers; None for any other.

    Examples
    --------
    >>> split("TightQConvAdd")
    ('Tight', 'QConv', 'Add')
    >>> split("SparseConv")
    """
    for layer in LAYERS:
        prefix, found, suffix = operator.partition(layer)
        if found and suffix in _BEHIND:
            return prefix, layer, suffix
    return None


def inner(operator: str) -> str:
    """The operator that computes an operator of integers in floats.

    Examples
    --------
    >>> inner("TightQConvAdd")
    'TightFConvAdd'
    """
    known = split(operator)
    return f"{known[0]}{LAYERS[known[1]]}{known[2]}" if known else operator


def components(operator: str, inputs: Sequence[str], *, in_floats: bool = False) -> Sequence[str]:
    """Of the inputs of an operator of integers those of its weight that are read once; of any other none.

    Examples
    --------
    >>> components("TightQMatMulFloat", ["x", "s", "z", "gaps", "values", "w", "b"])
    ['gaps', 'values']
    """
    known = split(operator)
    if known is None or (in_floats and known[0] == _READ_AGAIN):
        return []
    return inputs[_BEFORE : max(0, len(inputs) - _BEHIND[known[2]])]
