"""Lossy values: zeros stay zero, errors stay within the encoding's step."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from sparse_export.errors import InputError, UnsupportedError
from sparse_export.exporter.plan import values

SPECS = ["fp16", "bf16", "int8", "codebook:16", "codebook:255"]


@pytest.fixture
def weight(rng) -> np.ndarray:
    dense = rng.standard_normal((16, 8, 3, 3)).astype(np.float32) * 0.1
    dense[rng.random(dense.shape) < 0.9] = 0
    dense[3] = 0
    return dense


def test_doctest() -> None:
    assert doctest.testmod(values).failed == 0


@pytest.mark.parametrize("spec", SPECS)
def test_zeros_stay_positive_zeros_and_shape_stays(weight: np.ndarray, spec: str) -> None:
    encoded = values.encode(weight, values.parse(spec))
    decoded = encoded.decode()
    assert decoded.shape == weight.shape
    assert not decoded[weight == 0].view(np.uint32).any()
    assert encoded.max_error == pytest.approx(float(np.abs(decoded - weight).max()))


@pytest.mark.parametrize(
    ("spec", "relative"), [("fp16", 2**-11), ("bf16", 2**-8), ("int8", 1 / 253), ("codebook:255", 0.02)]
)
def test_errors_are_within_the_step(weight: np.ndarray, spec: str, relative: float) -> None:
    assert values.encode(weight, values.parse(spec)).max_error <= relative * np.abs(weight).max()


def test_fp32_is_the_array_itself(weight: np.ndarray) -> None:
    encoded = values.encode(weight, values.parse("fp32"))
    assert encoded.array is weight and encoded.scale is None and encoded.max_error == 0


def test_int8_has_a_scale_for_every_row_and_full_range(weight: np.ndarray) -> None:
    encoded = values.encode(weight, values.parse("int8"))
    assert encoded.array.dtype == np.int8 and encoded.scale is not None
    assert encoded.scale.shape == (16,) and encoded.scale[3] == 1
    codes = np.abs(encoded.array.astype(int)).reshape(16, -1).max(axis=1)
    assert set(np.delete(codes, 3)) == {127}


def test_int8_keeps_rows_of_denormals_finite() -> None:
    tiny = np.array([[1e-45, -1e-45, 0]], np.float32)
    assert np.isfinite(values.encode(tiny, values.parse("int8")).decode()).all()


def test_codebook_has_at_most_n_values_near_the_weights(weight: np.ndarray) -> None:
    encoded = values.encode(weight, values.parse("codebook:8"))
    assert 2 <= np.unique(encoded.array[encoded.array != 0]).size <= 8
    assert np.count_nonzero(encoded.array) == np.count_nonzero(weight)


def test_codebook_keeps_few_values_exactly() -> None:
    weight = np.array([[0, 1.5, -2, 1.5]], np.float32)
    assert values.encode(weight, values.parse("codebook:4")).array.tolist() == weight.tolist()


@pytest.mark.parametrize("text", ["", "int4", "codebook", "codebook:", "codebook:1", "codebook:256", "fp32 "])
def test_rejects_unknown_encodings(text: str) -> None:
    with pytest.raises(InputError):
        values.parse(text)


@pytest.mark.parametrize("bad", [np.inf, 1e38])
def test_rejects_values_the_encoding_cannot_hold(bad: float) -> None:
    with pytest.raises(UnsupportedError):
        values.encode(np.array([[bad, 1]], np.float32), values.parse("fp16"))
