"""Positions as gaps of 2 to 8 bits over the flat tensor: what `tight`, `split`, `palette`, `signgaps` share.

Component ``gaps`` uint8 [width, ceil(codes / 8)]: bit planes of codes. A code below 2^width - 1 is the
zeros skipped before the next entry; 2^width - 1 says "so many, and no entry". Padding codes are the
latter, so the codes alone say how many entries there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..base import Packed, TensorStats, require
from . import bits

WIDTHS = range(2, 9)

#: ONNX text: from `gaps`: int32 `position` [nnz] of the entries in the flat tensor, int64 `count` = [nnz].
#: `slot` says, counted from the end, which entry a code leads to: its own or, without one, the next;
#: padding leads to the first one, whose sum starts so much lower.
POSITIONS_DECODE = (
    bits.UNPACK_PLANES.format(source="gaps", target="codes")
    + """
        code_none = Constant <value = int32 {0}> ()
        code_one = Constant <value = int32 {1}> ()
        code_minus = Constant <value = int32 {-1}> ()
        code_eight = Constant <value_ints = [-8]> ()
        is_entry = Less (codes, codes_escape)
        entry_minus = Where (is_entry, code_minus, code_none)
        slot = CumSum <reverse = 1> (entry_minus, axis0)
        codes_size = Shape (codes)
        tail = Slice (slot, code_eight, codes_size)
        tail_is_padding = Equal (tail, code_none)
        tail_padding = Cast <to = 6> (tail_is_padding)
        padding_count = ReduceSum <keepdims = 1> (tail_padding)
        padding_steps = Mul (padding_count, codes_escape)
        first_step = Neg (padding_steps)
        slot_first = Slice (slot, zero1, first1)
        count_minus = ReduceSum <keepdims = 1> (slot_first)
        count_i = Neg (count_minus)
        count = Cast <to = 7> (count_i)
        count_more = Sub (count, first1)
        step_pads = Concat <axis = 0> (zero1, count_more)
        step_ones = Pad (first_step, step_pads, code_one)
        steps = ScatterElements <axis = 0, reduction = "add"> (step_ones, slot, codes)
        position = CumSum (steps, axis0)
"""
)


def width_and_codes(stats: TensorStats) -> tuple[int, int]:
    """Bits of a code and number of codes that take the fewest bytes."""
    if "narrow" not in stats.memo:
        gaps = _gaps(stats)
        codes = {width: stats.nnz + int((gaps // ((1 << width) - 1)).sum()) for width in WIDTHS}
        stats.memo["narrow"] = min(codes.items(), key=lambda item: item[0] * bits.row_bytes(item[1]))
    choice: tuple[int, int] = stats.memo["narrow"]
    return choice


def nbytes(stats: TensorStats) -> int:
    """Exact bytes of ``gaps``."""
    width, codes = width_and_codes(stats)
    return width * bits.row_bytes(codes)


def encode(stats: TensorStats) -> NDArray[np.uint8]:
    """The component ``gaps``."""
    width, total = width_and_codes(stats)
    escape = (1 << width) - 1
    skipped, rest = np.divmod(_gaps(stats), escape)
    codes = np.full(bits.row_bytes(total) * 8, escape, np.uint8)
    codes[np.arange(rest.size) + np.cumsum(skipped)] = rest
    return bits.pack_planes(codes, width)


def positions(packed: Packed, size: int) -> NDArray[np.int64]:
    """Ascending flat positions of the entries, all below `size`.

    Raises
    ------
    CorruptFileError
        If ``gaps`` breaks a rule.
    """
    planes = packed.components["gaps"]
    require(planes.dtype == np.uint8 and planes.ndim == 2, "must be uint8 of two dimensions", packed, "gaps")
    require(planes.shape[0] in WIDTHS, "must be 2 to 8 bits wide", packed, "gaps")
    escape = (1 << planes.shape[0]) - 1
    # No tensor needs more codes than one an element: this bounds what is unpacked next.
    require(planes.shape[1] <= bits.row_bytes(size), "more codes than elements", packed, "gaps")
    codes = bits.unpack_planes(planes, planes.shape[1] * 8)
    is_entry = codes != escape
    slots = np.flatnonzero(is_entry)
    used = int(slots[-1]) + 1 if slots.size else 0
    require(codes.size - used < 8, "must end with the last entry and its padding", packed, "gaps")
    found: NDArray[np.int64] = np.cumsum(codes + is_entry.astype(np.int64))[slots] - 1
    inside = not found.size or int(found[-1]) < size
    require(inside, f"a position is outside the {size} elements", packed, "gaps")
    return found


def _gaps(stats: TensorStats) -> NDArray[np.int64]:
    """Zeros skipped before each non-zero of the flat tensor."""
    return np.diff(stats.positions, prepend=-1) - 1
