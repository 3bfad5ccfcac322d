"""The tensors of an exported program: what its configuration says of each, proved against the bytes."""

from __future__ import annotations

import math
import re
from typing import Any

from ...text import shown
from .budget import MAX_DIMENSION
from .zip_file import ZipFile

#: Bytes of an element of each of torch.export's numbers for dtypes.
_WIDTHS = dict(
    zip(range(1, 14), (1, 1, 2, 4, 8, 2, 4, 8, 4, 8, 16, 1, 2), strict=True),
) | {28: 2, 29: 1, 30: 1, 31: 1, 32: 1}
_STRIDED = 7
_KEYS = {"path_name", "is_param", "use_pickle", "tensor_meta"}
_META = {"dtype", "sizes", "requires_grad", "device", "strides", "storage_offset", "layout"}


class NotATensor(ValueError):
    """An entry would be loaded in another way than as the bytes of a tensor."""


def prove(config: Any, archive: ZipFile, folder: str, pattern: re.Pattern[str]) -> list[str]:
    """Names of the payloads that a configuration uses, each a tensor that lies inside its bytes.

    Raises
    ------
    NotATensor
        If an entry is a pickle, a custom object, or of a kind that is not known.
    ValueError
        If one reaches beyond its bytes.
    """
    entries = config.get("config") if isinstance(config, dict) and set(config) == {"config"} else None
    if not isinstance(entries, dict):
        raise ValueError(f"a configuration of {folder} that is none")
    used: dict[str, None] = {}
    for name, entry in entries.items():
        where = f"'{shown(name)}'"
        if not isinstance(entry, dict) or set(entry) != _KEYS or not isinstance(entry["path_name"], str):
            raise NotATensor(f"{where} is described in an unknown way")
        path = entry["path_name"]
        if not pattern.fullmatch(path):
            raise NotATensor(f"{where} is '{shown(path)}', a custom object")
        if entry["use_pickle"] is not False:
            raise NotATensor(f"{where} is a pickle")
        if type(entry["is_param"]) is not bool or folder + path not in archive.members:
            raise ValueError(f"{where} has no bytes")
        _prove_meta(entry["tensor_meta"], archive.members[folder + path].size, where)
        used[path] = None
    return list(used)


def _prove_meta(meta: Any, available: int, where: str) -> None:
    if not isinstance(meta, dict) or set(meta) != _META or type(meta["requires_grad"]) is not bool:
        raise NotATensor(f"{where} is described in an unknown way")
    width = _WIDTHS.get(meta["dtype"]) if type(meta["dtype"]) is int else None
    if width is None or meta["layout"] != _STRIDED or type(meta["layout"]) is not int:
        raise NotATensor(f"{where} is of an unknown dtype or layout")
    device = meta["device"]
    if not isinstance(device, dict) or device.get("type") != "cpu":
        raise ValueError(
            f"{where} lies on another device than the CPU; move the program there before it is saved"
        )
    sizes, strides = _numbers(meta["sizes"], where), _numbers(meta["strides"], where)
    (offset,) = _numbers([meta["storage_offset"]], where)
    if len(sizes) != len(strides) or math.prod(max(1, n) for n in sizes) >= 1 << 60:
        raise ValueError(f"{where} has a shape that is none")
    last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) + 1 if 0 not in sizes else 0
    if last * width > available:
        raise ValueError(f"{where} claims {last * width:,} bytes and has {available:,}")


def _numbers(items: Any, where: str) -> list[int]:
    """Plain numbers, each written {"as_int": n}."""
    good = isinstance(items, list) and len(items) <= 64
    for item in items if good else ():
        plain = isinstance(item, dict) and list(item) == ["as_int"] and type(item["as_int"]) is int
        good = good and plain and 0 <= item["as_int"] < MAX_DIMENSION
    if not good:
        raise ValueError(f"{where} has a shape that is none")
    return [item["as_int"] for item in items]
