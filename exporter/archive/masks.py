"""Pruning pairs (`weight_orig`, `weight_mask`) of a checkpoint as the weights they stand for."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np

from ...formats.base import Array
from ..files.container.header import DTYPES
from .pairs import hooked
from .saved import Saved, SavedTensor
from .tree import Leaf, Tree

#: A weight with more than one zero in so many elements has been pruned.
PRUNED = 20
#: Bit pattern of 1 in the dtypes a mask can have.
_ONES = {"F32": 0x3F800000, "F16": 0x3C00, "BF16": 0x3F80, "F64": 0x3FF0000000000000, "BOOL": 1, "U8": 1}


def fold(saved: Saved) -> None:
    """Replace every pair `X_orig`, `X_mask` by the `X` it stands for, at the place of `X_orig`; note it.

    A pair whose mask holds anything but 0 and 1 is kept as it is. So are masks of other names: the net that
    has them as its own buffers would miss them.
    """
    folded: list[str] = []
    kept: list[str] = []

    def visit(tree: Tree) -> Tree:
        if not isinstance(tree, dict):
            return tree
        found = {p.weight: p for p in hooked(str(key) for key in tree) if _are_leaves(tree, p.weight, p.mask)}
        good = {
            n: p for n, p in found.items() if _is_pair(*(saved.tensors[tree[x].index] for x in (n, p.mask)))
        }
        kept.extend(found[name].name for name in found if name not in good)
        folded.extend(pair.name for pair in good.values())
        masks = {pair.mask for pair in good.values()}
        result: dict[Any, Tree] = type(tree)()
        if isinstance(tree, OrderedDict):
            result.__dict__.update(tree.__dict__)
        for key, value in tree.items():
            if key in good:
                parts = (saved.tensors[tree[name].index] for name in (key, good[key].mask))
                saved.tensors.append(_product(*parts))
                result[good[key].name] = Leaf(len(saved.tensors) - 1)
            elif key not in masks:
                result[key] = visit(value)
        return result

    saved.tree = visit(saved.tree)
    if folded:
        saved.notes.append(
            f"{len(folded)} pruning masks folded into their weights (weight_orig x weight_mask); the pairs"
            " are not in the archive, --no-fold keeps them"
        )
    if kept:
        saved.notes.append(f"{len(kept)} pruning pairs kept as they are: their masks are not 0 and 1")


def _are_leaves(tree: dict[Any, Tree], *names: str) -> bool:
    return all(isinstance(tree.get(name), Leaf) for name in names)


def _is_pair(orig: SavedTensor, mask: SavedTensor) -> bool:
    if orig.shape != mask.shape or mask.dtype not in _ONES:
        return False
    one = _ONES[mask.dtype]
    size = math.prod(orig.shape)
    for start in range(0, size, 1 << 20):
        part = mask.read(start, min(size, start + (1 << 20)))
        if not ((part == 0) | (part == part.dtype.type(one))).all():
            return False
    mask.release()
    return True


def _product(orig: SavedTensor, mask: SavedTensor) -> SavedTensor:
    """The masked weight, +0.0 where the mask is 0."""

    def read(start: int, stop: int) -> Array:
        part = orig.read(start, stop)
        return np.where(mask.read(start, stop) != 0, part, part.dtype.type(0))

    def release() -> None:
        orig.release()
        mask.release()

    return SavedTensor(orig.dtype, orig.shape, read, release, orig.strides)


def drop_signs_of_zeros(saved: Saved) -> None:
    """Read the -0.0 of pruned weights, which weight x mask leaves behind, as +0.0; note how many.

    A weight is pruned where it has two dimensions or more and a twentieth of it is zero: below that, and in
    anything else, a sign costs next to nothing and may mean something.
    """
    count = weights = 0
    for place, tensor in enumerate(saved.tensors):
        if (
            len(tensor.shape) < 2
            or DTYPES[tensor.dtype].kind not in "fV"
            or DTYPES[tensor.dtype].itemsize < 2
        ):
            continue
        zeros, negative = _count_zeros(tensor)
        if negative and zeros * PRUNED >= math.prod(tensor.shape):
            saved.tensors[place] = _plain(tensor)
            count += negative
            weights += 1
    if count:
        saved.notes.append(
            f"{count:,} negative zeros of {weights} pruned tensors stored as 0: equal numbers (torch.equal);"
            " --exact-zeros keeps their signs"
        )


def _count_zeros(tensor: SavedTensor) -> tuple[int, int]:
    """Zeros of either sign, and negative ones."""
    size, zeros, negative = math.prod(tensor.shape), 0, 0
    for start in range(0, size, 1 << 20):
        part = tensor.read(start, min(size, start + (1 << 20)))
        below = int(np.count_nonzero(part == part.dtype.type(1 << (part.dtype.itemsize * 8 - 1))))
        zeros += part.size - int(np.count_nonzero(part)) + below
        negative += below
    tensor.release()
    return zeros, negative


def _plain(tensor: SavedTensor) -> SavedTensor:
    def read(start: int, stop: int) -> Array:
        patterns = tensor.read(start, stop)
        sign = patterns.dtype.type(1 << (patterns.dtype.itemsize * 8 - 1))
        return np.where(patterns == sign, patterns.dtype.type(0), patterns)

    return replace(tensor, read=read)
