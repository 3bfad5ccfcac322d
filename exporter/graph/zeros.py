"""Weights tidied where only linear layers read them: -0.0 is 0, and a value one rounding off is that value.

A product with -0.0 adds nothing to a sum, so for linear layers, packed or not, both zeros are one; where
anything else reads the weight (1 / w, Sign) its signs stay. A weight that the graph computes as (q - c) + c,
the straight-through estimator of a binary or ternary net, is q but for the last bits: it is taken for q.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ...formats.base import Array, as_bits, chunks
from ...notes import Note
from ...text import counted, listed
from .domain import MAIN_DOMAINS
from .index import GraphIndex
from .quantized import readers_beside
from .site import Site

#: What a sum of two numbers may be off by, in parts of the larger; a few of them follow each other.
NOISE = 4 * float(np.finfo(np.float32).eps)
#: Magnitudes of one row that differ by more than this part of it are two, whatever they are computed from.
MAX_NOISE = 1e-4
#: An operator that leaves such noise: without one of them a weight is taken as it is.
_NOISY = ("Add", "Sub")
#: Inputs that an operator multiplies and sums up.
_LINEAR = {
    "Conv": {1},
    "ConvTranspose": {1},
    "Gemm": {0, 1},
    "MatMul": {0, 1},
    "LSTM": {1, 2},
    "GRU": {1, 2},
    "RNN": {1, 2},
}
#: Operators that only arrange their first input anew.
_ARRANGING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")


def tidy(index: GraphIndex, sites: Sequence[Site]) -> None:
    """Settle the weights of these sites in the index, which keeps what that changed."""
    groups: dict[str, list[Site]] = {}
    for site in sites:
        groups.setdefault(site.weight, []).append(site)
    done = set(index.overridable)
    for name, group in groups.items():
        array = index.constant(name)
        if array is None or array.dtype.kind != "f" or strangers(index, name, group) or name in index.pinned:
            continue
        done.add(name)
        array = _without_signs(index, name, array)
        settled = _snapped(index, name, array, group)
        if settled is not None:
            index.snapped.add(name)
            index.settle(name, settled)
    for name, tensor in index.initializers.items():
        if len(tensor.dims) > 1 and name not in done and _only_summed(index, name):
            array = index.constant(name)
            if array is not None and array.dtype.kind == "f":
                _without_signs(index, name, array)


def _without_signs(index: GraphIndex, name: str, array: Array) -> Array:
    """The weight with 0 for -0.0, settled in the index where there is one."""
    count = _negative_zeros(array)
    if not count:
        return array
    index.negative_zeros[name] = count
    array = np.where(array == 0, array.dtype.type(0), array)
    index.settle(name, array)
    return array


def _only_summed(index: GraphIndex, name: str) -> bool:
    """Whether every reader multiplies a value with something and sums up, at most after arranging it anew."""
    readers = index.readers[name]
    return bool(readers) and name not in index.pinned and all(_sums(index, node, name) for node in readers)


def _sums(index: GraphIndex, node: onnx.NodeProto, name: str) -> bool:
    places = {place for place, entry in enumerate(node.input) if entry == name}
    if node.domain not in MAIN_DOMAINS:
        return False
    if node.op_type in _ARRANGING:
        return places == {0} and _only_summed(index, node.output[0])
    return places <= _LINEAR.get(node.op_type, set())


def notes(index: GraphIndex, packed: Sequence[str]) -> list[Note]:
    """What settling changed in the weights that are packed."""
    found = []
    zeros = {name: index.negative_zeros[name] for name in packed if name in index.negative_zeros}
    snapped = [name for name in packed if name in index.snapped]
    if zeros:
        total = counted(sum(zeros.values()), "negative zero")
        found.append(
            Note("info", f"{total} in {listed(list(zeros))} count as zeros: only linear layers read them")
        )
    if snapped:
        what = "is one magnitude and its negative, or zero, but for rounding: taken for"
        found.append(Note("info", f"what the graph computes for {listed(snapped)} {what} exactly that"))
    return found


def _negative_zeros(array: Array) -> int:
    """How many elements of a float array are -0.0."""
    sign = 1 << (array.itemsize * 8 - 1)
    return sum(int(np.count_nonzero(bits == sign)) for bits in chunks(as_bits(array)))


def strangers(index: GraphIndex, name: str, group: Sequence[Site]) -> list[str]:
    """Operators that read a weight otherwise than as the weight at one of these sites."""
    heads = {id(site.node) for site in group}
    if any(site.kind.startswith("Q") for site in group):
        return readers_beside(index, name, heads)
    found = []
    for node in index.readers[name]:
        if id(node) in heads:
            places = [place for place, entry in enumerate(node.input) if entry == name]
            if places != [1]:
                found.append(node.op_type)
        elif not _transposes_for(index, node, heads):
            found.append(node.op_type)
    return found


def _transposes_for(index: GraphIndex, node: onnx.NodeProto, heads: set[int]) -> bool:
    """Whether a node is the Transpose through which layers read the weight, and nothing else reads that."""
    if node.op_type != "Transpose" or node.output[0] in index.pinned:
        return False
    readers = index.readers[node.output[0]]
    return all(
        id(reader) in heads and [p for p, e in enumerate(reader.input) if e == node.output[0]] == [1]
        for reader in readers
    )


def _snapped(index: GraphIndex, name: str, array: Array, group: Sequence[Site]) -> Array | None:
    """The weight with the magnitudes of each row made one, where they nearly are and were computed so."""
    if not index.is_computed(name) or array.dtype != np.float32 or array.ndim < 2:
        return None
    if not any(node.op_type in _NOISY for node in index.cone(name)):
        return None
    rows = array.T if group[0].transposed else array
    matrix = np.abs(rows.reshape(rows.shape[0], -1))
    largest = matrix.max(axis=1, initial=0.0, keepdims=True)
    noise = np.minimum(NOISE * np.maximum(largest, _origin(index, name)), MAX_NOISE * largest)
    near_zero = matrix <= noise
    smallest = np.where(near_zero, np.inf, matrix).min(axis=1, initial=np.inf, keepdims=True)
    if not bool(np.isfinite(largest).all()) or bool((smallest < largest - 2 * noise).any()):
        return None
    if not bool(((matrix != largest) & (matrix != 0)).any()):
        return None  # exactly so already
    alpha = _alpha(matrix, near_zero, noise)
    signs = np.where(near_zero, 0.0, np.sign(rows.reshape(matrix.shape)))
    settled = (signs * alpha).astype(np.float32).reshape(rows.shape)
    return np.ascontiguousarray(settled.T) if group[0].transposed else settled


def _origin(index: GraphIndex, name: str) -> float:
    """The largest magnitude that the weight is computed from: sums in between may be as large."""
    arrays = [index.constant(source) for source in index.sources(name)]
    floats = [array for array in arrays if array is not None and array.dtype.kind == "f" and array.size > 1]
    return max((float(np.abs(array).max()) for array in floats), default=0.0)


def _alpha(matrix: Array, near_zero: Array, noise: Array) -> Array:
    """The most frequent magnitude of each row; one for all rows where they agree but for noise."""
    alphas = np.zeros_like(noise)
    for row, (values, zero) in enumerate(zip(matrix, near_zero, strict=True)):
        kept, counts = np.unique(values[~zero], return_counts=True)
        alphas[row] = kept[counts.argmax()] if kept.size else 0.0
    kept = alphas[alphas != 0]
    if kept.size and kept.max() - kept.min() <= 2 * noise.max():
        values, counts = np.unique(kept, return_counts=True)
        alphas[alphas != 0] = values[counts.argmax()]
    return alphas
