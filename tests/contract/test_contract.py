"""One suite for every format in the table: what formats/base.py promises."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given

from sparse_export import formats
from sparse_export.errors import CorruptFileError, UnsupportedError
from sparse_export.formats import Format, Packed, TensorStats
from sparse_export.formats.parts import packed_file

from . import cases

#: Formats whose gaps are bit planes (formats.narrow).
NARROW = ("tight", "split", "palette", "signgaps")
ALL = pytest.mark.parametrize("fmt", formats.all_formats(), ids=lambda fmt: fmt.name)


def check_round_trip(fmt: Format, array: np.ndarray) -> None:
    """Exact size before packing, valid components, bit-exact unpacking, and the same through a file."""
    stats = TensorStats(array)
    if not fmt.applies_to(stats):
        with pytest.raises(UnsupportedError):
            fmt.pack(array)
        return
    packed = fmt.pack(array, stats)
    assert packed.nbytes == fmt.nbytes(TensorStats(array))
    assert packed.shape == array.shape and packed.dtype == array.dtype
    fmt.check(packed)
    assert cases.same_bits(fmt.unpack(packed), array)
    reread = packed_file.load(packed_file.dump(packed))
    assert {name: c.tobytes() for name, c in reread.components.items()} == {
        name: c.tobytes() for name, c in packed.components.items()
    }
    assert cases.same_bits(fmt.unpack(reread), array)


@ALL
def test_examples_round_trip_and_have_distinct_names(fmt: Format) -> None:
    names = []
    for name, array in fmt.examples():
        assert fmt.applies_to(TensorStats(array)), name
        check_round_trip(fmt, array)
        names.append(name)
    assert len(set(names)) == len(names) >= 3


@ALL
@pytest.mark.parametrize("shape", cases.SHAPES.values(), ids=cases.SHAPES)
def test_every_shape_dtype_and_density_round_trips(fmt: Format, shape: tuple[int, ...], rng) -> None:
    for dtype in cases.DTYPES:
        for density in cases.DENSITIES:
            check_round_trip(fmt, cases.random_bits(rng, shape, dtype, density))
        if dtype.kind in "fV":
            for array in cases.structured(rng, shape, dtype):
                check_round_trip(fmt, array)


@ALL
def test_negative_zeros_nan_payloads_and_denormals_keep_their_bits(fmt: Format) -> None:
    bits = np.zeros((4, 12), np.uint32)
    bits[1, : len(cases.SPECIAL_BITS)] = cases.SPECIAL_BITS
    check_round_trip(fmt, bits.view(np.float32))
    pairs = np.zeros((8, 4), np.uint32)
    pairs[:, 2] = cases.SPECIAL_BITS
    check_round_trip(fmt, pairs.view(np.float32))


@ALL
def test_input_is_not_changed_and_need_not_be_contiguous(fmt: Format, rng) -> None:
    base = np.where(rng.random((12, 8)) < 0.5, np.float32(0.5), np.float32(-0.5))
    base[:, ::2] *= fmt.name in ("bitpack", "dense", "codebook")
    base += 0.0  # no -0.0: ternary does not hold it
    before = base.copy()
    for view in (base.T, base[::2], base[:, ::-1], np.asfortranarray(base)):
        check_round_trip(fmt, view)
    assert cases.same_bits(base, before)


@ALL
def test_refuses_to_expand_beyond_the_limit(fmt: Format) -> None:
    for _, array in fmt.examples():
        if array.nbytes > 1:
            with pytest.raises(CorruptFileError, match="over"):
                fmt.unpack(fmt.pack(array), max_bytes=array.nbytes - 1)


@ALL
def test_check_rejects_every_header_that_is_not_its_own(fmt: Format) -> None:
    for _, array in fmt.examples():
        good = fmt.pack(array)
        parts = dict(good.components)
        first = next(iter(parts))
        broken = [
            Packed("other", 1, good.shape, good.dtype, parts),
            Packed(fmt.name, fmt.version + 1, good.shape, good.dtype, parts),
            Packed(fmt.name, 1, (1,) * 9, good.dtype, parts),
            Packed(fmt.name, 1, (-1, 5), good.dtype, parts),
            Packed(fmt.name, 1, (True, 5), good.dtype, parts),
            Packed(fmt.name, 1, (1 << 47, 1 << 47), good.dtype, parts),
            Packed(fmt.name, 1, good.shape, np.dtype("S3"), parts),
            Packed(fmt.name, 1, good.shape, np.dtype(np.complex64), parts),
            Packed(fmt.name, 1, good.shape, good.dtype, {}),
            Packed(fmt.name, 1, good.shape, good.dtype, parts | {"extra": np.zeros(1)}),
            Packed(fmt.name, 1, good.shape, good.dtype, {n: c for n, c in parts.items() if n != first}),
        ]
        for packed in broken:
            with pytest.raises(CorruptFileError):
                fmt.check(packed)


@ALL
def test_check_rejects_components_of_a_wrong_dtype_rank_or_length(fmt: Format) -> None:
    for _, array in fmt.examples():
        good = fmt.pack(array)
        for name, component in good.components.items():
            if name == "gaps" and fmt.name in NARROW:
                continue  # fewer planes are narrower gaps: valid, of another tensor
            for wrong in (
                component.astype(np.complex64),
                component.reshape(1, *component.shape),
                np.concatenate([component, component, np.ones((2, *component.shape[1:]), component.dtype)]),
                *([component[:-1]] if component.shape[0] else []),
                component.view(f"i{component.dtype.itemsize}")
                if component.dtype.kind != "i"
                else component * 1.0,
            ):
                packed = Packed(fmt.name, 1, good.shape, good.dtype, {**good.components, name: wrong})
                with pytest.raises(CorruptFileError):
                    fmt.unpack(packed)


@ALL
@hypothesis.settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(array=cases.arrays())
def test_any_array_round_trips(fmt: Format, array: np.ndarray) -> None:
    check_round_trip(fmt, array)
