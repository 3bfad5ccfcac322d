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

#: Up to so many codes are decoded at a time. glibc gives arrays of 32 MiB and more back to the system, which
#: then clears every page of the next one: the longest array of a part, 8 bytes a code, is to be below.
PART = (1 << 22) - (1 << 12)
#: Of so many parts none is empty.
MOST = 64
_BEGIN = """
        code_one = Constant <value = int32 {1}> ()
        walk_last = Constant <value_ints = [-1]> ()
        walk_end = Constant <value_ints = [2147483647]> ()
"""
_FIRST = "        base% = Constant <value = int32[1] {0}> ()\n"
_NEXT = "        base% = Slice (walk{before}, walk_last, walk_end)\n"
# `slot`: which entry of its part a code leads to, its own or the next; behind the last one stands where the
# next part begins.
_PART = (
    bits.UNPACK_PLANES.format(source="gaps%", target="codes%")
    + """
        is_entry% = Less (codes%, codes%_escape)
        entry% = Cast <to = 6> (is_entry%)
        slot% = CumSum <exclusive = 1> (entry%, axis0)
        count_i% = ReduceSum <keepdims = 1> (entry%)
        count_here% = Cast <to = 7> (count_i%)
        step_pads% = Concat <axis = 0> (zero1, count_here%)
        step_ones% = Pad (base%, step_pads%, code_one)
        steps% = ScatterElements <axis = 0, reduction = "add"> (step_ones%, slot%, codes%)
        walk% = CumSum (steps%, axis0)
        position% = Slice (walk%, zero1, count_here%)
"""
)


def decode(parts: int = 1) -> str:
    """ONNX text, `bits.BIT_TABLE` in it: int32 `position` [nnz] in the flat tensor, int64 `count` = [nnz].

    Parameters
    ----------
    parts
        How many the gaps are cut into, to be decoded one after the other.
    """
    text, before = bits.BIT_TABLE + bits.cut("gaps", "gaps", parts, "later1") + _BEGIN, None
    for end in bits.suffixes(parts):
        start = _FIRST if before is None else _NEXT.format(before=before)
        text, before = text + (start + _PART).replace("%", end), end
    return text + bits.joined("position", parts) + "        count = Shape (position)\n"


def parts(packed: Packed) -> int:
    """How many parts `decode` takes best; 0 where `MOST` would leave one of them empty."""
    planes = packed.components["gaps"]
    return min(-(-planes.shape[1] * 8 // PART), MOST) if planes.shape[1] >= MOST else 0


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
