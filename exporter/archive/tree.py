"""The object a checkpoint holds (dicts, lists, numbers, text around tensors) as JSON, and back.

Only plain data is kept: what JSON cannot say exactly is left out and noted, never pickled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import CorruptFileError
from ...text import shown
from ..files.budget import MAX_NAME, MAX_NAMES

Tree = Any
MAX_DEPTH = 64
#: What `state_dict()` hangs on its OrderedDict: the versions of the modules.
METADATA = "_metadata"


@dataclass(frozen=True)
class Leaf:
    """A tensor's place in the tree."""

    index: int


def build(value: Any, leaf: Callable[[Any], Leaf], notes: list[str], path: str = "", depth: int = 0) -> Tree:
    """The tree of a loaded object; what cannot be kept becomes None with a note.

    Parameters
    ----------
    leaf
        Called for every torch tensor.
    """
    import torch

    if isinstance(value, torch.Tensor):
        return leaf(value)
    if depth > MAX_DEPTH:
        notes.append(f"{shown(path)[:80]}: nested more than {MAX_DEPTH} deep; left out")
        return None
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return type(value)(
            build(item, leaf, notes, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)
        )
    if isinstance(value, dict) and type(value) in (dict, OrderedDict):
        result: dict[Any, Tree] = type(value)()
        for key, item in value.items():
            if type(key) not in (str, int):
                notes.append(f"{shown(path) or 'top level'}: key of type {type(key).__name__} left out")
                continue
            result[key] = build(item, leaf, notes, f"{path}.{key}" if path else str(key), depth + 1)
        extra = getattr(value, METADATA, None)
        if extra is not None and isinstance(result, OrderedDict):
            result.__dict__[METADATA] = build(extra, leaf, notes, f"{path}.{METADATA}", depth + 1)
        return result
    notes.append(
        f"{shown(path) or 'top level'}: {type(value).__name__} cannot be kept as plain data; left out"
    )
    return None


def to_json(tree: Tree) -> Any:
    """The tree in tagged JSON: [tag, ...]."""
    if isinstance(tree, Leaf):
        return tree.index
    if tree is None or type(tree) in (bool, str):
        return ["v", tree]
    if type(tree) is int:
        return ["i", str(tree)]
    if type(tree) is float:
        return ["f", tree.hex()]
    if type(tree) in (list, tuple):
        return ["l" if type(tree) is list else "t", *(to_json(item) for item in tree)]
    keys = [key if type(key) is str else ["i", str(key)] for key in tree]
    values = [to_json(value) for value in tree.values()]
    if type(tree) is dict:
        return ["d", keys, values]
    return ["o", keys, values, to_json(tree.__dict__.get(METADATA))]


def from_json(value: Any, tensors: int, depth: int = 0) -> Tree:
    """The tree that `to_json` wrote, every leaf checked to be one of that many tensors.

    Raises
    ------
    CorruptFileError
        If it is no such tree.
    """
    if depth > MAX_DEPTH:
        raise CorruptFileError("tree is nested too deep")
    if type(value) is int:
        if not 0 <= value < tensors:
            raise CorruptFileError(f"tree refers to tensor {value} of {tensors}")
        return Leaf(value)
    match value:
        case ["v", None | bool() | str()]:
            return value[1]
        case ["i", str()]:
            return _integer(value[1])
        case ["f", str()]:
            return _float(value[1])
        case ["l", *items]:
            return [from_json(item, tensors, depth + 1) for item in items]
        case ["t", *items]:
            return tuple(from_json(item, tensors, depth + 1) for item in items)
        case ["d", list(), list()]:
            return _pairs({}, value, tensors, depth)
        case ["o", list(), list(), extra]:
            result = _pairs(OrderedDict(), value, tensors, depth)
            attribute = from_json(extra, tensors, depth + 1)
            if attribute is not None:
                result.__dict__[METADATA] = attribute
            return result
    raise CorruptFileError("tree holds a value of an unknown kind")


def leaves(tree: Tree) -> list[tuple[str, int]]:
    """(dotted name, tensor) of every leaf, in order; what a flat file calls the tensors.

    Raises
    ------
    CorruptFileError
        If the names are longer than any file's: a long key above many leaves costs their product.
    """
    found: list[tuple[str, int]] = []
    pending: list[tuple[str, Tree]] = [("", tree)]
    left = MAX_NAMES
    while pending:
        path, item = pending.pop()
        if isinstance(item, Leaf):
            left -= len(path)
            if len(path) > MAX_NAME or left < 0:
                raise CorruptFileError(f"the names of its tensors are too long: {shown(path)}")
            found.append((path, item.index))
        elif isinstance(item, dict):
            pending += [(_join(path, key), inner) for key, inner in reversed(item.items())]
        elif isinstance(item, (list, tuple)):
            pending += [(_join(path, i), item[i]) for i in range(len(item) - 1, -1, -1)]
    return found


def _join(path: str, key: Any) -> str:
    """The name below `path`; one that is too long already grows no more."""
    return path if len(path) > MAX_NAME else f"{path}.{key}" if path else str(key)


def fill(tree: Tree, tensor: Callable[[int], Any]) -> Any:
    """The object again: every leaf replaced by its tensor."""
    if isinstance(tree, Leaf):
        return tensor(tree.index)
    if type(tree) in (list, tuple):
        return type(tree)(fill(item, tensor) for item in tree)
    if isinstance(tree, dict):
        result: dict[Any, Any] = type(tree)()
        for key, item in tree.items():
            result[key] = fill(item, tensor)
        if isinstance(tree, OrderedDict):
            result.__dict__.update({k: fill(v, tensor) for k, v in tree.__dict__.items()})
        return result
    return tree


def _pairs(result: dict[Any, Tree], value: list[Any], tensors: int, depth: int) -> Any:
    _, keys, values = value[:3]
    if len(keys) != len(values):
        raise CorruptFileError("tree has keys without values")
    for key, item in zip(keys, values, strict=True):
        if isinstance(key, list):
            if len(key) != 2 or key[0] != "i" or not isinstance(key[1], str):
                raise CorruptFileError("tree has a key of an unknown kind")
            key = _integer(key[1])
        if not isinstance(key, (str, int)) or isinstance(key, bool) or key in result:
            raise CorruptFileError("tree has a key twice, or of an unknown kind")
        result[key] = from_json(item, tensors, depth + 1)
    return result


def _integer(text: str) -> int:
    if len(text) > 40 or not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise CorruptFileError("tree holds a broken integer")
    return int(text)


def _float(text: str) -> float:
    try:
        return float.fromhex(text)
    except (ValueError, OverflowError):
        raise CorruptFileError("tree holds a broken number") from None
