"""`split`: float32 non-zeros in 28 bits and their gaps in about 6, rebuilt by plain ONNX arithmetic.

Old opsets have no bit cast. But a float is (2^23 + mantissa) x 2^(exponent - 150) with a sign, and both the
sum and the product are exact in float32, so the bits come back. Exponents of a pruned layer are few: an
index of 3 or 4 bits replaces their 8.
"""

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
from .parts import bits, flat_gaps

#: Below this biased exponent the table's power of two, 2^(exponent - 150), would be denormal.
LEAST_EXPONENT = 24
#: A denser weight stays as it is: 30 bits a value are not worth a decode.
DENSEST = 0.75

# A value is (number of the two lower bytes + part of the upper one) x power. Bytes are summed as bytes, and
# so a factor is one too: twice by 128 is by 256, and there are at most 231 exponents. Upper byte and exponent
# are an index together, into two tables of what they stand for: the upper byte's part with the hidden bit,
# and the power with its sign.
_TABLES = """
        lower_rows = Constant <value_ints = [0, 1, 1]> ()
        lower_power = Constant <value = uint8[3] {1, 128, 128}> ()
        upper_rows = Constant <value_ints = [2]> ()
        eight1 = Constant <value_ints = [8]> ()
        index_dims = Shape (indices)
        width = Slice (index_dims, zero1, first1)
        index_powers = Slice (bit_powers, zero1, width)
        table_size = Shape (table)
        upper_power = Cast <to = 2> (table_size)
        joint_power = Concat <axis = 0> (index_powers, upper_power)
        plus_minus = Constant <value = float[2, 1, 1] {1.0, -1.0}> ()
        signed_table = Mul (table, plus_minus)
        upper_from = Constant <value = float {8388608.0}> ()
        upper_to = Constant <value = float {16777216.0}> ()
        upper_by = Constant <value = float {65536.0}> ()
        upper_range = Range (upper_from, upper_to, upper_by)
        upper_column = Unsqueeze (upper_range, first1)
        upper_shape = Constant <value_ints = [2, 128]> ()
        joint_shape = Concat <axis = 0> (upper_shape, table_size)
        flat = Constant <value_ints = [-1]> ()
        power_cube = Expand (signed_table, joint_shape)
        power_table = Reshape (power_cube, flat)
        upper_cube = Expand (upper_column, joint_shape)
        upper_table = Reshape (upper_cube, flat)
"""
_PART = (
    bits.UNPACK_BITS.format(source="indices%", target="index_bits%")
    + """
        lower_low% = Gather <axis = 0> (low%, lower_rows)
        lower_i% = MatMulInteger (lower_power, lower_low%)
        lower% = Cast <to = 1> (lower_i%)
        here% = Shape (lower_i%)
        index_used% = Slice (index_bits%, zero1, here%, first1)
        upper_low% = Gather <axis = 0> (low%, upper_rows)
        joint_rows% = Concat <axis = 0> (index_used%, upper_low%)
        joint% = MatMulInteger (joint_power, joint_rows%)
        upper% = GatherElements <axis = 0> (upper_table, joint%)
        power% = GatherElements <axis = 0> (power_table, joint%)
        number% = Add (lower%, upper%)
        entries% = Mul (number%, power%)
"""
)


def _decode(parts: int) -> str:
    """ONNX text: `position` and `entries`, each made in so many parts."""
    text = flat_gaps.decode(parts) + _TABLES
    text += bits.cut("indices", "indices", parts, "first1") + bits.cut("low", "indices", parts, "eight1")
    for end in bits.suffixes(parts):
        text += _PART.replace("%", end)
    return text + bits.joined("entries", parts)


class Split(Format):
    """Gaps over the flat tensor, sign and mantissa bytes, and an index of the exponent.

    Components: ``gaps`` as in `tight`; ``low`` uint8 [3, nnz]: byte planes of sign
    (bit 23) and mantissa; ``indices`` uint8 [w, ceil(nnz / 8)]: bit planes, as in `codebook`, into ``table``
    float32 [k]: 2^(biased exponent - 150), ascending.

    Holds float32 of magnitude 2^-103 and more, at a density of at most 0.75. There is no kernel: stock
    onnxruntime runs it.

    Examples
    --------
    >>> packed = Split().pack(np.array([[0, 0, 1.5], [-3, 0, 0]], np.float32))
    >>> packed.components["gaps"].tolist(), packed.components["low"].tolist()
    ([[252], [253]], [[0, 0], [0, 0], [64, 192]])
    """

    name = "split"
    summary = "float32 non-zeros in 28 bits, gaps in 2 to 8 bits; the smallest lossless ONNX"
    operator = "Split"
    operator_inputs = ("gaps", "low", "indices", "table")
    operator_entries = True
    operator_decode = _decode(1)

    def operator_text(self, parts: int) -> str:
        return _decode(parts)

    def operator_parts(self, packed: Packed) -> int:
        return flat_gaps.parts(packed)

    def applies_to(self, stats: TensorStats) -> bool:
        return _exponents(stats) is not None

    def nbytes(self, stats: TensorStats) -> int:
        exponents = _exponents(stats)
        assert exponents is not None, "nbytes of a tensor that split does not apply to"
        index_bytes = bits.index_width(exponents.size) * bits.row_bytes(stats.nnz)
        return flat_gaps.nbytes(stats) + 3 * stats.nnz + index_bytes + 4 * exponents.size

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        exponents = _exponents(stats)
        if exponents is None:
            raise UnsupportedError("split: needs finite float32 from 2^-103 up, density 0.75 at most")
        patterns = stats.bits[stats.positions]
        low = (patterns & np.uint32(0x7FFFFF)) | (patterns >> np.uint32(31) << np.uint32(23))
        octets = low.astype("<u4").view(np.uint8).reshape(-1, 4)
        index = np.searchsorted(exponents, _biased(patterns)).astype(np.uint8)
        table = (exponents.astype(np.uint32) - (150 - 127)) << np.uint32(23)
        components: dict[str, Array] = {
            "gaps": flat_gaps.encode(stats),
            "low": np.ascontiguousarray(octets[:, :3].T),
            "indices": bits.pack_planes(index, bits.index_width(exponents.size)),
            "table": table.view(np.float32),
        }
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        _, low, indices, table = (packed.components[name] for name in self.operator_inputs)
        require(packed.dtype == np.float32, f"dtype {packed.dtype} is not float32", packed)
        for name in ("low", "indices"):
            part = packed.components[name]
            require(
                part.dtype == np.uint8 and part.ndim == 2, "must be uint8 of two dimensions", packed, name
            )
        count = low.shape[1]
        require(low.shape[0] == 3 and 0 < count <= rows * cols, "must have shape [3, nnz]", packed, "low")
        _check_table(packed, table)
        shape = (bits.index_width(table.size), bits.row_bytes(count))
        require(indices.shape == shape, f"must have shape {list(shape)}", packed, "indices")
        require(bits.padding_is_zero(indices, count), "padding bits must be zero", packed, "indices")
        highest = int(bits.unpack_planes(indices, count).max())
        require(highest < table.size, f"index {highest} is outside the table", packed, "indices")
        found = flat_gaps.positions(packed, rows * cols).size
        require(found == count, f"must hold {count} entries", packed, "gaps")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        _, low, indices, table = (packed.components[name] for name in self.operator_inputs)
        octets = np.zeros((low.shape[1], 4), np.uint8)
        octets[:, :3] = low.T
        number = octets.view("<u4").reshape(-1)
        exponents = _biased(as_bits(table)) + np.uint32(150 - 127)
        patterns = (number & np.uint32(0x7FFFFF)) | (number >> np.uint32(23) << np.uint32(31))
        patterns |= exponents[bits.unpack_planes(indices, number.size)] << np.uint32(23)
        dense = np.zeros(rows * cols, np.uint32)
        dense[flat_gaps.positions(packed, rows * cols)] = patterns
        return dense.view(np.float32).reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "plain", np.array([[0, 0, 1.5], [-3, 0, 0]], np.float32)
        far = np.zeros((2, 400), np.float32)
        far[0, 5], far[1, 399] = np.float32(2.0**-103), np.float32(3.4e38)
        yield "escapes", far
        conv = np.linspace(-1, 1, 2 * 3 * 9, dtype=np.float32).reshape(2, 3, 3, 3)
        conv[:, 1] = 0
        yield "conv", conv


def _biased(patterns: Array) -> Array:
    """The exponent field of float32 bit patterns."""
    field: Array = (patterns >> np.uint32(23)) & np.uint32(0xFF)
    return field


def _exponents(stats: TensorStats) -> Array | None:
    """The exponent fields that occur, ascending, or None if the format cannot hold the tensor."""
    if "split" not in stats.memo:
        found = None
        if stats.dtype == np.float32 and 0 < stats.density <= DENSEST:
            counts = np.bincount(_biased(stats.bits[stats.positions]), minlength=256)
            if not counts[:LEAST_EXPONENT].any() and not counts[255]:
                found = np.flatnonzero(counts)
        stats.memo["split"] = found
    exponents: Array | None = stats.memo["split"]
    return exponents


def _check_table(packed: Packed, table: Array) -> None:
    """Prove that `table` holds ascending powers of two that stand for exponents."""
    require(table.dtype == np.float32 and table.ndim == 1, "must be a float32 vector", packed, "table")
    require(0 < table.size <= 256, "must have 1 to 256 entries", packed, "table")
    patterns = as_bits(table)
    powers = bool(((patterns & np.uint32(0x807FFFFF)) == 0).all())
    require(powers and bool((_biased(patterns) > 0).all()), "must hold powers of two", packed, "table")
    require(bool((_biased(patterns) <= 254 - 23).all()), "an exponent is out of range", packed, "table")
    require(bool((patterns[1:] > patterns[:-1]).all()), "must ascend", packed, "table")
