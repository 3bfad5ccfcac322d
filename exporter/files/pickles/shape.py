"""Whether what a pickle made can be walked as a tree: no cycle, not too deep, not far larger than it is."""

from __future__ import annotations

import argparse
from typing import Any

from ....errors import UnsupportedError
from .. import budget


def prove_shape(value: Any, where: str) -> None:
    """Refuse an object that holds itself, is too deep, or is far larger than what it is made of.

    Whoever reads on walks it as a tree: a list of lists of one list takes what it expands to.

    Raises
    ------
    UnsupportedError
        If it does.
    """
    nodes: dict[int, int] = {}  # of each container, at every place it stands
    entered: set[int] = set()
    there = 1
    pending: list[tuple[Any, bool]] = [(value, False)]
    while pending:
        item, leaving = pending.pop()
        children = _children(item)
        if children is None or (id(item) in nodes and not leaving):
            continue
        if leaving:
            entered.discard(id(item))
            nodes[id(item)] = 1 + sum(nodes.get(id(child), 1) for child in children)
            continue
        if id(item) in entered:
            raise UnsupportedError(f"{where}: an object in it holds itself; save only the state dict")
        entered.add(id(item))
        if len(entered) > budget.MAX_DEPTH:
            raise too_deep(where)
        there += len(children)
        pending.append((item, True))
        pending += [(child, False) for child in children]
    if nodes.get(id(value), 1) > budget.MAX_EXPANDED + budget.MAX_GROWTH * there:
        raise UnsupportedError(
            f"{where}: shared lists and dicts that expand to {nodes[id(value)]:,} objects;"
            " save only the state dict"
        )


def too_deep(where: str) -> UnsupportedError:
    """The error for nesting beyond the limit."""
    return UnsupportedError(f"{where}: nested more than {budget.MAX_DEPTH} deep; save only the state dict")


def _children(value: Any) -> list[Any] | None:
    """What a container holds; None for anything else."""
    if isinstance(value, dict):
        extra = getattr(value, "__dict__", None)
        return [*value.values(), *extra.values()] if extra else list(value.values())
    if type(value) in (list, tuple):
        return list(value)
    if type(value) is argparse.Namespace:
        return list(vars(value).values())
    return None
