"""The ONNX decode of every format, as stock onnxruntime runs it inside a model-local function."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

from sparse_export import formats
from sparse_export.exporter.rewrite.functions import IN_ROUNDS, LATER, NO_SCALE, SIZES
from sparse_export.formats.base import Array, matrix_shape

DECODABLE = [fmt.name for fmt in formats.all_formats() if fmt.operator]

#: What is put behind the decode of a format that gives entries and their positions.
PLACE = """
    blank = ConstantOfShape <value = float[1] {0.0}> (size)
    dense = ScatterElements (blank, position, entries)
"""


def decode_in_onnxruntime(fmt: formats.Format, packed: formats.Packed, parts: int = 1) -> Array:
    """What a decode in so many parts computes, times the scale component, as a matrix."""
    rows, cols = matrix_shape(packed.shape)
    inputs = ", ".join(fmt.operator_inputs)
    place = PLACE if fmt.operator_entries else ""
    body = f"{SIZES} {IN_ROUNDS if parts > 1 else LATER} {NO_SCALE} {fmt.operator_text(parts)} {place}"
    text = f"""<ir_version: 8, opset_import: ["" : 18, "t" : 1]>
    g () => (float[N] dense) {{ dense = t.Decode <shape = {list(packed.shape)}> ({inputs}) }}
    <domain: "t", opset_import: ["" : 18]>
    Decode <shape> ({inputs}) => (dense) {{ {body} }}"""
    model = onnx.parser.parse_model(text)
    for name in fmt.operator_inputs:
        array = packed.components[name]
        if array.dtype.kind == "V":
            tensor = onnx.helper.make_tensor(
                name, onnx.TensorProto.BFLOAT16, array.shape, array.tobytes(), raw=True
            )
        else:
            tensor = onnx.numpy_helper.from_array(array, name)
        model.graph.initializer.append(tensor)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    dense = session.run(None, {})[0].reshape(rows, cols)
    if fmt.scale_component:
        dense = dense * packed.components[fmt.scale_component].astype(np.float32)[:, None]
    return dense


@pytest.mark.parametrize("name", DECODABLE)
def test_onnxruntime_decodes_what_was_packed(name: str) -> None:
    fmt = formats.get(name)
    for label, array in fmt.examples():
        if array.dtype.kind not in "fV" or array.dtype.itemsize > 4 or not array.ndim:
            continue
        dense = decode_in_onnxruntime(fmt, fmt.pack(array))
        expected = array.astype(np.float32).reshape(dense.shape)
        np.testing.assert_array_equal(dense, expected, err_msg=label)


@pytest.mark.parametrize("name", DECODABLE)
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (6, 5, 3, 3), (5, 4, 3)])
def test_onnxruntime_decodes_random_patterns(name: str, shape: tuple[int, ...]) -> None:
    fmt = formats.get(name)
    rng = np.random.default_rng(len(shape))
    array = rng.choice([-0.5, 0.5], shape).astype(np.float32)
    if name != "bitpack":
        array[rng.random(shape) >= 0.3] = 0
    if name == "nm":
        array = np.zeros(shape, np.float32)
        array[:, ::4] = rng.standard_normal(array[:, ::4].shape)
    if name == "palette":
        array.flat[0] = 0.5
    if not fmt.applies_to(formats.TensorStats(array)):
        pytest.skip("too dense a tensor for the format")
    dense = decode_in_onnxruntime(fmt, fmt.pack(array))
    np.testing.assert_array_equal(dense, array.reshape(dense.shape))


def test_split_decodes_every_exponent_and_sign() -> None:
    patterns = (np.arange(24, 255, dtype=np.uint32) << np.uint32(23)) | np.uint32(0x5A5A5A)
    array = np.stack([patterns, patterns | np.uint32(1 << 31), patterns * np.uint32(0)]).view(np.float32)
    packed = formats.get("split").pack(array)
    assert packed.components["table"].size == 231
    dense = decode_in_onnxruntime(formats.get("split"), packed)
    np.testing.assert_array_equal(dense.view(np.uint32), array.view(np.uint32))


IN_PARTS = [
    fmt.name for fmt in formats.all_formats() if fmt.operator and fmt.operator_text(2) != fmt.operator_text(1)
]


def test_formats_with_gaps_over_the_tensor_decode_in_parts() -> None:
    assert set(IN_PARTS) == {"tight", "split", "palette", "signgaps"}


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("name", IN_PARTS)
def test_onnxruntime_decodes_in_parts_what_was_packed(name: str, parts: int) -> None:
    fmt = formats.get(name)
    rng = np.random.default_rng(parts)
    # The second half has no entry for longer than a part, the first none at its beginning.
    array = rng.choice([-0.5, 0.5], (40, 250)).astype(np.float32)
    array[rng.random(array.shape) >= 0.3] = 0
    array[0] = array[20:] = 0
    array[39, 248] = 0.5
    single = np.zeros((40, 250), np.float32)
    single[39, 248] = 0.5
    for one in (array, single):
        np.testing.assert_array_equal(decode_in_onnxruntime(fmt, fmt.pack(one), parts), one)


@pytest.mark.parametrize("name", IN_PARTS)
def test_large_weights_are_decoded_in_parts_and_small_ones_never(name: str) -> None:
    fmt = formats.get(name)
    for columns, parts in ((8, 0), (1 << 10, 1), (1 << 20, 3), (1 << 28, 64)):
        packed = fmt.pack(np.array([[0, 0.5, 0, -0.5]], np.float32))
        packed.components["gaps"] = np.broadcast_to(np.uint8(0), (2, columns))
        assert fmt.operator_parts(packed) == parts
