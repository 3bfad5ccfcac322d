"""`nm`: N of every 4 weights along the input channels, the pattern sparse tensor cores read (2:4)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError
from .base import (
    CHUNK,
    MAX_DENSE_BYTES,
    Array,
    Format,
    Packed,
    TensorStats,
    as_bits,
    check_header,
    require,
)

GROUP = 4


class Nm(Format):
    """For every group of 4 input channels, N values and their 2-bit places in the group.

    The weight [K, C, ...] is seen as [K, ..., C] and its last axis cut into ceil(C / 4) groups; channels
    past C are zero. Components: ``values`` of the tensor's dtype [groups, N], 1 <= N <= 2; ``places`` uint8
    [ceil(groups * N / 4)], four 2-bit places a byte, the lowest bits first, padding zero; ascending
    within a group. A group with fewer non-zeros has values +0.0 at free places. 2:4 needs 0.5625 of
    the fp32 bytes.

    Examples
    --------
    >>> packed = Nm().pack(np.array([[0, 5, 0, 6]], np.float32))
    >>> packed.components["values"].tolist(), packed.components["places"].tolist()
    ([[5.0, 6.0]], [13])
    """

    name = "nm"
    summary = "N:4 patterns (2:4, 1:4) along the input channels: values and 2-bit places"
    operator = "NM"
    precedence = 2
    operator_inputs = ("values", "places")
    # Groups are filled where they are: four channels are the last axis until the taps are. A place past the
    # last channel is cut away.
    operator_decode = """
        i0 = Constant <value_ints = [0]> ()
        i1 = Constant <value_ints = [1]> ()
        i2 = Constant <value_ints = [2]> ()
        minus1 = Constant <value_ints = [-1]> ()
        byte_from = Constant <value = int32 {0}> ()
        byte_to = Constant <value = int32 {256}> ()
        byte_by = Constant <value = int32 {1}> ()
        every_byte = Range (byte_from, byte_to, byte_by)
        byte_column = Unsqueeze (every_byte, i1)
        byte_powers = Constant <value = int32[4] {1, 4, 16, 64}> ()
        byte_shifted = Div (byte_column, byte_powers)
        byte_four = Constant <value = int32 {4}> ()
        byte_places = Mod (byte_shifted, byte_four)
        byte_table = Cast <to = 2> (byte_places)
        byte_index = Cast <to = 6> (places)
        places_all = Gather <axis = 0> (byte_table, byte_index)
        places_flat = Reshape (places_all, minus1)
        values_shape = Shape (values)
        count = ReduceProd <keepdims = 1> (values_shape)
        places_cut = Slice (places_flat, i0, count)
        places_group = Reshape (places_cut, values_shape)
        place = Cast <to = 6> (places_group)
        values_f = Cast <to = 1> (values)
        values_by_row = Concat <axis = 0> (rows, minus1)
        values_rows = Reshape (values_f, values_by_row)
        values_scaled = Mul (values_rows, row_scale)
        values_group = Reshape (values_scaled, values_shape)
        group_count = Slice (values_shape, i0, i1)
        four1 = Constant <value_ints = [4]> ()
        groups_shape = Concat <axis = 0> (group_count, four1)
        groups_zero = ConstantOfShape <value = float[1] {0.0}> (groups_shape)
        groups = ScatterElements <axis = 1> (groups_zero, place, values_group)
        channels = Slice (shape, i1, i2)
        three1 = Constant <value_ints = [3]> ()
        channels_up = Add (channels, three1)
        steps = Div (channels_up, four1)
        channels_4 = Mul (steps, four1)
        lines_now = Concat <axis = 0> (rows, minus1, channels_4)
        lines_shape = Mul (lines_now, later1)
        lines = Reshape (groups, lines_shape)
        lines_cut = Slice (lines, i0, channels, i2)
        lines_turned = Transpose <perm = [0, 2, 1]> (lines_cut)
        matrix_shape = Concat <axis = 0> (rows, cols)
        dense = Reshape (lines_turned, matrix_shape)
    """

    def applies_to(self, stats: TensorStats) -> bool:
        return _per_group(stats) is not None

    def nbytes(self, stats: TensorStats) -> int:
        chosen = _per_group(stats)
        assert chosen is not None, "nbytes of a tensor that nm does not apply to"
        places = _group_count(stats.shape) * chosen
        return places * stats.dtype.itemsize + (places + 3) // 4

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        chosen = _per_group(stats)
        if chosen is None:
            raise UnsupportedError("nm: a group of 4 input channels has more than 2 non-zeros")
        groups = _groups(stats)
        # Stable: non-zeros come first and keep their order, then free places.
        order = np.argsort(groups == 0, axis=1, kind="stable")[:, :chosen]
        places = np.sort(order, axis=1).astype(np.uint8)
        values = np.take_along_axis(groups, places.astype(np.int64), axis=1)
        components = {"values": values.view(stats.dtype), "places": _pack_places(places)}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        require(len(packed.shape) >= 2 and rows * cols > 0, "needs rows and input channels", packed)
        values, places = (packed.components[name] for name in self.operator_inputs)
        count = _group_count(packed.shape)
        require(values.dtype == packed.dtype, f"dtype {values.dtype} is not {packed.dtype}", packed, "values")
        require(
            values.ndim == 2 and values.shape[1] in (1, 2), "must have shape [groups, N]", packed, "values"
        )
        require(values.shape[0] == count, f"must have {count} groups", packed, "values")
        length = (values.size + 3) // 4
        require(places.dtype == np.uint8, "must be uint8", packed, "places")
        require(places.shape == (length,), f"must have {length} bytes", packed, "places")
        used = values.size % 4
        padding_is_zero = not used or int(places[-1]) < 1 << (2 * used)
        require(padding_is_zero, "padding bits must be zero", packed, "places")
        unpacked = _unpack_places(places, values.shape)
        ascending = bool((unpacked[:, 1:] > unpacked[:, :-1]).all())
        require(ascending, "places must ascend within a group", packed, "places")
        tail = packed.shape[1] % GROUP
        if tail:
            step = -(-packed.shape[1] // GROUP)
            outside = unpacked[step - 1 :: step] >= tail
            stray = as_bits(values)[step - 1 :: step][outside]
            require(not stray.any(), "values outside the channels must be zero", packed, "values")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        values, places = (packed.components[name] for name in self.operator_inputs)
        groups = np.zeros((values.shape[0], GROUP), f"u{packed.dtype.itemsize}")
        where = _unpack_places(places, values.shape).astype(np.int64)
        np.put_along_axis(groups, where, as_bits(values), axis=1)
        rows, channels, *taps = packed.shape
        last = groups.reshape(rows, math.prod(taps), -1)[:, :, :channels]
        dense = np.ascontiguousarray(last.transpose(0, 2, 1))
        return dense.view(packed.dtype).reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "two-of-four", np.array([[0, 5, 0, 6], [-0.0, 0, 0, np.nan]], np.float32)
        conv = np.zeros((2, 5, 1, 3), np.float32)
        conv[:, 1], conv[0, 4, 0, 2] = 2, 3
        yield "conv-tail", conv
        yield "one-of-four", np.array([[0, 0, 1, 0, 4]], np.float16)


def _group_count(shape: tuple[int, ...]) -> int:
    """Groups of 4 input channels of a weight of that shape."""
    return shape[0] * -(-shape[1] // GROUP) * math.prod(shape[2:])


def _per_group(stats: TensorStats) -> int | None:
    """The most non-zeros in a group (at least 1), or None if over 2 or there are no groups."""
    if "nm" not in stats.memo:
        stats.memo["nm"] = _most(stats)
    found: int | None = stats.memo["nm"]
    return found


def _most(stats: TensorStats) -> int | None:
    if len(stats.shape) < 2 or not stats.size or stats.density > 0.5 * GROUP / min(GROUP, stats.shape[1]):
        return None
    most, step = 1, max(1, CHUNK // stats.cols)  # few rows show that most weights have no such pattern
    for row in range(0, stats.rows, step):
        most = max(most, int(np.count_nonzero(_groups(stats, row, row + step), axis=1).max()))
        if most > 2:
            return None
    return most


def _groups(stats: TensorStats, first: int = 0, last: int | None = None) -> Array:
    """Bits of some rows as [groups, 4]: input channels last, padded with zeros."""
    _, channels, *taps = stats.shape
    rows = stats.bits.reshape(stats.shape[0], channels, math.prod(taps))[first:last]
    return np.pad(rows.transpose(0, 2, 1), ((0, 0), (0, 0), (0, -channels % GROUP))).reshape(-1, GROUP)


def _pack_places(places: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Places 0..3, four a byte."""
    flat = np.zeros(-(-places.size // 4) * 4, np.uint8)
    flat[: places.size] = places.reshape(-1)
    quads = flat.reshape(-1, 4) << np.array([0, 2, 4, 6], np.uint8)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(quads, axis=1)
    return packed


def _unpack_places(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """What `_pack_places` took, in that shape."""
    quads = (packed[:, None] >> np.array([0, 2, 4, 6], np.uint8)) & np.uint8(3)
    return quads.reshape(-1)[: math.prod(shape)].reshape(shape)
