"""Hostile inputs, part B: sparse components that break a rule of their format."""

from __future__ import annotations

import numpy as np
import pytest

from sparse_export import formats
from sparse_export.errors import CorruptFileError
from sparse_export.formats import Packed


def csr(indptr, gaps, values, shape=(2, 3)) -> Packed:
    components = {
        "indptr": np.array(indptr, np.uint16),
        "gaps": np.array(gaps, np.uint8),
        "values": np.array(values, np.float32),
    }
    return Packed("csr", 1, shape, np.dtype(np.float32), components)


def replaced(packed: Packed, **components) -> Packed:
    return Packed(
        packed.format, packed.version, packed.shape, packed.dtype, {**packed.components, **components}
    )


def example(name: str, label: str) -> Packed:
    fmt = formats.get(name)
    return fmt.pack(dict(fmt.examples())[label])


def refused(packed: Packed, match: str) -> None:
    with pytest.raises(CorruptFileError, match=match):
        formats.get(packed.format).unpack(packed, max_bytes=1 << 20)


def test_h27_rejects_indptr_that_does_not_start_at_zero() -> None:
    refused(csr([1, 1, 2], [0, 0], [1, 2]), "must start at 0")


def test_h28_rejects_indptr_that_decreases() -> None:
    refused(csr([0, 3, 2], [0, 0], [1, 2]), "must not decrease")


def test_h29_rejects_indptr_that_does_not_end_at_the_entries() -> None:
    refused(csr([0, 1, 1], [0, 0], [1, 2]), "must end at the 2 entries")


def test_h30_rejects_wrong_lengths() -> None:
    refused(csr([0, 2], [0, 0], [1, 2]), r"rows \+ 1 = 3")
    refused(csr([0, 1, 2], [0, 0], [1]), "as long as gaps")


def test_h31_rejects_column_outside_the_row() -> None:
    refused(csr([0, 1, 2], [0, 3], [1, 2]), "outside the row of 3")


def test_h31_h45_gaps_that_would_wrap_an_integer_are_outside_the_row() -> None:
    packed = csr([0, 2, 2], [0, 0], [1, 2])
    refused(replaced(packed, gaps=np.array([0xFFFFFFFF, 0xFFFFFFFF], np.uint32)), "outside the row")
    many = replaced(
        csr([0, 0, 0], [], []),
        indptr=np.array([0, 70000, 70000], np.uint32),
        gaps=np.full(70000, 0xFFFFFFFF, np.uint32),
        values=np.zeros(70000, np.float32),
    )
    refused(many, "outside the row")


def test_h32_h33_gaps_cannot_express_duplicate_or_unsorted_columns() -> None:
    dense = formats.get("csr").unpack(csr([0, 3, 3], [0, 0, 0], [1, 2, 3]))
    assert dense.tolist() == [[1, 2, 3], [0, 0, 0]]


def test_h34_rejects_entries_promised_by_indptr_that_are_not_there() -> None:
    refused(csr([0, 9, 9], [], []), "must end at the 0 entries")


def test_h35_refuses_a_huge_dense_size_from_a_small_file() -> None:
    refused(csr([0, 0, 0], [], [], shape=(2, 1 << 40)), "dense size")
    refused(csr([0, 0, 0], [], [], shape=(1 << 47, 1 << 47)), "dense size")
    for name, label in (("bitmask", "all-zero"), ("codebook", "one-value"), ("bitpack", "per-tensor")):
        packed = example(name, label)
        refused(Packed(name, 1, (1 << 30, 1 << 30), packed.dtype, packed.components), "dense size")


def test_h36_rejects_index_dtypes_of_another_kind() -> None:
    packed = csr([0, 1, 2], [0, 0], [1, 2])
    refused(replaced(packed, indptr=np.array([0, 1, 2], np.int64)), "uint16, uint32 or uint64")
    refused(replaced(packed, gaps=np.array([0, 0], np.int32)), "uint8, uint16 or uint32")


def test_h37_nan_infinity_and_denormal_values_are_kept() -> None:
    values = np.array([0x7F800001, 0xFF800000, 1, 0x80000000], np.uint32).view(np.float32)
    packed = csr([0, 2, 4], [0, 0, 0, 0], values)
    dense = formats.get("csr").unpack(packed)
    assert dense.view(np.uint32)[:, :2].ravel().tolist() == values.view(np.uint32).tolist()


def test_h38_rejects_block_sizes_that_do_not_fit() -> None:
    packed = example("bsr", "plain")
    refused(replaced(packed, values=np.zeros((1, 0, 4), np.float32)), "block 0x4")
    refused(replaced(packed, values=np.zeros((1, 65, 1), np.float32)), "block 65x1")
    refused(replaced(packed, values=np.zeros((1, 3, 1), np.float32)), "indptr")


def test_h38_rejects_values_in_a_block_outside_the_matrix() -> None:
    packed = formats.get("bsr").pack(np.ones((5, 2), np.float32))
    values = packed.components["values"].copy()
    values[-1, -1, -1] = 1
    assert values.shape[1] * len(packed.components["indptr"][1:]) > 5
    refused(replaced(packed, values=values), "outside the matrix")


def test_h39_rejects_places_that_do_not_ascend_in_a_group() -> None:
    packed = example("nm", "two-of-four")
    refused(replaced(packed, places=np.array([0b0000_0101], np.uint8)), "ascend")


def test_h39_rejects_a_value_outside_the_channels() -> None:
    packed = example("nm", "conv-tail")
    values = packed.components["values"]
    places = packed.components["places"].copy()
    places[-1] = 0b11 << 6 if values.size % 4 == 0 else 0b11 << (2 * (values.size % 4 - 1))
    full = np.ones_like(values)
    refused(replaced(packed, values=full, places=places), "ascend|outside the channels")


def test_h40_rejects_a_mask_with_another_number_of_bits_than_values() -> None:
    packed = example("bitmask", "plain")
    refused(replaced(packed, mask=np.array([0b001101], np.uint8)), "3 bits set for 2 values")


@pytest.mark.parametrize(
    ("name", "label", "component", "last"),
    [
        ("bitmask", "plain", "mask", 0b1100_0000),
        ("bitpack", "per-tensor", "bits", 0b1000_0010),
        ("ternary", "per-tensor", "trits", 27),
        ("codebook", "plain", "indices", 0x80),
        ("palette", "plain", "indices", 0x80),
        ("nm", "one-of-four", "places", 0x80),
    ],
)
def test_h41_rejects_padding_that_is_not_zero(name: str, label: str, component: str, last: int) -> None:
    packed = example(name, label)
    array = packed.components[component].copy()
    array.flat[-1] |= last
    refused(replaced(packed, **{component: array}), "padding|bits set")


@pytest.mark.parametrize("name", ["bitpack", "ternary"])
@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, np.nan, np.inf])
def test_h42_rejects_scales_that_are_not_positive_and_finite(name: str, scale: float) -> None:
    packed = example(name, "per-tensor")
    refused(replaced(packed, scales=np.array([scale], np.float32)), "finite and positive")


@pytest.mark.parametrize("width", [0, 9, 255])
def test_h43_rejects_impossible_bit_widths(width: int) -> None:
    packed = example("codebook", "plain")
    refused(replaced(packed, indices=np.zeros((width, 1), np.uint8)), "must have shape")


@pytest.mark.parametrize("name", ["codebook", "palette"])
def test_h44_rejects_an_index_outside_the_table(name: str) -> None:
    fmt = formats.get(name)
    packed = fmt.pack(np.array([[1, 2, 3, 1]], np.float32))
    planes = np.full_like(packed.components["indices"], 0b1111)
    refused(replaced(packed, indices=planes), "index 3 is outside the table of 3")


def test_h44_rejects_a_table_that_is_empty_too_long_or_unsorted() -> None:
    packed = example("codebook", "plain")
    refused(replaced(packed, table=np.zeros(0, np.float32)), "1 to 256 entries")
    refused(replaced(packed, table=np.arange(257, dtype=np.float32)), "1 to 256 entries")
    refused(replaced(packed, table=packed.components["table"][::-1].copy()), "ascend")


def test_h44_rejects_a_byte_that_is_no_five_digits() -> None:
    packed = formats.get("ternary").pack(np.ones((1, 5), np.float32))
    refused(replaced(packed, trits=np.array([[243]], np.uint8)), "over 242")
