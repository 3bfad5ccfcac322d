"""Every name that a pickle of a checkpoint may use, and the function that stands for it."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from . import layouts, numpy_numbers, tensors, values
from .checks import StorageType, require
from .names import Global


@cache
def table() -> dict[str, Global]:
    """Every name that a pickle may use."""
    calls: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": values.pairs,
        "collections.Counter": values.empty(Counter),
        "collections.defaultdict": values.dict_with_default,
        "builtins.set": values.set_of,
        "builtins.bytearray": values.bytes_of,
        "builtins.complex": values.complex_of,
        "_codecs.encode": values.encode,
        "torch.Size": values.size,
        "torch.device": values.device,
        "torch.serialization._get_layout": values.layout,
        "torch._utils._rebuild_tensor": tensors.tensor,
        "torch._utils._rebuild_tensor_v2": tensors.tensor,
        "torch._utils._rebuild_tensor_v3": tensors.typed,
        "torch._utils._rebuild_parameter": tensors.parameter,
        "torch._utils._rebuild_parameter_with_state": tensors.parameter,
        "torch._utils._rebuild_qtensor": layouts.quantized,
        "torch._utils._rebuild_sparse_tensor": layouts.sparse,
        "torch._utils._rebuild_sparse_csr_tensor": layouts.sparse,
        "torch._utils._rebuild_meta_tensor_no_storage": layouts.meta,
        "torch._tensor._rebuild_from_type_v2": tensors.from_type,
        "numpy.dtype": numpy_numbers.numpy_dtype,
        "numpy.core.multiarray.scalar": numpy_numbers.numpy_scalar,
        "numpy._core.multiarray.scalar": numpy_numbers.numpy_scalar,
    }
    result = {name: Global(name, call) for name, call in calls.items()}
    result |= {f"builtins.{name}": Global(f"builtins.{name}") for name in values.FACTORIES if name != "set"}
    news: dict[str, Callable[..., Any]] = {
        "argparse.Namespace": lambda: argparse.Namespace(),
        "torch.nn.parameter.Parameter": tensors.parameter,
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
