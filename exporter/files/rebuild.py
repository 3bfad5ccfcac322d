"""What a pickle of a checkpoint may name, and what each name makes of its arguments, every one checked.

torch pickles a tensor as a call of a function of `torch._utils` on a storage, an offset, a shape and strides.
The functions here do the same after proving that the shape lies inside the storage.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from ...quiet import quiet
from ...text import shown
from . import budget
from .pickle_reader import ForbiddenGlobal, Global

_FACTORIES = {"list": list, "dict": dict, "int": int, "float": float, "set": set, "str": str}


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes of the file as torch holds them; `dtype` is None for an untyped one."""

    untyped: torch.UntypedStorage
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class StorageType:
    """`torch.FloatStorage` and its like."""

    dtype: torch.dtype


def require(condition: bool, what: str) -> None:
    """Raise ValueError, which the reader of the pickle tells as damage, unless the condition holds."""
    if not condition:
        raise ValueError(what)


def sizes(value: Any, what: str) -> tuple[int, ...]:
    """A shape or strides: at most 64 plain integers from 0 to 2^62, their product below 2^62."""
    require(isinstance(value, (tuple, list)) and len(value) <= budget.MAX_RANK, f"a {what} that is none")
    for number in value:
        require(type(number) is int and 0 <= number < 1 << 62, f"a {what} out of range")
    return tuple(value)


def shape_of(value: Any) -> tuple[int, ...]:
    """A shape that torch can hold: empty axes must not hide that the others overflow."""
    shape = sizes(value, "shape")
    require(math.prod(max(1, n) for n in shape) < 1 << 62, f"a shape that is too large: {shown(list(shape))}")
    return shape


def tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> torch.Tensor:
    """`torch._utils._rebuild_tensor_v2`: a view of a storage.

    Raises
    ------
    ValueError
        If the view reaches beyond the storage.
    """
    require(isinstance(storage, Storage), "a tensor without a storage")
    require(len(rest) <= 3, "a tensor with too many arguments")
    shape, strides = shape_of(size), sizes(stride, "stride")
    require(len(shape) == len(strides), "a shape and strides of different lengths")
    require(type(offset) is int and 0 <= offset < 1 << 62, "an offset that is none")
    width = storage.dtype.itemsize
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1 if 0 not in shape else 0
    have = storage.untyped.nbytes() // width
    if last > have:
        raise ValueError(
            f"a tensor of shape {shown(list(shape))} reaches element {last:,} of a storage of {have:,}"
        )
    if 0 in shape and offset > have:
        offset = 0
    made = torch.empty(0, dtype=storage.dtype).set_(storage.untyped, offset, shape, strides)
    return _with(made, *rest)


def _tensor_of(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> torch.Tensor:
    """`torch._utils._rebuild_tensor_v3`: a view of an untyped storage."""
    require(isinstance(storage, Storage) and isinstance(dtype, torch.dtype), "a tensor without a dtype")
    require(len(rest) <= 1, "a tensor with too many arguments")
    return tensor(Storage(storage.untyped, dtype), offset, size, stride, grad, hooks, *rest)


def _with(
    made: torch.Tensor, requires_grad: Any = False, hooks: Any = None, metadata: Any = None
) -> torch.Tensor:
    """The tensor with the bits of its metadata; gradients and hooks are no part of a weight."""
    if metadata is not None:
        known = isinstance(metadata, dict) and set(metadata) <= {"conj", "neg"}
        require(known and all(type(v) is bool for v in metadata.values()), "metadata of a tensor")
        torch._utils.set_tensor_metadata(made, metadata)  # type: ignore[no-untyped-call]
    if requires_grad is True and (made.is_floating_point() or made.is_complex()):
        made.requires_grad_()
    return made


def _parameter(data: Any = None, requires_grad: Any = True, *rest: Any) -> torch.nn.Parameter:
    require(isinstance(data, torch.Tensor) and len(rest) <= 2, "a parameter without a tensor")
    floats = data.is_floating_point() or data.is_complex()
    return torch.nn.Parameter(data.detach(), requires_grad=requires_grad is True and floats)


def _from_type(function: Any, kind: Any, arguments: Any, state: Any) -> torch.Tensor:
    """`torch._tensor._rebuild_from_type_v2`: a tensor with attributes, which are left out."""
    require(isinstance(function, Global) and function.call is not None, "a tensor of no function")
    require(isinstance(kind, Global) and isinstance(arguments, tuple), "a tensor of no type")
    made = function.call(*arguments)
    require(isinstance(made, torch.Tensor), "a tensor that is none")
    return _parameter(made, made.requires_grad) if kind.name.endswith("Parameter") else made


def _quantized(storage: Any, offset: Any, size: Any, stride: Any, scheme: Any, *rest: Any) -> torch.Tensor:
    require(isinstance(scheme, tuple) and len(scheme) in (3, 4), "a quantizer that is none")
    require(isinstance(storage, Storage), "a tensor without a storage")
    stored = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}
    require(storage.dtype in stored, "a quantized tensor of another dtype")
    tensor(Storage(storage.untyped, stored[storage.dtype]), offset, size, stride)
    typed = torch.storage.TypedStorage(  # type: ignore[no-untyped-call]
        wrap_storage=storage.untyped, dtype=storage.dtype, _internal=True
    )
    with quiet():
        made: torch.Tensor = torch._utils._rebuild_qtensor(  # type: ignore[no-untyped-call]
            typed, offset, size, stride, scheme, False, None
        )
    return made


def _sparse(layout: Any, data: Any) -> torch.Tensor:
    """`torch._utils._rebuild_sparse_tensor`, its indices checked."""
    require(
        isinstance(layout, torch.layout) and isinstance(data, tuple) and 3 <= len(data) <= 4,
        "a sparse tensor",
    )
    compressed = layout is not torch.sparse_coo
    parts = data[:3] if compressed else data[:2]
    require(
        all(isinstance(part, torch.Tensor) and part.layout is torch.strided for part in parts),
        "a sparse tensor",
    )
    require(len(data) == 4 or not compressed, "a sparse tensor without a shape")
    shape_of(data[3] if compressed else data[2])
    with torch.sparse.check_sparse_tensor_invariants(enable=True):  # type: ignore[no-untyped-call]
        if compressed:
            return torch.sparse_compressed_tensor(data[0], data[1], data[2], tuple(data[3]), layout=layout)
        coalesced = len(data) == 4 and data[3] is True
        return torch.sparse_coo_tensor(data[0], data[1], tuple(data[2]), is_coalesced=coalesced)


def _meta(dtype: Any, size: Any, stride: Any, requires_grad: Any = False) -> torch.Tensor:
    require(isinstance(dtype, torch.dtype), "a tensor without a dtype")
    return torch.empty_strided(shape_of(size), sizes(stride, "stride"), dtype=dtype, device="meta")


def _layout(name: Any) -> torch.layout:
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


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, as pickles of protocol 2 write bytes: any other codec could make much of little."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ForbiddenGlobal("_codecs.encode")
    return text.encode("latin1")


def _bytearray(*arguments: Any) -> bytearray:
    if len(arguments) > 1 or any(type(item) is not bytes for item in arguments):
        raise ForbiddenGlobal("builtins.bytearray")
    return bytearray(*arguments)


def _complex(real: Any, imaginary: Any) -> complex:
    require(type(real) is float and type(imaginary) is float, "a complex number of no numbers")
    return complex(real, imaginary)


def _device(kind: Any, index: Any = None) -> torch.device:
    require(
        type(kind) is str and len(kind) < 32 and (index is None or type(index) is int),
        "a device that is none",
    )
    return torch.device(kind) if index is None else torch.device(kind, index)


def _defaultdict(factory: Any = None) -> Any:
    known = factory is None or (isinstance(factory, Global) and factory.name.startswith("builtins."))
    require(known, "a default that is none")
    return defaultdict(_FACTORIES[factory.name.partition(".")[2]] if factory is not None else None)


def _empty(kind: Callable[[], Any]) -> Callable[..., Any]:
    """Make an empty container; its items follow one by one."""

    def make(*arguments: Any) -> Any:
        require(
            all(item in ((), [], {}) and len(item) == 0 for item in arguments), "a container made of objects"
        )
        return kind()

    return make


def _pairs(*arguments: Any) -> Any:
    """An OrderedDict, empty or of a list of pairs as protocol 0 writers give it."""
    require(not arguments or arguments == ([],), "an OrderedDict made of objects")
    return OrderedDict()


def _set(items: Any = ()) -> Any:
    require(type(items) in (list, tuple), "a set of no list")
    for item in items:
        require(
            type(item) in (str, int, float, bytes, bool) and not (type(item) is int and abs(item) >> 60),
            "a set of objects",
        )
    return set(items)


@dataclass(frozen=True, eq=False)
class _Dtype:
    """A numpy dtype of numbers; anything wider could make gigabytes of a name."""

    dtype: np.dtype[Any]


def _numpy_dtype(name: Any, *flags: Any) -> _Dtype:
    plain = type(name) is str and len(name) < 8 and name.lstrip("<>=|")[:1] in ("f", "i", "u", "b", "?")
    require(plain and all(type(flag) in (bool, int) for flag in flags), "a numpy dtype that is no number's")
    dtype = np.dtype(name)
    require(dtype.kind in "fiub" and dtype.itemsize <= 16, "a numpy dtype that is no number's")
    return _Dtype(dtype)


def _numpy_scalar(dtype: Any, raw: Any = None) -> Any:
    require(isinstance(dtype, _Dtype) and type(raw) is bytes, "a numpy scalar that is no number")
    require(len(raw) == dtype.dtype.itemsize, "a numpy scalar of a wrong size")
    return np.frombuffer(raw, dtype.dtype)[0]


def _size(items: Any = ()) -> torch.Size:
    return torch.Size(sizes(items, "shape"))


def build(value: Any, state: Any) -> Any:
    """What BUILD makes of an object: attributes of a Namespace or a state dict, byte order of a dtype."""
    if isinstance(value, _Dtype):
        require(
            isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", ">", "|", "="),
            "state of a dtype",
        )
        return _Dtype(value.dtype.newbyteorder(state[1]) if state[1] in "<>" else value.dtype)
    if type(value) in (OrderedDict, argparse.Namespace):
        require(type(state) in (dict, OrderedDict) and all(type(k) is str for k in state), "state of a dict")
        require(not any(k.startswith("__") for k in state), "state of a dict")
        value.__dict__.update(state)
        return value
    raise ForbiddenGlobal(f"{type(value).__module__}.{type(value).__qualname__}")


@cache
def table() -> dict[str, Global]:
    """Every name that a pickle may use."""
    calls: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": _pairs,
        "collections.Counter": _empty(Counter),
        "collections.defaultdict": _defaultdict,
        "builtins.set": _set,
        "builtins.bytearray": _bytearray,
        "builtins.complex": _complex,
        "_codecs.encode": _encode,
        "torch.Size": _size,
        "torch.device": _device,
        "torch.serialization._get_layout": _layout,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_qtensor": _quantized,
        "torch._utils._rebuild_sparse_tensor": _sparse,
        "torch._utils._rebuild_sparse_csr_tensor": _sparse,
        "torch._utils._rebuild_meta_tensor_no_storage": _meta,
        "torch._tensor._rebuild_from_type_v2": _from_type,
        "numpy.dtype": _numpy_dtype,
        "numpy.core.multiarray.scalar": _numpy_scalar,
        "numpy._core.multiarray.scalar": _numpy_scalar,
    }
    result = {name: Global(name, call) for name, call in calls.items()}
    result |= {f"builtins.{name}": Global(f"builtins.{name}") for name in _FACTORIES if name != "set"}
    news: dict[str, Callable[..., Any]] = {
        "argparse.Namespace": lambda: argparse.Namespace(),
        "torch.nn.parameter.Parameter": _parameter,
    }
    result |= {name: Global(name, new, new=new) for name, new in news.items()}
    result["torch.Tensor"] = Global("torch.Tensor")
    for dtype in {
        getattr(torch, name) for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)
    }:
        result[str(dtype)] = Global(str(dtype), value=dtype)
    for name in dir(torch):
        if isinstance(scheme := getattr(torch, name), torch.qscheme):
            result[f"torch.{name}"] = Global(f"torch.{name}", value=scheme)
    for name, dtype in _storage_types().items():
        result[name] = Global(name, value=StorageType(dtype))
    return result


def table_without_sparse() -> dict[str, Global]:
    """`table`, with None in the place of a sparse tensor, whose storages are not filled yet."""
    sparse = (name for name in table() if "_sparse_" in name)
    return table() | {name: Global(name, lambda *arguments: None) for name in sparse}


def _storage_types() -> dict[str, torch.dtype]:
    types = torch.storage._dtype_to_storage_type_map()
    found = {f"torch.{name}": dtype for dtype, name in types.items()}
    return found | {"torch.storage.UntypedStorage": torch.uint8, "torch.UntypedStorage": torch.uint8}


def storage_type(value: Any) -> torch.dtype:
    """The dtype of the elements of a storage that a persistent id names.

    Raises
    ------
    ValueError
        If it is no type of a storage.
    """
    require(isinstance(value, StorageType), "a storage of no type")
    dtype: torch.dtype = value.dtype
    return dtype
