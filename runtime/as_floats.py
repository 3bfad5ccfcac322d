"""Layers of integers on a processor without integer dot products: as floats, between two conversions.

There a packed layer of floats is faster than one of integers, dense or packed. Such a layer's node moves to a
domain of its own, whose function is made here of the one in the file: the activations dequantized, the
float operator of the same weight (which reads its int8 values as they lie), the result quantized.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import wire

#: As long as `sparse_export`, so that a node changes in place.
DOMAIN = "sparse_floats"
_OURS = "sparse_export"
#: Layers of integers and the layers of floats in their place.
LAYERS = {"QConv": "Conv", "QMatMul": "MatMul"}
#: Inputs around the components, and behind them in a layer whose result is integers.
_X, _W, _Y = ["X", "x_scale", "x_zero"], ["w_scale", "bias"], ["y_scale", "y_zero"]
_Z, _S = ["Z", "z_scale", "z_zero"], ["s_scale", "s_zero"]
_BEHIND = {"": [*_W, *_Y], "Add": [*_W, *_Y, *_Z, *_S], "Float": _W}
_INT, _INTS, _FLOAT = 2, 7, 1


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
    """The operator of floats that computes an operator of integers.

    Examples
    --------
    >>> inner("TightQConvAdd")
    'TightConv'
    """
    known = split(operator)
    return f"{known[0]}{LAYERS[known[1]]}" if known else operator


def components(operator: str, inputs: Sequence[str]) -> Sequence[str]:
    """Of the inputs of an operator of integers those that hold its weight; of any other none.

    Examples
    --------
    >>> components("TightQMatMulFloat", ["x", "s", "z", "gaps", "values", "w", "b"])
    ['gaps', 'values']
    """
    known = split(operator)
    return inputs[len(_X) : max(0, len(inputs) - len(_BEHIND[known[2]]))] if known else []


def function(data: wire.Buffer, given: wire.Field) -> bytes | None:
    """The function that computes an operator of integers in floats; None where the file has a strange one.

    Parameters
    ----------
    given
        The function that the file has for it.
    """
    parts = list(wire.fields(data, given.start, given.end))
    name = "".join(wire.text(data, part) for part in parts if part.number == wire.FUNCTION_NAME)
    inputs = [wire.text(data, part) for part in parts if part.number == wire.FUNCTION_INPUTS]
    attributes = [wire.text(data, part) for part in parts if part.number == wire.FUNCTION_ATTRIBUTES]
    known = split(name)
    if known is None:
        return None
    _, _, suffix = known
    behind, parts_of_weight = _BEHIND[suffix], components(name, inputs)
    if (
        inputs != [*_X, *parts_of_weight, *behind]
        or {*parts_of_weight} & {*_X, *behind}
        or not parts_of_weight
    ):
        return None
    strings = [(wire.FUNCTION_NAME, name), (wire.FUNCTION_DOMAIN, DOMAIN), (wire.FUNCTION_OUTPUTS, "Y")]
    strings += [(wire.FUNCTION_INPUTS, text) for text in inputs]
    strings += [(wire.FUNCTION_ATTRIBUTES, text) for text in attributes]
    content = b"".join(wire.message(number, text.encode()) for number, text in strings)
    for part in parts:
        if part.number == wire.FUNCTION_OPSETS:
            content += wire.message(wire.FUNCTION_OPSETS, bytes(data[part.start : part.end]))
    content += wire.message(wire.FUNCTION_OPSETS, _opset(_OURS))
    nodes = _nodes(inner(name), suffix, parts_of_weight, attributes)
    return content + b"".join(wire.message(wire.FUNCTION_NODES, node) for node in nodes)


def _opset(domain: str) -> bytes:
    return wire.message(wire.OPSET_DOMAIN, domain.encode()) + wire.number(wire.OPSET_VERSION, 1)


def _nodes(operator: str, suffix: str, components: Sequence[str], attributes: Sequence[str]) -> list[bytes]:
    """The body: X, bias and Z as floats, the layer, its result quantized."""
    to_float = wire.message(wire.ATTRIBUTE_NAME, b"to") + wire.number(wire.ATTRIBUTE_INT, _FLOAT)
    to_float += wire.number(wire.ATTRIBUTE_TYPE, _INT)
    nodes = [
        _node("DequantizeLinear", _X, "x_real"),
        _node("Cast", ["bias"], "b_steps", attributes=[to_float]),
        _node("Mul", ["w_scale", "x_scale"], "b_scale"),
        _node("Mul", ["b_steps", "b_scale"], "b_real"),
    ]
    inputs, passed = ["x_real", *components, "w_scale", "b_real"], [_passed(name) for name in attributes]
    result = "y_whole" if suffix == "Add" else "Y"
    nodes.append(_node(operator, inputs, "layer", _OURS, passed))
    if suffix == "Float":  # says the type, which a function's result needs; changes nothing
        nodes.append(_node("Cast", ["layer"], "Y", attributes=[to_float]))
    else:
        nodes.append(_node("QuantizeLinear", ["layer", *_Y], result))
    if suffix == "Add":  # what saturates is saturated before the sum, which a runtime makes one QLinearAdd
        nodes.append(_node("DequantizeLinear", [result, *_Y], "y_real"))
        nodes.append(_node("DequantizeLinear", _Z, "z_real"))
        nodes.append(_node("Add", ["y_real", "z_real"], "total"))
        nodes.append(_node("QuantizeLinear", ["total", *_S], "Y"))
    return nodes


def _node(
    operator: str, inputs: Sequence[str], output: str, domain: str = "", attributes: Sequence[bytes] = ()
) -> bytes:
    strings = [(wire.NODE_INPUTS, name) for name in inputs]
    strings += [(wire.NODE_OUTPUTS, output), (wire.NODE_OPERATOR, operator)]
    strings += [(wire.NODE_DOMAIN, domain)] if domain else []
    content = b"".join(wire.message(number, text.encode()) for number, text in strings)
    return content + b"".join(wire.message(wire.NODE_ATTRIBUTES, one) for one in attributes)


def _passed(name: str) -> bytes:
    """An attribute of the node that is the function's."""
    text = name.encode()
    named = wire.message(wire.ATTRIBUTE_NAME, text) + wire.message(wire.ATTRIBUTE_OF_FUNCTION, text)
    return named + wire.number(wire.ATTRIBUTE_TYPE, _INT if name == "group" else _INTS)
