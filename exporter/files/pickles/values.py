"""What pickles make of names that are no tensor's: containers, numbers of numpy, devices, bytes."""

from __future__ import annotations

import argparse
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import torch

from .checks import require, sizes
from .names import ForbiddenGlobal, Global
from .numpy_numbers import Dtype

FACTORIES = {"list": list, "dict": dict, "int": int, "float": float, "set": set, "str": str}


def layout(name: Any) -> torch.layout:
    """`torch.serialization._get_layout`."""
    known = (
        "torch.strided",
        "torch.sparse_coo",
        "torch.sparse_csr",
        "torch.sparse_csc",
        "torch.sparse_bsr",
        "torch.sparse_bsc",
    )
    require(name in known, "an unknown layout")
    found = getattr(torch, name.partition(".")[2])
    assert isinstance(found, torch.layout)
    return found


def encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, as pickles of protocol 2 write bytes: any other codec could make much of little."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ForbiddenGlobal("_codecs.encode")
    return text.encode("latin1")


def bytes_of(*arguments: Any) -> bytearray:
    """`bytearray`, of bytes alone: of a number it would be as long as that."""
    if len(arguments) > 1 or any(type(item) is not bytes for item in arguments):
        raise ForbiddenGlobal("builtins.bytearray")
    return bytearray(*arguments)


def complex_of(real: Any, imaginary: Any) -> complex:
    """`complex`, of two floats."""
    require(type(real) is float and type(imaginary) is float, "a complex number of no numbers")
    return complex(real, imaginary)


def device(kind: Any, index: Any = None) -> torch.device:
    """`torch.device`."""
    require(
        type(kind) is str and len(kind) < 32 and (index is None or type(index) is int),
        "a device that is none",
    )
    return torch.device(kind) if index is None else torch.device(kind, index)


def dict_with_default(factory: Any = None) -> Any:
    """`collections.defaultdict` of a builtin type."""
    known = factory is None or (isinstance(factory, Global) and factory.name.startswith("builtins."))
    require(known, "a default that is none")
    return defaultdict(FACTORIES[factory.name.partition(".")[2]] if factory is not None else None)


def empty(kind: Callable[[], Any]) -> Callable[..., Any]:
    """Make an empty container; its items follow one by one."""

    def make(*arguments: Any) -> Any:
        require(
            all(item in ((), [], {}) and len(item) == 0 for item in arguments), "a container made of objects"
        )
        return kind()

    return make


def pairs(*arguments: Any) -> Any:
    """An OrderedDict, empty or of a list of pairs as protocol 0 writers give it."""
    require(not arguments or arguments == ([],), "an OrderedDict made of objects")
    return OrderedDict()


def set_of(items: Any = ()) -> Any:
    """`set`, of values whose hashes cannot collide at will."""
    require(type(items) in (list, tuple), "a set of no list")
    for item in items:
        require(
            type(item) in (str, int, float, bytes, bool) and not (type(item) is int and abs(item) >> 60),
            "a set of objects",
        )
    return set(items)


def size(items: Any = ()) -> torch.Size:
    """`torch.Size`."""
    return torch.Size(sizes(items, "shape"))


def build(value: Any, state: Any) -> Any:
    """What BUILD makes of an object: attributes of a Namespace or a state dict, byte order of a dtype."""
    if isinstance(value, Dtype):
        require(
            isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", ">", "|", "="),
            "state of a dtype",
        )
        return Dtype(value.dtype.newbyteorder(state[1]) if state[1] in "<>" else value.dtype)
    if type(value) in (OrderedDict, argparse.Namespace):
        require(type(state) in (dict, OrderedDict) and all(type(k) is str for k in state), "state of a dict")
        require(not any(k.startswith("__") for k in state), "state of a dict")
        value.__dict__.update(state)
        return value
    raise ForbiddenGlobal(f"{type(value).__module__}.{type(value).__qualname__}")
