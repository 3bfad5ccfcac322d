"""`bsr`: block compressed sparse rows, for weights pruned in blocks such as 4 output channels x 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import UnsupportedError
from .base import (
    MAX_DENSE_BYTES,
    Array,
    Format,
    Packed,
    TensorStats,
    as_bits,
    check_header,
    require,
)
from .parts import row_gaps

#: Rows and columns of the blocks that are tried.
BLOCKS = ((4, 1), (8, 1), (16, 1), (1, 4), (1, 8), (2, 2), (4, 4), (8, 8))
LARGEST_BLOCK = 64


class Bsr(Format):
    """The layout of `csr` over a matrix of blocks, with all elements of every non-zero block.

    Components: ``indptr`` and ``gaps`` as in `csr`, over ceil(rows / bh) x ceil(cols / bw) blocks;
    ``values`` of the tensor's dtype [entries, bh, bw]: their shape says the block size. Elements of a
    block outside the matrix are +0.0. A block is stored if any bit in it is set.

    Examples
    --------
    >>> weight = np.zeros((4, 3), np.float32)
    >>> weight[:, 2] = 1, 2, 3, 4
    >>> packed = Bsr().pack(weight)
    >>> packed.components["gaps"].tolist(), packed.components["values"].ravel().tolist()
    ([2], [1.0, 2.0, 3.0, 4.0])
    """

    name = "bsr"
    summary = "non-zero blocks (4x1, 1x4, 4x4, ...) with in-row gaps; weights pruned in blocks"
    operator = "Block"
    operator_inputs = ("indptr", "gaps", "values")
    operator_entries = True
    # An element outside the matrix takes place and value of the block's nearest one inside: writing that
    # twice does no harm, and nothing has to be cut off afterwards.
    operator_decode = (
        """
        block_shape = Shape (values)
        b1 = Constant <value_ints = [1]> ()
        b2 = Constant <value_ints = [2]> ()
        b3 = Constant <value_ints = [3]> ()
        block_h = Slice (block_shape, b1, b2)
        block_w = Slice (block_shape, b2, b3)
        up_h = Add (rows, block_h)
        up_h1 = Sub (up_h, b1)
        block_rows = Div (up_h1, block_h)
        up_w = Add (cols, block_w)
        up_w1 = Sub (up_w, b1)
        block_cols = Div (up_w1, block_w)
        block_cols0 = Squeeze (block_cols)
        block_cols_i = Cast <to = 6> (block_cols0)
"""
        + row_gaps.POSITIONS_DECODE.format(
            rows="block_rows", cols="block_cols_i", position="block_position", out="block"
        )
        + """
        block_row = Div (block_position, block_cols_i)
        block_column = Mod (block_position, block_cols_i)
        i_zero = Constant <value = int32 {0}> ()
        i_one = Constant <value = int32 {1}> ()
        height1 = Cast <to = 6> (block_h)
        width1 = Cast <to = 6> (block_w)
        height = Squeeze (height1)
        width = Squeeze (width1)
        down = Range (i_zero, height, i_one)
        across = Range (i_zero, width, i_one)
        entry_axes = Constant <value_ints = [1, 2]> ()
        down_column = Unsqueeze (down, b1)
        block_top = Mul (block_row, height)
        block_left = Mul (block_column, width)
        top_cube = Unsqueeze (block_top, entry_axes)
        left_cube = Unsqueeze (block_left, entry_axes)
        any_row = Add (top_cube, down_column)
        any_column = Add (left_cube, across)
        last_row = Sub (rows_i, i_one)
        last_column = Sub (cols_i, i_one)
        in_row = Min (any_row, last_row)
        in_column = Min (any_column, last_column)
        row_start = Mul (in_row, cols_i)
        position_cube = Add (row_start, in_column)
        i_flat = Constant <value_ints = [-1]> ()
        position = Reshape (position_cube, i_flat)
        value_down = Sub (in_row, top_cube)
        value_across = Sub (in_column, left_cube)
        entry_size = Mul (height, width)
        values_f = Cast <to = 1> (values)
        values_flat = Reshape (values_f, i_flat)
        values_size = Size (values_flat)
        values_size_i = Cast <to = 6> (values_size)
        entry_begin = Range (i_zero, values_size_i, entry_size)
        begin_cube = Unsqueeze (entry_begin, entry_axes)
        value_row = Mul (value_down, width)
        value_in = Add (value_row, value_across)
        value_cube = Add (begin_cube, value_in)
        value_index = Reshape (value_cube, i_flat)
        entries = GatherElements <axis = 0> (values_flat, value_index)
    """
    )

    def applies_to(self, stats: TensorStats) -> bool:
        return 0 < stats.cols <= np.iinfo(np.uint32).max and stats.rows > 0

    def nbytes(self, stats: TensorStats) -> int:
        return min(self._choices(stats))[0]

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        if not self.applies_to(stats):
            raise UnsupportedError(
                f"bsr: shape {stats.shape} has no elements or rows of 2^32 columns and more"
            )
        _, which = min(self._choices(stats))
        block = BLOCKS[which]
        occupied = _occupied(stats, block)
        sizes = _sizes(occupied, block, stats.dtype.itemsize)
        indptr, steps, slots = row_gaps.encode(occupied, row_gaps.smallest(sizes))
        flat = _blocks(_padded(stats, block), block).reshape(-1, *block)
        values = row_gaps.spread(flat[occupied.positions], slots, steps.size)
        components = {
            "indptr": indptr,
            "gaps": steps,
            "values": np.ascontiguousarray(values).view(stats.dtype),
        }
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        steps, values = packed.components["gaps"], packed.components["values"]
        require(values.dtype == packed.dtype, f"dtype {values.dtype} is not {packed.dtype}", packed, "values")
        require(values.ndim == 3, "must have shape [entries, block rows, block columns]", packed, "values")
        count, height, width = values.shape
        require(steps.shape == (count,), "must be as many as blocks", packed, "gaps")
        require(
            height > 0 and width > 0 and height * width <= LARGEST_BLOCK, f"block {height}x{width}", packed
        )
        block_cols = -(-cols // width)
        row_gaps.check(packed, -(-rows // height), block_cols)
        bits = as_bits(values)
        indptr = packed.components["indptr"]
        if rows % height:
            last = bits[int(indptr[-2]) :, rows % height :]
            require(not last.any(), "rows outside the matrix must be zero", packed, "values")
        if cols % width:
            for lo, hi, position in row_gaps.walk(indptr, steps, block_cols):
                edge = bits[lo:hi][position % block_cols == block_cols - 1, :, cols % width :]
                require(not edge.any(), "columns outside the matrix must be zero", packed, "values")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        indptr, steps, values = (packed.components[name] for name in self.operator_inputs)
        _, height, width = values.shape
        grid = (-(-rows // height), -(-cols // width))
        padded = np.zeros((grid[0] * height, grid[1] * width), f"u{packed.dtype.itemsize}")
        blocks, bits = _blocks(padded, (height, width)), as_bits(values)
        for lo, hi, position in row_gaps.walk(indptr, steps, grid[1]):
            blocks[position // grid[1], position % grid[1]] = bits[lo:hi]
        dense = np.ascontiguousarray(padded[:rows, :cols])
        return dense.view(packed.dtype).reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        column = np.zeros((4, 3), np.float32)
        column[:, 2] = 1, 2, 3, -0.0
        yield "plain", column
        ragged = np.zeros((5, 7), np.float32)
        ragged[4, 6], ragged[:4, 0] = np.nan, [1, 2, 3, 4]
        yield "ragged", ragged
        square = np.zeros((8, 8), np.float16)
        square[:4, 4:] = 1
        yield "square", square
        yield "all-zero", np.zeros((4, 2, 3), np.float32)

    def _choices(self, stats: TensorStats) -> list[tuple[int, int]]:
        """(bytes, index of the block size) for every block size that is tried."""
        if "bsr" not in stats.memo:
            stats.memo["bsr"] = [
                (min(_sizes(_occupied(stats, block), block, stats.dtype.itemsize).values()), which)
                for which, block in enumerate(BLOCKS)
            ]
        choices: list[tuple[int, int]] = stats.memo["bsr"]
        return choices


def _sizes(
    occupied: TensorStats, block: tuple[int, int], itemsize: int
) -> dict[np.dtype[np.unsignedinteger], int]:
    """Exact bytes for each gap width."""
    return row_gaps.sizes(occupied, lambda entries: entries * block[0] * block[1] * itemsize)


def _occupied(stats: TensorStats, block: tuple[int, int]) -> TensorStats:
    """Which blocks hold a set bit, as the statistics of a uint8 matrix."""
    height, width = block
    grid = (-(-stats.rows // height), -(-stats.cols // width))
    occupied = np.zeros(grid, np.uint8)
    row, col = np.divmod(stats.positions, stats.cols)
    occupied[row // height, col // width] = 1
    return TensorStats(occupied)


def _padded(stats: TensorStats, block: tuple[int, int]) -> Array:
    """The bits as a matrix whose sides are multiples of the block's."""
    height, width = block
    matrix = stats.bits.reshape(stats.rows, stats.cols)
    return np.pad(matrix, ((0, -stats.rows % height), (0, -stats.cols % width)))


def _blocks(padded: Array, block: tuple[int, int]) -> Array:
    """A view of a matrix as [block rows, block columns, bh, bw]."""
    height, width = block
    rows, cols = padded.shape
    return padded.reshape(rows // height, height, cols // width, width).swapaxes(1, 2)
