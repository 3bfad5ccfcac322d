"""What every reader asks of a torch tensor: its memory, whether it can be worked with, its dense form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import CorruptFileError, UnsupportedError
from ...text import shown
from . import budget

if TYPE_CHECKING:
    import torch

_DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64"),
    *("uint16", "uint32", "uint64"),
)
_WAYS_OUT = {
    "torchao": "quantised weights are not float ones: save {k: v.dequantize() for k, v in state.items()}",
    "torch.distributed": "a shard of a tensor: save the full state dict (get_model_state_dict with"
    " full_state_dict=True)",
    "torch.sparse": "semi-structured for a GPU: save it with .to_dense()",
}


def identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """A key that two tensors share exactly when they are the same view of the same storage."""
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def refuse_unsupported(name: str, tensor: torch.Tensor) -> None:
    """Raise if no step after loading can work with this kind of tensor.

    Raises
    ------
    UnsupportedError
        For tensor subclasses, meta, quantised, complex, fp8 and sub-byte tensors, naming the tensor.
    """
    import torch

    kind = str(tensor.dtype).removeprefix("torch.")
    home = type(tensor).__module__
    known = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    if type(tensor) not in known and not home.startswith("torch.nn"):
        way = next((way for start, way in _WAYS_OUT.items() if home.startswith(start)), "save plain tensors")
        raise UnsupportedError(f"'{shown(name)}' is a {shown(type(tensor).__name__)} ({shown(home)}): {way}")
    if tensor.is_meta:
        raise UnsupportedError(
            f"'{shown(name)}' is a meta tensor: a shape without data; save the model with its weights loaded"
        )
    if tensor.is_quantized:
        raise UnsupportedError(
            f"'{shown(name)}' is quantised ({kind}); save the float model (dequantize() it first)"
        )
    if tensor.is_complex():
        raise UnsupportedError(f"'{shown(name)}' is complex ({kind}); only real weights can be packed")
    if kind not in _DTYPES:
        raise UnsupportedError(
            f"'{shown(name)}' has dtype {kind}; convert it first, e.g. with .to(torch.float16)"
        )


def refuse_growth(name: str, tensor: torch.Tensor, size: int, before: int = 0) -> int:
    """Raise if sparse tensors of a file of `size` bytes would be absurdly large when dense.

    Parameters
    ----------
    before
        Bytes that the ones before this one take when dense; returned with its own added.
    """
    grown = before + tensor.numel() * tensor.element_size()
    limit = budget.current().growth(size)
    if grown > limit:
        raise UnsupportedError(
            f"'{shown(name)}' is sparse with shape {list(tensor.shape)}: {grown:,} bytes when dense, over the"
            f" limit of {limit:,}; raise it with --max-dense"
        )
    return grown


def plain(tensors: dict[str, torch.Tensor], size: int) -> dict[str, torch.Tensor]:
    """Dense, contiguous tensors on the CPU; tied ones stay tied.

    Parameters
    ----------
    size
        Bytes of the file they are from.

    Raises
    ------
    UnsupportedError
        If a tensor is of a kind that no step can work with.
    CorruptFileError
        If a tensor claims more bytes than the file has, or those that lie on each other's bytes together
        claim too many.
    """
    import torch

    made: dict[tuple[object, ...], torch.Tensor] = {}
    result, grown, copied = {}, 0, 0
    for name, tensor in tensors.items():
        refuse_unsupported(name, tensor)
        if tensor.layout is not torch.strided:
            grown = refuse_growth(name, tensor, size, grown)
            result[name] = tensor.to_dense()
            continue
        nbytes = tensor.numel() * tensor.element_size()
        if nbytes > size:
            raise CorruptFileError(
                f"'{shown(name)}' claims {nbytes:,} bytes (shape {shown(list(tensor.shape))}), the file has"
                f" {size:,}"
            )
        if tensor.is_contiguous() and not tensor.is_neg():
            result[name] = tensor
            continue
        key = identity(tensor)
        if key not in made:
            copied += nbytes
            budget.current().refuse_growth(copied, size, "its tensors", times=budget.SHARED_TIMES)
            made[key] = tensor.resolve_neg().contiguous()
        result[name] = made[key]
    return result
