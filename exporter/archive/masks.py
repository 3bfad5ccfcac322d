"""Pruning pairs (`weight_orig`, `weight_mask`) of a checkpoint as the weights they stand for."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np

from ...formats.base import Array
from ..files.container.header import DTYPES
from .source import Source, SourceTensor
from .tree import Leaf, Tree

#: Bit pattern of 1 in the dtypes a mask can have.
_ONES = {"F32": 0x3F800000, "F16": 0x3C00, "BF16": 0x3F80, "F64": 0x3FF0000000000000, "BOOL": 1, "U8": 1}


def fold(source: Source) -> None:
    """Replace every pair `X_orig`, `X_mask` by the `X` it stands for, at the place of `X_orig`; note it.

    A pair whose mask holds anything but 0 and 1 is kept as it is.
    """
    folded, kept = [], []

    def visit(tree: Tree) -> Tree:
        if not isinstance(tree, dict):
            return tree
        result: dict[Any, Tree] = type(tree)()
        if isinstance(tree, OrderedDict):
            result.__dict__.update(tree.__dict__)
        for key, value in tree.items():
            base = str(key).removesuffix("_orig").removesuffix("_mask")
            orig, mask = tree.get(f"{base}_orig"), tree.get(f"{base}_mask")
            if not (isinstance(orig, Leaf) and isinstance(mask, Leaf)) or base in tree or base == key:
                result[key] = visit(value)
            elif not _is_pair(source.tensors[orig.index], source.tensors[mask.index]):
                result[key] = value
                if str(key).endswith("_orig"):
                    kept.append(base)
            elif str(key).endswith("_orig"):
                source.tensors.append(_product(source.tensors[orig.index], source.tensors[mask.index]))
                result[base] = Leaf(len(source.tensors) - 1)
                folded.append(base)
        return result

    source.tree = visit(source.tree)
    if folded:
        source.notes.append(
            f"{len(folded)} pruning masks folded into their weights (weight_orig x weight_mask); the pairs"
            " are not in the archive, --no-fold keeps them"
        )
    if kept:
        source.notes.append(f"{len(kept)} pruning pairs kept as they are: their masks are not 0 and 1")


def _is_pair(orig: SourceTensor, mask: SourceTensor) -> bool:
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


def _product(orig: SourceTensor, mask: SourceTensor) -> SourceTensor:
    """The masked weight, +0.0 where the mask is 0."""

    def read(start: int, stop: int) -> Array:
        part = orig.read(start, stop)
        return np.where(mask.read(start, stop) != 0, part, part.dtype.type(0))

    def release() -> None:
        orig.release()
        mask.release()

    return SourceTensor(orig.dtype, orig.shape, read, release, orig.strides)


def drop_signs_of_zeros(source: Source) -> None:
    """Read every -0.0 of the float tensors as +0.0; note it."""
    source.tensors = [
        _plain(tensor) if DTYPES[tensor.dtype].kind in "fV" else tensor for tensor in source.tensors
    ]
    source.notes.append("-0.0 stored as 0: numbers are equal, bits are not (--plain-zeros)")


def _plain(tensor: SourceTensor) -> SourceTensor:
    def read(start: int, stop: int) -> Array:
        patterns = tensor.read(start, stop)
        sign = patterns.dtype.type(1 << (patterns.dtype.itemsize * 8 - 1))
        return np.where(patterns == sign, patterns.dtype.type(0), patterns)

    return replace(tensor, read=read)
