"""What a pickle of a checkpoint may name, and what each name makes of its arguments, every one checked.

torch pickles a tensor as a call of a function of `torch._utils` on a storage, an offset, a shape and strides.
The functions here do the same after proving that the shape lies inside the storage.
"""

from __future__ import annotations

from typing import Any

import torch

from ....text import shown
from .checks import Storage, require, shape_of, sizes
from .names import Global


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


def typed(
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


def parameter(data: Any = None, requires_grad: Any = True, *rest: Any) -> torch.nn.Parameter:
    """`torch._utils._rebuild_parameter`."""
    require(isinstance(data, torch.Tensor) and len(rest) <= 2, "a parameter without a tensor")
    floats = data.is_floating_point() or data.is_complex()
    return torch.nn.Parameter(data.detach(), requires_grad=requires_grad is True and floats)


def from_type(function: Any, kind: Any, arguments: Any, state: Any) -> torch.Tensor:
    """`torch._tensor._rebuild_from_type_v2`: a tensor with attributes, which are left out."""
    require(isinstance(function, Global) and function.call is not None, "a tensor of no function")
    require(isinstance(kind, Global) and isinstance(arguments, tuple), "a tensor of no type")
    made = function.call(*arguments)
    require(isinstance(made, torch.Tensor), "a tensor that is none")
    return parameter(made, made.requires_grad) if kind.name.endswith("Parameter") else made
