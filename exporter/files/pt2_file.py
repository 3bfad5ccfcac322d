"""A torch.export program (.pt2), screened before torch reads it.

torch.export.load evaluates symbolic expressions as Python (sympy.sympify), finds operators by walking
attributes from the torch module, and falls back to unrestricted pickles. So an untrusted archive is only
loaded when its expressions are arithmetic, its operators are in torch.ops, and its pickles are only tensors.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...quiet import quiet
from ...text import shown

#: Arithmetic over symbols and the functions ShapeEnv writes: no attribute access, no strings, no dunders.
_EXPRESSION = re.compile(r"(?:[A-Za-z][A-Za-z0-9]*|[0-9]+(?:\.[0-9]+)?|[-+*/%(),<>=!&|~ ])*")
_DECLARED = re.compile(r"Symbol\('([a-z]+[0-9]+)'(?:, [a-z]+=(?:True|False))*\)")
#: How a guard, which torch compiles to Python, reads a size of an input: L['x'].size()[0].
_SIZE = re.compile(r"\bL(?:\['\w+'\]|\[[0-9]+\])+(?:\.(?:size|stride|storage_offset)\(\)(?:\[[0-9]+\])?)?")
_SYMBOL = re.compile(r"[suz][0-9]+|zuf[0-9]+|int_oo|oo|True|False|and|or|not")
_FUNCTIONS = frozenset(
    {
        *("Max", "Min", "Mod", "PythonMod", "CleanDiv", "CeilDiv", "FloorDiv", "ModularIndexing", "Where"),
        *("FloatTrueDiv", "IntTrueDiv", "FloatPow", "PowByNatural", "LShift", "RShift", "ToFloat"),
        *("TruncToInt", "TruncToFloat", "CeilToInt", "FloorToInt", "RoundToInt", "RoundDecimal", "Identity"),
        *("Add", "Mul", "Pow", "Abs", "Piecewise", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or", "Not"),
        *("floor", "ceiling", "Integer", "Float", "Rational"),
    }
)
#: Any other text in the program (names, devices, modes): nothing that could leave a string in generated code.
_PLAIN = re.compile(r"[\w.\-+:/,<>= ]*")
#: Where the traced source was: free text that torch only shows.
_SOURCE = frozenset({"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom"})
#: Where operators may come from: torch's own tables, Python's arithmetic, symbolic helpers.
_OPERATOR = re.compile(
    r"torch\.ops\.[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){1,2}|torch\.sym_[a-z_]+|math\.(floor|ceil|trunc)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|ge|gt|le|lt|and_|or_|not_|getitem|pos|abs)"
)


def read_pt2(path: Path, *, trust: bool) -> Any:
    """The ExportedProgram in the archive.

    Raises
    ------
    InputError
        If loading it would run code and `trust` is off.
    CorruptFileError
        If torch cannot read it.
    """
    import torch

    if not trust:
        try:
            danger = next(_dangers(path), None)
        except (ValueError, KeyError, RecursionError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise CorruptFileError(f"{shown(path)}: damaged .pt2 archive: {shown(error)}") from error
        if danger is not None:
            raise InputError(
                f"{shown(path)}: loading it may run code ({danger}); if you trust it, use --trust-checkpoint"
            )
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as error:  # torch's reader raises assertions, key errors, JSON errors and its own
        raise CorruptFileError(
            f"{shown(path)}: torch {torch.__version__} cannot read it: damaged, or from another torch"
        ) from error


def _dangers(path: Path) -> Iterator[str]:
    """What in the archive would run code, one line each."""
    import torch

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            tail = name.partition("/")[2]
            if name.endswith(".json"):
                yield from _in_json(json.loads(archive.read(name)))
            elif tail.startswith("data/aotinductor/"):
                raise UnsupportedError(
                    f"{shown(path)}: a compiled AOTInductor package; give the exported program"
                )
            elif name.endswith(".pt"):
                try:
                    with quiet():
                        torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                except Exception:  # any failure sends torch.export to an unrestricted pickle
                    yield f"'{shown(name)}' is not only tensors"
            elif tail.startswith("data/constants/") and not tail.rpartition("/")[2].startswith("tensor_"):
                yield f"'{shown(name)}' is a custom object"


def _in_json(value: Any) -> Iterator[str]:
    """What in a program goes beyond arithmetic, plain names and torch.ops."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        key, item = pending.pop()
        if isinstance(item, list):
            pending += [(key, inner) for inner in item]
        elif isinstance(item, dict):
            target = item.get("target")
            if isinstance(target, str) and "inputs" in item and not _OPERATOR.fullmatch(target):
                yield f"operator '{shown(target)}'"
            if item.get("use_pickle") is True:
                yield f"'{shown(item.get('path_name'))}' is a pickle"
            pending += [(name, inner) for name, inner in item.items() if name not in _SOURCE]
            pending += [("", name) for name in item]
        elif isinstance(item, str) and not _is_safe(key, item):
            yield f"{shown(key or 'name')} '{shown(item)}'"


def _is_safe(key: str, text: str) -> bool:
    if key == "expr_str":
        return _is_arithmetic(_DECLARED.sub(r"\1", text))
    if key == "guards_code":
        return _is_arithmetic(_SIZE.sub("s0", text))
    if key in ("in_spec", "out_spec"):
        return not text or _is_plain_tree(text)
    return _PLAIN.fullmatch(text) is not None


def _is_plain_tree(text: str) -> bool:
    """Whether a tree of inputs or outputs is of lists, tuples and dicts only: others import their class."""
    pending = [json.loads(text)]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            kinds = (None, "builtins.list", "builtins.tuple", "builtins.dict", "collections.OrderedDict")
            if item.get("type") not in kinds or "__enum__" in str(item.get("context")):
                return False
            pending += item.get("children_spec", [])
    return True


def _is_arithmetic(expression: str) -> bool:
    if not _EXPRESSION.fullmatch(expression):
        return False
    words = set(re.findall(r"[A-Za-z][A-Za-z0-9]*", expression))
    return all(word in _FUNCTIONS or _SYMBOL.fullmatch(word) for word in words)
