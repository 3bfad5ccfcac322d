"""Symbolic sizes of an exported program, parsed by a grammar of our own: integers, symbols, arithmetic.

torch hands such text to sympy, which evaluates it as Python. What it gets from us is the tree written anew:
there is nothing in it that this grammar does not know; and no number in it can grow past a few machine words.
"""

from __future__ import annotations

import ast
import re

_LONGEST = 20_000
_MOST_NODES = 2_000
_LARGEST = 1 << 64
_SYMBOL = re.compile(r"[suz][0-9]{1,9}|zu?f[0-9]{1,9}")
_NAMES = frozenset({"int_oo", "oo", "true", "false"})
_DECLARED = frozenset({"positive", "negative", "nonnegative", "integer", "real", "zero"})
_FUNCTIONS = frozenset(
    {
        *("Max", "Min", "Mod", "PythonMod", "CleanDiv", "CeilDiv", "FloorDiv", "ModularIndexing", "Where"),
        *("FloatTrueDiv", "IntTrueDiv", "ToFloat", "TruncToInt", "TruncToFloat", "CeilToInt", "FloorToInt"),
        *("RoundToInt", "Identity", "Add", "Mul", "Abs", "Piecewise", "Eq", "Ne", "Ge", "Gt", "Le", "Lt"),
        *("And", "Or", "Not", "floor", "ceiling", "Integer", "Float", "Rational", "Equality", "Unequality"),
        *("GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan", "ExprCondPair", "Tuple"),
    }
)
#: What grows faster than its text: only with a small number as its second argument, and not inside itself.
_POWERS = frozenset({"Pow", "FloatPow", "PowByNatural", "LShift", "RShift", "RoundDecimal"})
_LARGEST_POWER = 62
_PLAIN = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Load, ast.Tuple),
    *(ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Div, ast.USub, ast.UAdd, ast.Not, ast.Invert),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.And, ast.Or, ast.BitAnd, ast.BitOr),
)


def canonical(text: str) -> str | None:
    """The expression written anew, or None if it is not in the grammar.

    >>> canonical("Add(FloorDiv(Symbol('s7', integer=True), Integer(2)), Integer(1))")
    "Add(FloorDiv(Symbol('s7', integer=True), Integer(2)), Integer(1))"
    >>> canonical("().__class__") is canonical("9**9**9") is None
    True
    """
    if len(text) > _LONGEST or not text.isascii():
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval")
        known = _is_known(tree)
        return ast.unparse(tree) if known else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_known(tree: ast.AST) -> bool:
    pending, count = [(tree, False)], 0
    while pending:
        node, in_power = pending.pop()
        count += 1
        if count > _MOST_NODES:
            return False
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "Symbol":
                if not _is_symbol(node):
                    return False
                continue
            if not isinstance(node.func, ast.Name) or node.keywords:
                return False
            power = node.func.id in _POWERS
            if not (node.func.id in _FUNCTIONS or (power and not in_power and _is_small(node.args))):
                return False
            pending += [(child, in_power or power) for child in node.args]
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, (int, float)) or abs(node.value) >= _LARGEST:
                return False
        elif isinstance(node, ast.Name):
            if node.id not in _NAMES and not _SYMBOL.fullmatch(node.id):
                return False
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            if in_power or not _is_small([node.left, node.right]):
                return False
            pending += [(node.left, True)]
        elif isinstance(node, _PLAIN):
            pending += [(child, in_power) for child in ast.iter_child_nodes(node)]
        else:
            return False
    return True


def _is_symbol(node: ast.Call) -> bool:
    """Whether it is Symbol('s0', positive=True, integer=True)."""
    if len(node.args) != 1 or not isinstance(node.args[0], ast.Constant):
        return False
    name = node.args[0].value
    return (
        isinstance(name, str)
        and _SYMBOL.fullmatch(name) is not None
        and all(
            word.arg in _DECLARED and isinstance(word.value, ast.Constant) and type(word.value.value) is bool
            for word in node.keywords
        )
    )


def _is_small(arguments: list[ast.expr]) -> bool:
    """Whether the second of two arguments is a plain small number."""
    if len(arguments) != 2:
        return False
    power = arguments[1]
    if isinstance(power, ast.Call) and isinstance(power.func, ast.Name) and power.func.id == "Integer":
        if len(power.args) != 1:
            return False
        power = power.args[0]
    if isinstance(power, ast.UnaryOp) and isinstance(power.op, ast.USub):
        power = power.operand
    return isinstance(power, ast.Constant) and type(power.value) is int and 0 <= power.value <= _LARGEST_POWER
