"""Whether the loops of a model end."""

from __future__ import annotations

import math

import onnx

from ....errors import UnsupportedError
from ....text import shown
from .walk import graphs, subgraphs

#: Rounds of a loop that nothing but its count ends.
_MOST_ROUNDS = 1_000_000


def prove_loops(graph: onnx.GraphProto, where: str) -> None:
    """A loop that only its count ends does not run for ever."""
    constants = {tensor.name: tensor for found in graphs(graph) for tensor in found.initializer}
    for found in graphs(graph):
        for node in found.node:
            if node.op_type == "Constant" and node.output:
                constants.update((node.output[0], a.t) for a in node.attribute if a.HasField("t"))
    _rounds(graph, constants, where)


def _rounds(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto], where: str) -> int:
    """Rounds that the loops of a graph make in one run of it, as far as their counts alone tell."""
    total = 0
    for node in graph.node:
        inner = sum(_rounds(body, constants, where) for body in subgraphs(node))
        body = next(iter(subgraphs(node)), None) if node.op_type == "Loop" else None
        given = node.input[0] if node.input else ""
        # A count that is computed is an honest one, of steps or boxes, as far as can be told here.
        if body is not None and body.output and (not given or given in constants):
            count = _number(constants.get(given))
            if _never_ends_itself(body, constants):
                rounds = None if count is None else max(0, count) * (1 + inner)
                if rounds is None or rounds > _MOST_ROUNDS:
                    raise UnsupportedError(
                        f"{where}: loop '{shown(node.name or node.output[0])}' never ends:"
                        f" {'any' if rounds is None else f'{rounds:,}'} rounds, and a condition that does not"
                        " change"
                    )
                inner = rounds
        total += inner
    return total


def _never_ends_itself(body: onnx.GraphProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether the condition that a loop's body gives is the one it got, or a constant."""
    made = {name: inner for inner in body.node for name in inner.output}
    condition, passed = body.output[0].name, len(body.input) > 1 and body.input[1].name
    while condition in made and made[condition].op_type == "Identity":
        condition = made[condition].input[0]
    ends = condition in made and made[condition].op_type != "Constant"
    return not ends and (condition == passed or condition in constants)


def _number(tensor: onnx.TensorProto | None) -> int | None:
    """The one integer that a small constant holds."""
    if tensor is None or tensor.data_type != onnx.TensorProto.INT64 or math.prod(tensor.dims) != 1:
        return None
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    return int(onnx.numpy_helper.to_array(tensor).reshape(-1)[0])
