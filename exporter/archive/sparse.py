"""How torch holds a sparse tensor, as a word: "coo:2", "csr", "csc", "bsr:4x4", "bsc:4x4".

An archive stores a sparse tensor as its dense values, coded like any other weight, and this word:
whatever the layout, positions cost what the entropy coder makes of them.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

_LAYOUT = re.compile(r"coo:[1-9]|csr|csc|bs[rc]:[1-9][0-9]{0,5}x[1-9][0-9]{0,5}")


def is_layout(word: object, shape: list[int]) -> bool:
    """Whether the word is a layout that a tensor of that shape can have."""
    if not isinstance(word, str) or not _LAYOUT.fullmatch(word):
        return False
    kind, _, size = word.partition(":")
    if kind == "coo":
        return int(size) <= len(shape)
    if len(shape) != 2:
        return False
    blocks = [int(n) for n in size.split("x")] if size else [1, 1]
    return all(n % block == 0 for n, block in zip(shape, blocks, strict=True))


def layout_of(tensor: Any) -> tuple[str | None, bool]:
    """The layout's word (None: it cannot be made of dense values), and whether nothing is lost."""
    import torch

    word = _word(tensor)
    if word is None or not is_layout(word, list(tensor.shape)):
        return None, False
    try:
        again = restore(tensor.to_dense(), word)
    except (RuntimeError, ValueError):
        return None, False
    if tensor.layout == torch.sparse_coo and not tensor.is_coalesced():
        # The flag alone is lost where the entries are in order and distinct already.
        return word, False
    pairs = zip(_parts(tensor), _parts(again), strict=True)
    return word, all(a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


def restore(dense: Any, word: str) -> Any:
    """The dense tensor in that layout."""
    kind, _, size = word.partition(":")
    if kind == "coo":
        return dense.to_sparse(int(size)).coalesce()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the compressed layouts beta
        if kind in ("csr", "csc"):
            return dense.to_sparse_csr() if kind == "csr" else dense.to_sparse_csc()
        blocks = tuple(int(n) for n in size.split("x"))
        return dense.to_sparse_bsr(blocks) if kind == "bsr" else dense.to_sparse_bsc(blocks)


def _word(tensor: Any) -> str | None:
    import torch

    if tensor.layout == torch.sparse_coo:
        return f"coo:{tensor.sparse_dim()}"
    kinds = {
        torch.sparse_csr: "csr",
        torch.sparse_csc: "csc",
        torch.sparse_bsr: "bsr",
        torch.sparse_bsc: "bsc",
    }
    kind = kinds.get(tensor.layout)
    if kind is None or tensor.ndim != 2:
        return None
    if kind in ("bsr", "bsc"):
        rows, columns = tensor.values().shape[-2:]
        return f"{kind}:{rows}x{columns}"
    return kind


def _parts(tensor: Any) -> list[Any]:
    import torch

    if tensor.layout == torch.sparse_coo:
        return [tensor.indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
