"""Whether the functions of a model end, and are no more nodes than a model has."""

from __future__ import annotations

from typing import Any

import onnx

from ....errors import CorruptFileError, UnsupportedError
from ....text import shown
from .walk import subgraphs

#: Nodes of a model once its functions are in their places.
_MOST_NODES = 2_000_000


def prove_functions(model: onnx.ModelProto, where: str) -> None:
    """No function calls itself, and all of them in their places are no more nodes than a model has."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    if len(bodies) != len(model.functions):
        raise CorruptFileError(f"{where}: not a valid ONNX model: two functions of one name")
    sizes: dict[tuple[str, str], int] = {}

    def count(nodes: Any, depth: int) -> int:
        total = 0
        for node in nodes:
            total += 1 + sum(count(graph.node, depth) for graph in subgraphs(node))
            key = (node.domain, node.op_type)
            if key in bodies:
                if key not in sizes:
                    if depth > 32:
                        raise UnsupportedError(
                            f"{where}: not a valid ONNX model: function '{shown(node.op_type)}' calls itself,"
                            " or others more than 32 deep"
                        )
                    sizes[key] = count(bodies[key].node, depth + 1)
                total += sizes[key]
        return min(total, 1 << 60)

    if count(model.graph.node, 0) > _MOST_NODES:
        raise UnsupportedError(f"{where}: over {_MOST_NODES:,} nodes once its functions are in their places")
