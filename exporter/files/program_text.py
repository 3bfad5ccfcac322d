"""The text of an exported program: what in it goes beyond arithmetic, plain names and torch's operators."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ...text import shown
from .expression import canonical

#: How a guard reads a size of an input: L['x'].size()[0].
_SIZE = re.compile(r"\bL(?:\['\w+'\]|\[[0-9]+\])+(?:\.(?:size|stride|storage_offset)\(\)(?:\[[0-9]+\])?)?")
#: Any other text in the program (names, devices, modes): nothing that could leave a string in generated code.
_PLAIN = re.compile(r"[\w.\-+:/,<>= ]*")
#: Where the traced source was: free text that torch only shows.
_SOURCE = frozenset({"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom"})
#: Where operators may come from: torch's own tables of arithmetic, Python's, symbolic helpers.
_OPERATOR = re.compile(
    r"torch\.ops\.[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){1,2}|torch\.sym_[a-z_]+|math\.(floor|ceil|trunc)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|ge|gt|le|lt|and_|or_|not_|getitem|pos|abs)"
)
#: Operators that reach files, other memory or other programs.
_FORBIDDEN = re.compile(
    r"torch\.ops\.(?:aten\.from_file.*|aten\._?(?:pin_memory|resize_output|set_data|cudnn_init).*"
    r"|prepacked\..*|profiler\..*|c10d.*|debugprims.*|fsdp.*|inductor\..*|aoti.*|_inductor.*|streams\..*)"
    r"|.*\.(?:_?print|__\w+)"
)
_TREE_KINDS = (None, "builtins.list", "builtins.tuple", "builtins.dict", "collections.OrderedDict")


def dangers(program: Any) -> Iterator[str]:
    """What in the program would run code, one line each; its expressions are written anew in place."""
    pending: list[tuple[str, Any]] = [("", program)]
    while pending:
        key, item = pending.pop()
        if isinstance(item, list):
            for place, inner in enumerate(item):
                if isinstance(inner, str):
                    yield from _text(key, inner, item, place)
            pending += [(key, inner) for inner in item if not isinstance(inner, str)]
        elif isinstance(item, dict):
            yield from _call(item)
            for name, inner in item.items():
                yield from _text("", name, None, None)
                if isinstance(inner, str) and name not in _SOURCE:
                    yield from _text(name, inner, item, name)
            pending += [(k, v) for k, v in item.items() if k not in _SOURCE and not isinstance(v, str)]
        if isinstance(item, dict) and "guards_code" in item:
            item["guards_code"] = []  # torch compiles them; they only check the inputs of callers


def _call(item: dict[str, Any]) -> Iterator[str]:
    target: Any = item.get("target")
    called = isinstance(target, str) and "inputs" in item
    if called and (not _OPERATOR.fullmatch(target) or _FORBIDDEN.fullmatch(target)):
        yield f"operator '{shown(target)}'"
    if item.get("use_pickle", False) is not False:
        yield f"'{shown(item.get('path_name'))}' is a pickle"


def _text(key: str, text: str, holder: Any, place: Any) -> Iterator[str]:
    if key == "expr_str":
        written = canonical(text)
        if written is None:
            yield f"expr_str '{shown(text)}'"
        else:
            holder[place] = written
    elif key == "guards_code":
        if canonical(_SIZE.sub("s0", text)) is None:
            yield f"guards_code '{shown(text)}'"
    elif key in ("in_spec", "out_spec"):
        if text and not _is_plain_tree(text):
            yield f"{key} '{shown(text)}'"
    elif _PLAIN.fullmatch(text) is None or len(text) > 10_000:
        yield f"{shown(key or 'name')} '{shown(text)}'"


def _is_plain_tree(text: str) -> bool:
    """Whether a tree of inputs or outputs is of lists, tuples and dicts only: others import their class."""
    pending = [json.loads(text)] if len(text) < 1 << 20 else [None, {"type": "too long"}]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            if item.get("type") not in _TREE_KINDS or "__enum__" in str(item.get("context")):
                return False
            pending += item.get("children_spec", [])
    return True
