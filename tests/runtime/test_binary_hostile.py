"""A model that breaks a rule of the 1-bit operators gets an error that names the rule, never a wild read.

Items 30, 41, 42, 52 and 53 of the list of hostile inputs: lengths, padding bits, scales, attributes, tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from sparse_export.runtime.session import InferenceSession

from .binary_builder import BinaryCase, pack_bits
from .builder import Array

WEIGHT = np.where(np.arange(4 * 27) % 3 == 0, -1, 1).reshape(4, 3, 3, 3).astype(np.float32)
MATRIX = WEIGHT.reshape(4, 27)
X = np.ones((1, 3, 5, 5), np.float32)


def create(
    components: dict[str, Array] | None = None, weight: Array = WEIGHT, xnor: bool = False, **attributes: Any
) -> onnxruntime.InferenceSession:
    """A session with these parts replaced; an attribute of None is left out."""
    case = BinaryCase(weight, xnor=xnor)
    kept = {k: v for k, v in (case.attributes() | attributes).items() if v is not None}
    return InferenceSession(case.model(components, kept).SerializeToString())


def refuse(rule: str, components: dict[str, Array] | None = None, **attributes: Any) -> None:
    """Both operators refuse, naming the rule and themselves."""
    for xnor, name in ((False, "BinaryWeightConv"), (True, "XnorConv")):
        with pytest.raises(Exception, match=rule) as caught:
            create(components, xnor=xnor, **attributes)
        assert name in str(caught.value)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


@pytest.mark.parametrize("xnor", [False, True])
def test_the_untouched_model_runs(xnor: bool) -> None:
    assert create(xnor=xnor).run(None, {"x": X})[0].shape == (1, 4, 3, 3)


def test_h30_bits_too_short() -> None:
    refuse("'bits' must have shape", {"bits": pack_bits(WEIGHT)[:, :-1]})


def test_h30_bits_too_long() -> None:
    refuse("'bits' must have shape", {"bits": np.pad(pack_bits(WEIGHT), ((0, 0), (0, 1)))})


def test_h30_bits_with_a_row_missing() -> None:
    refuse("'bits' must have shape", {"bits": pack_bits(WEIGHT)[:-1]})


def test_h30_bits_of_wrong_rank() -> None:
    refuse("'bits' must have shape", {"bits": pack_bits(WEIGHT).reshape(-1)})


def test_h30_bits_of_wrong_type() -> None:
    refuse("'bits' must be uint8", {"bits": pack_bits(WEIGHT).astype(np.int8)})


@pytest.mark.parametrize("bit", range(3, 8))
@pytest.mark.parametrize("row", [0, 3])
def test_h41_padding_bit_set(row: int, bit: int) -> None:
    bits = pack_bits(WEIGHT)
    bits[row, -1] |= 1 << bit
    refuse("padding bits must be zero", {"bits": bits})


@pytest.mark.parametrize("value", [0.0, -0.0, float("nan"), float("inf"), -float("inf")])
def test_h42_scale_zero_or_not_finite(value: float) -> None:
    refuse("'scale' must be finite and not zero", {"scale": floats(1, 1, 1, value)})


def test_h42_a_negative_scale_is_a_folded_normalisation() -> None:
    assert np.isfinite(create({"scale": floats(-1, -1, 1, 1)}).run(None, {"x": X})[0]).all()


def test_h42_scale_of_wrong_length() -> None:
    refuse("'scale' must be float32 with one entry for each output", {"scale": floats(1, 1, 1)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_h42_bias_not_finite(value: float) -> None:
    refuse("'bias' must be finite", {"bias": floats(0, 0, value, 0)})


@pytest.mark.parametrize(
    "shape", [[4, 3, 3], [4, 27], [4, 3, 3, 3, 1], [4, 0, 3, 3], [-4, 3, 3, 3], [4, 2**31, 1, 1]]
)
def test_h52_wrong_shape(shape: list[int]) -> None:
    refuse("'shape'|'strides'|'bits'", shape=shape)


@pytest.mark.parametrize("name", ["shape", "strides", "pads", "dilations", "group"])
def test_h52_missing_attribute(name: str) -> None:
    refuse(f"attribute '{name}' is missing", **{name: None})


@pytest.mark.parametrize("shape", [(3, 5, 5), (1, 4, 5, 5), (1, 3, 2, 2), (1, 3, 5, 5, 1)])
@pytest.mark.parametrize("xnor", [False, True])
def test_h53_wrong_input(shape: tuple[int, ...], xnor: bool) -> None:
    with pytest.raises(Exception, match="input 'X'"):
        create(xnor=xnor).run(None, {"x": np.ones(shape, np.float32)})


@pytest.mark.parametrize("xnor", [False, True])
def test_h53_wrong_columns_of_a_product(xnor: bool) -> None:
    with pytest.raises(Exception, match="last dimension"):
        create(weight=MATRIX, xnor=xnor).run(None, {"x": np.ones((2, 26), np.float32)})


@pytest.mark.parametrize("xnor", [False, True])
def test_h53_an_empty_batch_gives_an_empty_output(xnor: bool) -> None:
    assert create(xnor=xnor).run(None, {"x": X[:0]})[0].shape == (0, 4, 3, 3)
    assert create(weight=MATRIX, xnor=xnor).run(None, {"x": np.ones((0, 27), np.float32)})[0].shape == (0, 4)


@pytest.mark.parametrize("xnor", [False, True])
def test_h52_far_taps_of_a_huge_dilation_need_no_huge_memory(xnor: bool) -> None:
    far = {"dilations": (1 << 18, 1 << 18), "pads": (1 << 18, 1 << 18, 1 << 18, 1 << 18)}
    y = create(xnor=xnor, **far).run(None, {"x": X})[0]
    reference = (WEIGHT[:, :, 1, 1].sum(1) * np.linspace(0.5, 1.5, 4) + np.linspace(-1, 1, 4)).reshape(
        4, 1, 1
    )
    assert y.shape == (1, 4, 5, 5) and np.allclose(y[0], reference, atol=1e-6)
