"""Weights that a net computes from its parameters, computed by torch itself.

A quantiser rounds its latent weights. What another library makes of the same formula can differ by one unit
in the last place before the rounding, and by a whole level behind it. So such weights enter the graph as the
values torch computes, which are the ones the net is checked against.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..archive.pairs import looks_like_mask

if TYPE_CHECKING:
    from torch.fx import Node

#: Operators with a weight: matched in the name of the torch operator.
_LAYERS = ("conv", "linear", "mm.", "addmm", "baddbmm", "matmul", "embedding")
_ORIGINAL = re.compile(r"parametrizations\.([^.]+)\.original\d*$")
#: Operators that only move a weight's elements: the graph keeps them.
_LAYOUT = (
    *("aten.t.", "permute", "transpose", "view", "reshape", "alias", "detach", "clone", "contiguous"),
    *("squeeze", "expand", "_to_copy", "to.dtype", "lift_fresh"),
)


def fix(exported: Any) -> list[str]:
    """Put every computed weight of an exported program into its ONNX graph as an initializer; their names.

    A weight takes the name of the parameter it was made of, unless something else still reads that.

    Parameters
    ----------
    exported
        The torch.onnx.ONNXProgram; values of its graph are named after the nodes of its torch program.
    """
    import onnx_ir as ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    program, graph = exported.exported_program, exported.model.graph
    if program is None:
        return []
    targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target}
    held = {
        name: value for name, target in targets.items() if (value := _stored(program, target)) is not None
    }
    values = {value.name: value for node in graph for value in node.outputs}
    fixed: list[tuple[Any, str]] = []
    for node in _weights(program.graph, held):
        value, order = values.get(node.name), _before(node)
        result = _evaluate(node, order, held)
        if value is None or not isinstance(result, torch.Tensor) or not result.is_floating_point():
            continue
        array = result.detach().to(torch.float32).contiguous().numpy()
        if all(_is_layout(user) or _is_layer(user) for user in node.users):
            array = array + np.float32(0)  # rounding leaves -0.0, whose sign no layer sees
        weight = ir.Value(name=f"{node.name}.weight", const_value=ir.tensor(array))
        weight.shape, weight.dtype = ir.Shape(array.shape), ir.DataType.FLOAT
        graph.register_initializer(weight)
        value.replace_all_uses_with(weight)
        fixed.append((weight, _name({targets[n.name]: held[n.name] for n in order if n.name in held})))
    if fixed:
        RemoveUnusedNodesPass()(exported.model)
    for weight, name in fixed:
        if name not in graph.initializers:
            weight.name = name
    return [str(weight.name) for weight, _ in fixed]


def _name(parts: dict[str, torch.Tensor]) -> str:
    """The name of the largest part that is no mask, without what pruning and parametrizations put into it."""
    name = max(parts, key=lambda part: (parts[part].numel(), not looks_like_mask(part)))
    return _ORIGINAL.sub(r"\1", name.removesuffix("_orig"))


def _stored(program: Any, name: str) -> torch.Tensor | None:
    value = program.state_dict.get(name, program.constants.get(name))
    return value if isinstance(value, torch.Tensor) else None


def _weights(graph: torch.fx.Graph, held: dict[str, torch.Tensor]) -> Iterator[Node]:
    """Nodes whose value depends on parameters alone, is more than one rearranged, and is a layer's weight."""
    derived: dict[Node, bool | None] = {}  # from parameters alone; None: from no tensor at all
    for node in graph.nodes:
        of = [derived[entry] for entry in node.all_input_nodes]
        if node.op != "call_function" or _is_random(node):
            derived[node] = node.op == "placeholder" and node.name in held
        elif all(which is None for which in of):
            derived[node] = None
        else:
            derived[node] = all(which is not False for which in of)
    seen = set()
    for node in graph.nodes:
        if derived[node] is not False or not _is_layer(node):
            continue
        for entry in node.all_input_nodes:
            while derived[entry] and entry.op == "call_function" and _is_layout(entry):
                entry = entry.all_input_nodes[0]
            if derived[entry] and entry.op == "call_function" and entry not in seen:
                seen.add(entry)
                yield entry


def _is_random(node: Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _is_layout(node: Node) -> bool:
    return len(node.all_input_nodes) == 1 and any(word in str(node.target) for word in _LAYOUT)


def _is_layer(node: Node) -> bool:
    return any(word in str(node.target) for word in _LAYERS)


def _before(node: Node) -> list[Node]:
    """The node and everything it is computed from, inputs first."""
    order: dict[Node, None] = {}
    todo = [(node, False)]
    while todo:
        entry, ready = todo.pop()
        if ready:
            order[entry] = None
        elif entry not in order:
            todo += [(entry, True), *((before, False) for before in entry.all_input_nodes)]
    return list(order)


def _evaluate(node: Node, order: list[Node], held: dict[str, torch.Tensor]) -> Any:
    """The node's value, computed by torch as the program does."""
    results: dict[Node, Any] = {}
    with torch.no_grad():
        for entry in order:
            if entry.op == "placeholder":
                results[entry] = held[entry.name]
                continue
            args, kwargs = torch.fx.map_arg((entry.args, entry.kwargs), lambda n: results[n])
            results[entry] = entry.target(*args, **kwargs)  # type: ignore[operator]
    return results[node]
