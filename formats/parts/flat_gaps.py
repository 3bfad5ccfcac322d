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

#: ONNX text: from `gaps`, for every code but the padding: int32 `position` of its entry in the flat tensor,
#: bool `is_entry`, int32 `entry`: which of the values it, or else the next one, has. A code that says "no
#: entry" has the position of a zero between two entries: whoever writes 0 there need not leave it out.
POSITIONS_DECODE = (
    bits.UNPACK_PLANES.format(source="gaps", target="codes")
    + """
        codes_size = Shape (codes)
        code_one = Constant <value = int32 {1}> ()
        code_eight = Constant <value_ints = [-8]> ()
        codes_tail = Slice (codes, code_eight, codes_size)
        tail_is_escape = Equal (codes_tail, codes_escape)
        tail_is_entry = Not (tail_is_escape)
        tail_flags = Cast <to = 6> (tail_is_entry)
        tail_from_end = CumSum <reverse = 1> (tail_flags, axis0)
        tail_zero = Constant <value = int32 {0}> ()
        tail_is_padding = Equal (tail_from_end, tail_zero)
        tail_padding = Cast <to = 7> (tail_is_padding)
        padding_count = ReduceSum <keepdims = 1> (tail_padding)
        codes_used = Sub (codes_size, padding_count)
        code = Slice (codes, zero1, codes_used)
        is_entry = Less (code, codes_escape)
        entry_one = Cast <to = 6> (is_entry)
        step = Add (code, entry_one)
        walk = CumSum (step, axis0)
        position = Sub (walk, code_one)
        entry = CumSum <exclusive = 1> (entry_one, axis0)
"""
)

#: ONNX text: float `entries`, one a code: `{values}` [nnz] where there is an entry, 0 where there is none.
SPREAD = """
        spread = Gather <axis = 0> ({values}, entry)
        spread_zero = Constant <value = float {{0.0}}> ()
        entries = Where (is_entry, spread, spread_zero)
"""


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
