"""A second reader of packed tensors, written from docs/format-spec.md with numpy and nothing of this package.

    python docs/reader.py tensor.safetensors      # prints format, shape, dtype and the dense array

It shows that the specification is enough to read the files; tests decode every golden file with it and
compare bits. It trusts its input: the package's own readers are the ones that check every rule.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Components = dict[str, Array]
Shape = tuple[int, ...]
Word = np.dtype[Any]
#: safetensors dtypes as numpy ones; bfloat16 and float8 stay bit patterns.
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "BOOL": "u1",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
}
#: The bits of 1 in the float types.
ONES = {
    "F64": 0x3FF << 52,
    "F32": 0x3F800000,
    "F16": 0x3C00,
    "BF16": 0x3F80,
    "F8_E4M3": 0x38,
    "F8_E5M2": 0x3C,
}


def read(data: bytes) -> tuple[str, str, Array]:
    """Format name, safetensors dtype and the dense array (of bit patterns) of a packed tensor's file."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    line = header.pop("__metadata__")["sparse_export.packed"]
    name, _, shape, dtype, _ = json.loads(line)
    parts = {}
    for key, entry in header.items():
        begin, end = entry["data_offsets"]
        parts[key] = np.frombuffer(body[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    word = np.dtype(f"<u{np.dtype(DTYPES[dtype]).itemsize}", metadata={"dtype": dtype})
    return name, dtype, DECODERS[name](parts, tuple(shape), word).reshape(shape)


def sizes(shape: Shape) -> tuple[int, int, int]:
    """Rows, columns and elements of the matrix that a tensor is seen as."""
    size = math.prod(shape)
    rows = shape[0] if shape else 1
    return rows, (math.prod(shape[1:]) if shape else 1), size


def bits(packed: Array, count: int) -> Array:
    """The first `count` bits of every row, least significant first."""
    return np.unpackbits(packed, axis=-1, count=count, bitorder="little")


def planes(packed: Array, count: int) -> Array:
    """Numbers from bit planes [width, bytes]."""
    return sum(
        (bits(plane, count).astype(np.int64) << place for place, plane in enumerate(packed)), np.int64(0)
    )


def words(values: Array, word: Word) -> Array:
    """Values as bit patterns."""
    return np.ascontiguousarray(values).view(word).reshape(values.shape)


def flat_positions(gaps: Array) -> Array:
    """Positions of the entries in the flat tensor, from narrow gaps."""
    codes = planes(gaps, gaps.shape[1] * 8)
    entry = codes != (1 << gaps.shape[0]) - 1
    return np.cumsum(codes + entry)[entry] - 1


def place(size: int, where: Array, what: Array, word: Word) -> Array:
    dense = np.zeros(size, word)
    dense[where] = what
    return dense


def dense(c: Components, shape: Shape, word: Word) -> Array:
    return words(c["values"], word)


def block_rows(c: Components, rows: int, cols: int) -> tuple[Array, Array]:
    """Row and column of every entry, from in-row gaps."""
    counts = np.diff(c["indptr"].astype(np.int64))
    row = np.repeat(np.arange(rows), counts)
    steps = np.cumsum(c["gaps"].astype(np.int64) + 1)
    before = np.concatenate([[0], steps])[c["indptr"][:-1].astype(np.int64)]
    return row, steps - 1 - np.repeat(before, counts)


def csr(c: Components, shape: Shape, word: Word) -> Array:
    rows, cols, size = sizes(shape)
    row, column = block_rows(c, rows, cols)
    return place(size, row * cols + column, words(c["values"], word), word)


def bsr(c: Components, shape: Shape, word: Word) -> Array:
    rows, cols, _ = sizes(shape)
    _, high, wide = c["values"].shape
    down, across = -(-rows // high), -(-cols // wide)
    row, column = block_rows(c, down, across)
    grid = np.zeros((down, across, high, wide), word)
    grid[row, column] = words(c["values"], word)
    return grid.transpose(0, 2, 1, 3).reshape(down * high, across * wide)[:rows, :cols].copy()


def bitmask(c: Components, shape: Shape, word: Word) -> Array:
    size = sizes(shape)[2]
    return place(size, np.flatnonzero(bits(c["mask"], size)), words(c["values"], word), word)


def nm(c: Components, shape: Shape, word: Word) -> Array:
    rows, inputs, window = shape[0], shape[1], shape[2:]
    groups, most = c["values"].shape
    packed = c["places"][:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
    places = packed.reshape(-1)[: groups * most].reshape(groups, most).astype(np.int64)
    wide = np.zeros((groups, 4), word)
    values = words(c["values"], word)
    for column in range(most):  # a free place holds 0 and must not overwrite a value
        held = values[:, column] != 0
        wide[np.flatnonzero(held), places[held, column]] = values[held, column]
    last = wide.reshape(rows, *window, -1)[..., :inputs]
    return np.moveaxis(last, -1, 1).copy()


def signed(c: Components, rows: int, word: Word) -> tuple[Array, Array]:
    """Bit patterns of +alpha and -alpha of every row."""
    alpha = np.broadcast_to(words(c["scales"], word), (rows,))
    return alpha, alpha | word.type(1 << (word.itemsize * 8 - 1))


def bitpack(c: Components, shape: Shape, word: Word) -> Array:
    rows, cols, _ = sizes(shape)
    plus, minus = signed(c, rows, word)
    return np.where(bits(c["bits"], cols) != 0, minus[:, None], plus[:, None])


def signbits(c: Components, shape: Shape, word: Word) -> Array:
    rows, cols, _ = sizes(shape)
    assert word.metadata is not None
    one = ONES[word.metadata["dtype"]]
    sign = bits(c["bits"], cols).astype(word) << word.type(8 * word.itemsize - 1)
    last = sign | word.type(one)
    return np.moveaxis(last.reshape(rows, *shape[2:], shape[1]), -1, 1) if len(shape) > 2 else last


def ternary(c: Components, shape: Shape, word: Word) -> Array:
    rows, cols, _ = sizes(shape)
    plus, minus = signed(c, rows, word)
    powers = np.array([1, 3, 9, 27, 81], np.uint8)
    digits = (c["trits"][..., None] // powers % 3).reshape(rows, -1)[:, :cols]
    return np.select([digits == 1, digits == 2], [plus[:, None], minus[:, None]], word.type(0))


def codebook(c: Components, shape: Shape, word: Word) -> Array:
    return words(c["table"], word)[planes(c["indices"], sizes(shape)[2])]


def tight(c: Components, shape: Shape, word: Word) -> Array:
    return place(sizes(shape)[2], flat_positions(c["gaps"]), words(c["values"], word), word)


def palette(c: Components, shape: Shape, word: Word) -> Array:
    where = flat_positions(c["gaps"])
    return place(sizes(shape)[2], where, words(c["table"], word)[planes(c["indices"], where.size)], word)


def sign_rows(where: Array, c: Components, shape: Shape, word: Word) -> Array:
    rows, cols, size = sizes(shape)
    plus, minus = signed(c, rows, word)
    row = where // cols
    return place(size, where, np.where(bits(c["signs"], where.size) != 0, minus[row], plus[row]), word)


def signmask(c: Components, shape: Shape, word: Word) -> Array:
    return sign_rows(np.flatnonzero(bits(c["mask"], sizes(shape)[2])), c, shape, word)


def signgaps(c: Components, shape: Shape, word: Word) -> Array:
    return sign_rows(flat_positions(c["gaps"]), c, shape, word)


def split(c: Components, shape: Shape, word: Word) -> Array:
    where = flat_positions(c["gaps"])
    low = sum(c["low"][octet].astype(np.int64) << 8 * octet for octet in range(3))
    magnitude = (1 << 23 | low & 0x7FFFFF) * c["table"].astype(np.float64)[planes(c["indices"], where.size)]
    values = np.where(low >> 23, -magnitude, magnitude).astype(np.float32)
    return place(sizes(shape)[2], where, words(values, word), word)


DECODERS: dict[str, Callable[[Components, Shape, Word], Array]] = {
    "dense": dense,
    "csr": csr,
    "bsr": bsr,
    "bitmask": bitmask,
    "nm": nm,
    "bitpack": bitpack,
    "signbits": signbits,
    "ternary": ternary,
    "codebook": codebook,
    "tight": tight,
    "palette": palette,
    "signmask": signmask,
    "signgaps": signgaps,
    "split": split,
}

if __name__ == "__main__":
    found, kind, array = read(Path(sys.argv[1]).read_bytes())
    print(found, kind, array.shape)
    print(array.view(DTYPES[kind]) if np.dtype(DTYPES[kind]).itemsize == array.itemsize else array)
