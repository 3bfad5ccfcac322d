"""A torch.export program (.pt2), screened before torch reads it.

torch.export.load evaluates symbolic expressions as Python (sympy.sympify), finds operators by walking
attributes from the torch module, and falls back to unrestricted pickles. So an untrusted archive is only loaded when its
expressions are arithmetic, its operators are in torch.ops, and its pickles load with weights_only.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CorruptFileError, InputError, UnsupportedError
from .doctor import shown
from .loaders import quiet

#: Arithmetic over symbols and the functions ShapeEnv writes: no attribute access, no strings, no dunders.
_EXPRESSION = re.compile(r"(?:[A-Za-z][A-Za-z0-9]*|[0-9]+(?:\.[0-9]+)?|[-+*/%(),<>=!&|~ ])*")
_SYMBOL = re.compile(r"[suz][0-9]+|zuf[0-9]+|int_oo|oo|True|False")
_FUNCTIONS = frozenset(
    {
        *("Max", "Min", "Mod", "PythonMod", "CleanDiv", "CeilDiv", "FloorDiv", "ModularIndexing", "Where"),
        *(
            "FloatTrueDiv",
            "IntTrueDiv",
            "FloatPow",
            "PowByNatural",
            "LShift",
            "RShift",
            "ToFloat",
            "TruncToInt",
        ),
        *(
            "TruncToFloat",
            "CeilToInt",
            "FloorToInt",
            "RoundToInt",
            "RoundDecimal",
            "Identity",
            "Abs",
            "Piecewise",
        ),
        *("Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or", "Not", "floor", "ceiling", "Integer", "Float"),
    }
)
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
        text = " ".join(str(error).split())
        raise CorruptFileError(
            f"{shown(path)}: torch.export cannot read it: {shown(text) or type(error).__name__}"
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
    """Expressions and operators in the program that are more than arithmetic and torch.ops."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            pending += item.values()
            expression, target = item.get("expr_str"), item.get("target")
            if isinstance(expression, str) and not _is_arithmetic(expression):
                yield f"expression '{shown(expression)}'"
            if isinstance(target, str) and "inputs" in item and not _OPERATOR.fullmatch(target):
                yield f"operator '{shown(target)}'"


def _is_arithmetic(expression: str) -> bool:
    if not _EXPRESSION.fullmatch(expression):
        return False
    words = set(re.findall(r"[A-Za-z][A-Za-z0-9]*", expression))
    return all(word in _FUNCTIONS or _SYMBOL.fullmatch(word) for word in words)
