"""JSON read strictly: what a careless parser lets through is refused."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

import numpy as np

from ....errors import CorruptFileError


def strict_json(text: bytes, where: str) -> Any:
    """JSON without what a careless parser lets through: duplicate keys, floats, NaN, deep nesting, BOM."""
    if text[:1] not in (b"{", b"["):
        raise CorruptFileError(f"{where}: header does not start with '{{'")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{where}: header is not UTF-8 at byte {error.start}") from None
    check_depth(text, where)

    def refuse(value: str) -> NoReturn:
        raise CorruptFileError(f"{where}: header holds the number {value[:40]}; only integers are allowed")

    def integer(value: str) -> int:
        if len(value) > 19:
            refuse(value)
        return int(value)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            counts = Counter(name for name, _ in items)
            twice = next(name for name, count in counts.items() if count > 1)
            raise CorruptFileError(f"{where}: header has the key {twice[:80]!r} twice")
        return result

    try:
        parsed = json.loads(
            decoded,
            object_pairs_hook=pairs,
            parse_constant=refuse,
            parse_float=refuse,
            parse_int=integer,
        )
    except (json.JSONDecodeError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise CorruptFileError(f"{where}: header is not valid JSON: {reason}") from None
    if b"\\ud" in text or b"\\uD" in text:
        try:
            json.dumps(parsed, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise CorruptFileError(f"{where}: header holds half a character (a lone surrogate)") from None
    return parsed


def check_depth(text: bytes, where: str) -> None:
    """Refuse nesting that no header needs before the recursive parser sees it."""
    data = np.frombuffer(text, np.uint8)
    opened = (data == ord("{")) | (data == ord("["))
    closed = (data == ord("}")) | (data == ord("]"))
    # Brackets inside strings count too: a bound from above would refuse names, so look only when large.
    depth = np.cumsum(opened.astype(np.int32) - closed, dtype=np.int64)
    if int(depth.max(initial=0)) > 500:
        raise CorruptFileError(f"{where}: header is nested too deep")
