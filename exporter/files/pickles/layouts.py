"""Tensors of other layouts than strided ones: quantized, sparse, without data."""

from __future__ import annotations

from typing import Any

import torch

from ....quiet import quiet
from .checks import Storage, require, shape_of, sizes
from .tensors import tensor


def quantized(storage: Any, offset: Any, size: Any, stride: Any, scheme: Any, *rest: Any) -> torch.Tensor:
    """`torch._utils._rebuild_qtensor`."""
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


def sparse(layout: Any, data: Any) -> torch.Tensor:
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


def meta(dtype: Any, size: Any, stride: Any, requires_grad: Any = False) -> torch.Tensor:
    """`torch._utils._rebuild_meta_tensor_no_storage`."""
    require(isinstance(dtype, torch.dtype), "a tensor without a dtype")
    return torch.empty_strided(shape_of(size), sizes(stride, "stride"), dtype=dtype, device="meta")
