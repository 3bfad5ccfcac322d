"""Packed signs between 1-bit layers: what the operators accept, and that every decision is the float one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from sparse_export.runtime.session import InferenceSession

from .binary_builder import BinaryCase, pack_signs, pool_model, signs
from .builder import Array

WEIGHT = np.where(np.arange(8 * 3 * 9) % 3 == 0, -1, 1).reshape(8, 3, 3, 3).astype(np.float32)
X = np.full((1, 5, 5, 1), 5, np.uint8)


def create(weight: Array = WEIGHT, packed_y: bool = True, **attributes: Any) -> onnxruntime.InferenceSession:
    """A session of one layer on packed signs with these attributes replaced."""
    case = BinaryCase(weight, xnor=True, packed_x=True, packed_y=packed_y)
    return InferenceSession(case.model(None, case.attributes() | attributes).SerializeToString())


def pool(falling: int = 8, **changes: Any) -> onnxruntime.InferenceSession:
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]} | changes
    kept = {name: value for name, value in window.items() if value is not None}
    model = pool_model(np.zeros(falling, bool), kept)
    return InferenceSession(model.SerializeToString())


def test_a_layer_takes_and_gives_packed_signs() -> None:
    y = create().run(None, {"x": X})[0]
    assert y.shape == (1, 3, 3, 1) and y.dtype == np.uint8


@pytest.mark.parametrize("packed_y", [False, True])
def test_the_bits_past_the_last_channel_are_ignored(packed_y: bool) -> None:
    layer = create(packed_y=packed_y)
    np.testing.assert_array_equal(layer.run(None, {"x": X})[0], layer.run(None, {"x": X | 0xF8})[0])
    rows = create(WEIGHT.reshape(8, 27), packed_y=packed_y)
    x = np.array([[1, 2, 3, 4]], np.uint8)
    np.testing.assert_array_equal(
        rows.run(None, {"x": x})[0], rows.run(None, {"x": x | np.uint8([0, 0, 0, 248])})[0]
    )


@pytest.mark.parametrize("shape", [(5, 5, 1), (1, 5, 5, 2), (1, 2, 5, 1), (1, 5, 5, 0), (1, 5, 5, 1, 1)])
def test_h53_wrong_packed_input(shape: tuple[int, ...]) -> None:
    with pytest.raises(Exception, match="input 'X'"):
        create().run(None, {"x": np.ones(shape, np.uint8)})


@pytest.mark.parametrize("shape", [(2, 3), (2, 5), (4, 0), ()])
def test_h53_wrong_packed_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(Exception, match="input 'X': the last dimension"):
        create(WEIGHT.reshape(8, 27)).run(None, {"x": np.ones(shape, np.uint8)})


def test_h53_floats_are_no_packed_signs() -> None:
    with pytest.raises(Exception, match="uint8"):
        create().run(None, {"x": X.astype(np.float32)})


@pytest.mark.parametrize("packed_y", [False, True])
def test_an_empty_batch_stays_empty(packed_y: bool) -> None:
    y = create(packed_y=packed_y).run(None, {"x": X[:0]})[0]
    assert y.shape == ((0, 3, 3, 1) if packed_y else (0, 8, 3, 3))
    assert pool().run(None, {"x": X[:0]})[0].shape == (0, 2, 2, 1)


def test_h52_outputs_of_a_group_that_fill_no_byte_are_refused() -> None:
    with pytest.raises(Exception, match="multiple of 8 outputs for each group"):
        create(group=2)


def test_h52_packed_signs_of_a_1d_convolution_are_refused() -> None:
    with pytest.raises(Exception, match="two spatial dimensions"):
        create(shape=[8, 9, 3], strides=[1], pads=[0, 0], dilations=[1])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"kernel_shape": None}, "'kernel_shape' is missing"),
        ({"kernel_shape": [2]}, "'kernel_shape' must have 2"),
        ({"kernel_shape": [2, 0]}, "'shape' must hold positive"),
        ({"kernel_shape": [2, 1 << 40]}, "'shape'"),
        ({"strides": [0, 1]}, "'strides' must be positive"),
        ({"strides": [1]}, "'strides' has the wrong length"),
        ({"pads": [0, 2, 0, 0]}, "'pads' must be smaller than the window"),
        ({"pads": [0, 0, -1, 0]}, "'pads' must not be negative"),
        ({"pads": None}, "'pads' is missing"),
    ],
)
def test_h52_wrong_window_of_a_pooling(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(Exception, match=rule):
        pool(**changes)


@pytest.mark.parametrize("shape", [(5, 5, 1), (1, 5, 5, 2), (1, 1, 5, 1)])
def test_h53_wrong_input_of_a_pooling(shape: tuple[int, ...]) -> None:
    with pytest.raises(Exception, match="input 'X'"):
        pool().run(None, {"x": np.ones(shape, np.uint8)})


@pytest.mark.parametrize("layer", ["Conv", "MatMul"])
def test_signs_are_those_of_the_float_result(rng: np.random.Generator, layer: str) -> None:
    weight = signs(rng.standard_normal((70, 33, 3, 3) if layer == "Conv" else (70, 300)))
    case = BinaryCase(weight, xnor=True, packed_x=True, packed_y=True)
    # Scales from denormal to nearly infinite, and biases that bring some sums to exactly zero.
    exponents = rng.integers(-140, 120, 70).astype(np.float32)
    case.scale = (rng.choice([-1, 1], 70) * np.exp2(exponents)).astype(np.float32)
    case.bias = (case.scale * rng.integers(-9, 10, 70)).astype(np.float32)
    x = rng.standard_normal((2, 33, 9, 9) if layer == "Conv" else (50, 300)).astype(np.float32)
    expected = pack_signs(case.exact(x), layer == "Conv")
    x = pack_signs(x, layer == "Conv")
    y = InferenceSession(case.model().SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(("channels", "size", "outputs"), [(64, 28, 96), (512, 2, 512), (256, 14, 256)])
def test_larger_layers_agree_on_any_number_of_threads(
    rng: np.random.Generator, channels: int, size: int, outputs: int
) -> None:
    case = BinaryCase(signs(rng.standard_normal((outputs, channels, 3, 3))), pads=(1, 1, 1, 1), xnor=True)
    case.packed_x = case.packed_y = True
    x = rng.standard_normal((2, channels, size, size)).astype(np.float32)
    model = case.model().SerializeToString()
    expected = pack_signs(case.exact(x), True)
    for threads in (1, 2):
        y = InferenceSession(model, threads=threads).run(None, {"x": pack_signs(x, True)})[0]
        np.testing.assert_array_equal(y, expected)
