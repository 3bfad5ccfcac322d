"""Quantized operators: what they refuse, and how far stock onnxruntime's quantized layers are from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sparse_export.runtime.session import InferenceSession

from .layers import CONVOLUTIONS, PRODUCTS, Shape
from .quantized import QuantizedLayer
from .tables import OPERATORS, SUPPORTED

Array = NDArray[Any]
F32 = np.float32


def layer_of(name: str, shape: Shape = CONVOLUTIONS[0], signed: bool = False) -> QuantizedLayer:
    operator = next(operator for operator in OPERATORS if operator.name == name)
    return QuantizedLayer(operator, shape, np.random.default_rng(3), signed)


def refusal(layer: QuantizedLayer, **replaced: Array) -> str:
    with pytest.raises(Exception) as caught:
        InferenceSession(layer.model(**replaced))
    return str(caught.value)


SCALES = ("x_scale", "w_scale", "y_scale", "z_scale", "s_scale")
#: The same layer summed as integers and in floats.
SUMS = ("SparseQConvAdd", "SparseFConvAdd")


@pytest.mark.parametrize("value", [0.0, -0.5, np.inf, np.nan])
@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("operator", SUMS)
def test_refuses_a_scale_that_is_not_positive_and_finite(operator: str, name: str, value: float) -> None:
    scale = np.full(8 if name == "w_scale" else 1, 0.01, F32)
    scale[-1] = value
    assert f"input '{name}'" in refusal(layer_of(operator), **{name: scale})


@pytest.mark.parametrize("name", SCALES)
def test_refuses_several_scales_of_one_tensor(name: str) -> None:
    assert f"input '{name}'" in refusal(layer_of("SparseQConvAdd"), **{name: np.full(9, 0.01, F32)})


@pytest.mark.parametrize("name", ["x_zero", "y_zero", "z_zero", "s_zero"])
def test_refuses_a_zero_point_of_another_type_or_shape(name: str) -> None:
    layer = layer_of("SparseQConvAdd")
    for zero in (np.int32(3), np.zeros(2, np.uint8), np.float32(0)):
        assert f"input '{name}'" in refusal(layer, **{name: np.asarray(zero)})


@pytest.mark.parametrize("name", ["y_zero", "s_zero"])
def test_refuses_an_output_that_is_not_uint8(name: str) -> None:
    assert f"input '{name}' must be uint8" in refusal(
        layer_of("SparseQConvAdd"), **{name: np.array(np.int8(1))}
    )


def test_refuses_scales_too_far_apart() -> None:
    huge, tiny = np.full(8, 3e38, F32), np.array(1e-38, F32)
    assert "too far apart" in refusal(layer_of("SparseQConv"), w_scale=huge, y_scale=tiny)
    assert "too far apart" in refusal(layer_of("SparseQConvAdd"), s_scale=tiny)


def test_refuses_a_bias_of_another_type_or_length() -> None:
    layer = layer_of("SparseQMatMulFloat", PRODUCTS[1])
    for bias in (np.zeros(64, F32), np.zeros(63, np.int32), np.zeros((64, 1), np.int32)):
        assert "bias" in refusal(layer, bias=bias)


@pytest.mark.parametrize("operator", SUMS)
def test_refuses_weights_that_are_not_int8(operator: str) -> None:
    layer = layer_of(operator)
    assert "int8" in refusal(layer, values=layer.components["values"].astype(F32))


def test_refuses_activations_of_another_type_than_their_zero_point() -> None:
    layer = layer_of("SparseQConvAdd")
    session = InferenceSession(layer.model(x_zero=np.array(np.int8(0)), z_zero=np.array(np.int8(0))))
    with pytest.raises(Exception, match="'X' must be int8"):
        session.run(None, layer.feeds)


#: A row of X, a few, many; a window on a map that is wide enough to be cut into strips.
FAR = [Shape((9, 3000), batch=(rows,)) for rows in (1, 3, 40)] + [Shape((9, 300, 3, 3), (8, 9), pad=1)]


@pytest.mark.parametrize("shape", FAR, ids=str)
@pytest.mark.parametrize("bias", [0, 2**31 - 1])
def test_sums_in_floats_are_exact_where_float32_does_not_hold_them(shape: Shape, bias: int) -> None:
    layer_kind = "MatMul" if len(shape.weight) == 2 else "Conv"
    rng = np.random.default_rng(5)
    rows, columns = shape.weight[0], int(np.prod(shape.weight[1:]))
    values = rng.integers(-128, 128, (rows, columns)).astype(np.int8)
    values[::3] = 127  # the largest sums that there are, of both signs
    values[1::3] = -128
    parts: dict[str, Array] = {
        "indptr": np.arange(rows + 1, dtype=np.uint32) * np.uint32(columns),
        "gaps": np.zeros(values.size, np.uint8),
        "values": values.reshape(-1),
        "bias": np.full(rows, bias, np.int32),
    }
    found = []
    for letter in "QF":
        layer = layer_of(f"Sparse{letter}{layer_kind}Float", shape)
        x = np.full_like(layer.feeds["x"], 255)
        x.reshape(-1)[::7] = 254
        found.append(InferenceSession(layer.model(**parts), packed="all").run(None, {"x": x})[0])
    assert np.abs(values.astype(np.int64).sum(1)).max() * 254 > 2**24
    np.testing.assert_array_equal(found[0], found[1])


def qdq_model(layer: QuantizedLayer, weight: Array) -> bytes:
    """The same layer as every quantizer writes it, residual included."""
    parts = layer.before | layer.after | layer.last
    inits = {name: parts[name] for name in parts if name not in ("w_scale", "bias")} | {
        "w": weight, "w_scale": parts["w_scale"], "w_zero": np.zeros(len(weight), np.int8),
        "b": parts["bias"], "b_scale": parts["w_scale"] * parts["x_scale"],
        "b_zero": np.zeros(len(weight), np.int32),
    }  # fmt: skip

    def real(name: str, quantum: str, **axis: int) -> Any:
        names = [name, f"{quantum}_scale", f"{quantum}_zero"]
        return helper.make_node("DequantizeLinear", names, [f"{name}_real"], **axis)

    def quantized(name: str, quantum: str, output: str) -> Any:
        return helper.make_node("QuantizeLinear", [name, f"{quantum}_scale", f"{quantum}_zero"], [output])

    window = {"strides": [layer.shape.stride] * 2, "pads": [layer.shape.pad] * 4, "group": layer.shape.group}
    nodes = [real("x", "x"), real("w", "w", axis=0), real("b", "b", axis=0)]
    nodes.append(helper.make_node("Conv", ["x_real", "w_real", "b_real"], ["conv"], **window))
    nodes.append(quantized("conv", "y", "y"))
    output = "y"
    if "z" in layer.feeds:
        nodes += [real("y", "y"), real("z", "z"), helper.make_node("Add", ["y_real", "z_real"], ["sum"])]
        nodes.append(quantized("sum", "s", "s"))
        output = "s"
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in layer.feeds.items()
    ]
    result = helper.make_tensor_value_info(output, TensorProto.UINT8, None)
    stored = [numpy_helper.from_array(np.asarray(part), name) for name, part in inits.items()]
    graph = helper.make_graph(nodes, "qdq", infos, [result], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.skipif(
    "avx512vnni" not in SUPPORTED, reason="stock sums of uint8 and int8 saturate without VNNI"
)
@pytest.mark.parametrize("name", ["SparseQConv", "SparseQConvAdd"])
@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=str)
def test_is_within_one_quantum_of_stock_onnxruntime(name: str, shape: Shape) -> None:
    layer = layer_of(name, shape)
    mine = InferenceSession(layer.model()).run(None, layer.feeds)[0].astype(int)
    stock = onnxruntime.InferenceSession(qdq_model(layer, layer.weight)).run(None, layer.feeds)[0].astype(int)
    difference = np.abs(mine - stock)
    assert difference.max() <= 1
    assert np.mean(difference != 0) < 0.02  # ties, and products that round the other way


@pytest.mark.parametrize("batches", [(1, 40, 1, 3), (40, 1, 40)], ids=str)
@pytest.mark.parametrize("shape", [Shape((70, 200)), Shape((33, 515))], ids=str)
def test_gives_the_same_rows_whatever_number_of_them_came_first(
    shape: Shape, batches: tuple[int, ...]
) -> None:
    layer = layer_of("TightQMatMul", replace(shape, batch=(max(batches),)))
    session = InferenceSession(layer.model(), packed="all")
    for batch in batches:
        (found,) = session.run(None, {"x": layer.feeds["x"][:batch]})
        np.testing.assert_array_equal(found, layer.expected[:batch])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pad", [0, 1])
def test_computes_layers_of_more_weights_than_are_decoded_at_a_time(pad: int, threads: int) -> None:
    shape = Shape((520, 160, 2 * pad + 1, 2 * pad + 1), (11, 12), pad=pad)
    layer = layer_of("BitmaskQConvAdd", shape)
    session = InferenceSession(layer.model(), threads=threads, packed="all")
    np.testing.assert_array_equal(session.run(None, layer.feeds)[0], layer.expected)
