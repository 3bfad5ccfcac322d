"""Models of operators of integers (QLinearConv and its kin) are packed like those in QDQ form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat

import sparse_export
from sparse_export.exporter.graph.normalize import normalize
from tests.onnx_models import model, pruned, residual_net

from .quantizing import quantized
from .test_producers import operators


def every_operator(rng: np.random.Generator) -> onnx.ModelProto:
    """A net of all that the quantizer has an operator of integers for."""
    constants = {
        "a": pruned(rng, 32, 16, 3, 3),
        "b": pruned(rng, 32, 32, 3, 3),
        "d": pruned(rng, 64, 64, 1, 1),
        "gate": pruned(rng, 64, 64),
        "fc": pruned(rng, 200, 64),
        "fc.bias": rng.standard_normal(200).astype(np.float32),
        "mm": pruned(rng, 200, 96),
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Conv", ["X", "a"], ["a1"], pads=[1] * 4),
        helper.make_node("Relu", ["a1"], ["a2"]),
        helper.make_node("Conv", ["a2", "b"], ["b1"], pads=[1] * 4),
        helper.make_node("Add", ["b1", "a2"], ["b2"]),
        helper.make_node("MaxPool", ["b2"], ["c1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("AveragePool", ["b2"], ["c2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Concat", ["c1", "c2"], ["c3"], axis=1),
        helper.make_node("Conv", ["c3", "d"], ["d1"]),
        helper.make_node("LeakyRelu", ["d1"], ["d2"]),
        helper.make_node("GlobalAveragePool", ["d2"], ["e1"]),
        helper.make_node("Flatten", ["e1"], ["e2"]),
        helper.make_node("Gemm", ["e2", "gate"], ["e3"]),
        helper.make_node("Sigmoid", ["e3"], ["e4"]),
        helper.make_node("Unsqueeze", ["e4", "axes"], ["e5"]),
        helper.make_node("Mul", ["d2", "e5"], ["f1"]),
        helper.make_node("GlobalAveragePool", ["f1"], ["f2"]),
        helper.make_node("Flatten", ["f2"], ["f3"]),
        helper.make_node("Gemm", ["f3", "fc", "fc.bias"], ["f4"], transB=1),
        helper.make_node("MatMul", ["f4", "mm"], ["Y"]),
    ]
    return model(nodes, constants, ["n", 16, 12, 12], 2)


def by_operators(net: onnx.ModelProto, folder: Path, rng: np.random.Generator, **options: Any) -> Path:
    """The file of a model quantized to operators of integers."""
    return quantized(net, folder, rng, (2, 16, 12, 12), quant_format=QuantFormat.QOperator, **options)


def run(source: onnx.ModelProto, x: Any) -> Any:
    return onnxruntime.InferenceSession(source.SerializeToString()).run(None, {"X": x})[0]


@pytest.mark.parametrize(
    ("activations", "per_channel"), [("QUInt8", True), ("QInt8", True), ("QUInt8", False)]
)
def test_every_operator_is_packed(
    activations: str, per_channel: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    options = {"activations": activations, "per_channel": per_channel}
    source = by_operators(every_operator(rng), tmp_path, rng, **options)
    assert {"QLinearConv", "QGemm", "QLinearMatMul"} <= {
        node.op_type for node in onnx.load(source).graph.node
    }
    found = Counter(operators(source, tmp_path / "small.onnx"))
    assert found == {"SparseQConv": 2, "SparseQConvAdd": 1, "SparseQMatMul": 3}


def test_stock_onnxruntime_makes_the_same_operators_of_it_again(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    source = onnx.load(by_operators(every_operator(rng), tmp_path, rng))
    x = rng.standard_normal((3, 16, 12, 12)).astype(np.float32)
    expected = run(source, x)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    lowered = normalize(source)
    assert not [node.op_type for node in lowered.graph.node if node.op_type.startswith(("QL", "QG"))]
    session = onnxruntime.InferenceSession(lowered.SerializeToString(), options)
    np.testing.assert_array_equal(session.run(None, {"X": x})[0], expected)
    made = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert made["DequantizeLinear"] == made["QuantizeLinear"] == 1
    assert made["QLinearConv"] == 3 and made["QGemm"] == 2 and made["QLinearMatMul"] == 1


def test_asymmetric_weights_stay_dense_and_say_why(tmp_path: Path, rng: np.random.Generator) -> None:
    net = residual_net(rng)
    for tensor in net.graph.initializer:
        if tensor.name == "a.weight":
            tensor.CopyFrom(numpy_helper.from_array(abs(numpy_helper.to_array(tensor)), tensor.name))
    source = by_operators(net, tmp_path, rng, weights="QUInt8", per_channel=False)
    target = tmp_path / "small.onnx"
    report = sparse_export.export(source, format="csr", optimize="memory", output=target)
    assert report.verification is not None and report.verification.passed
    assert [row["name"] for row in report.layers if "asymmetric" in row["reason"]] != []
    assert any(node.op_type == "Conv" for node in onnx.load(target).graph.node)


def layer(
    name: str, domain: str, inputs: list[str], constants: dict[str, Any], **attributes: Any
) -> onnx.ModelProto:
    """One operator of integers; X is uint8."""
    node = helper.make_node(name, inputs, ["Y"], domain=domain, **attributes)
    given = [name for name in dict.fromkeys(inputs) if name and name not in constants]
    types = {"X": TensorProto.UINT8, "given": TensorProto.FLOAT}
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info(name, types[name], None) for name in given],
        [helper.make_tensor_value_info("Y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


POINT = {"s": np.float32(0.1), "z": np.uint8(3)}
GEMM = {**POINT, "w": np.ones((4, 4), np.int8), "zw": np.int8(0)}
GEMM_INPUTS = ["X", "s", "z", "w", "s", "zw", "", "s", "z"]


@pytest.mark.parametrize(
    "said",
    [
        layer("QGemm", "com.microsoft", GEMM_INPUTS, GEMM, alpha=2.0),
        layer("QGemm", "com.microsoft", ["X", "given", *GEMM_INPUTS[2:]], GEMM),
        layer("QGemm", "com.microsoft", GEMM_INPUTS[:4], GEMM),
        layer("QGemm", "com.microsoft", GEMM_INPUTS, GEMM | {"s": np.ones(3, np.float32)}),
        layer("QGemm", "com.microsoft", GEMM_INPUTS, GEMM | {"s": np.ones(0, np.float32)}),
        layer("QGemm", "com.microsoft", GEMM_INPUTS, GEMM | {"w": np.ones(4, np.int8)}),
        layer("QGemm", "elsewhere", GEMM_INPUTS, GEMM),
        layer("QLinearConv", "com.microsoft", GEMM_INPUTS, GEMM),
        layer("QLinearConcat", "com.microsoft", ["s", "z", "X"], POINT, axis=0),
        layer("QLinearConcat", "com.microsoft", ["s", "z"], POINT, axis=0),
        layer("QLinearSigmoid", "com.microsoft", ["X", "s", "z", "s"], POINT),
        layer("QLinearSoftmax", "com.microsoft", ["X", "s", "z", "s", "z"], POINT, opset=12),
        layer("QLinearSoftmax", "com.microsoft", ["X", "s", "z", "s", "z"], POINT, opset=[13]),
        layer("QLinearGlobalAveragePool", "com.microsoft", ["X", "s", "z", "s", "z"], POINT, channels_last=1),
    ],
    ids=lambda said: said.graph.node[0].op_type,
)
def test_what_floats_do_not_say_exactly_stays(said: onnx.ModelProto) -> None:
    before = [node.SerializeToString() for node in said.graph.node]
    assert [node.SerializeToString() for node in normalize(said).graph.node] == before


@pytest.mark.parametrize(
    "said",
    [
        layer("QLinearSoftmax", "com.microsoft", ["X", "s", "z", "s", "z"], POINT, opset=13, axis=-1),
        layer("QLinearLeakyRelu", "com.microsoft", ["X", "s", "z", "s", "z"], POINT, alpha=0.3),
        layer("QLinearMul", "com.microsoft", ["X", "s", "z", "X", "s", "z", "s", "z"], POINT),
        layer("QGemm", "com.microsoft", GEMM_INPUTS, GEMM | {"s": np.float32(1 / 3)}),
    ],
    ids=lambda said: said.graph.node[0].op_type,
)
def test_floats_give_the_same_integers(said: onnx.ModelProto, rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (50, 4), np.uint8)
    expected = run(said, x)
    lowered = normalize(said)
    assert "QuantizeLinear" in {node.op_type for node in lowered.graph.node}
    np.testing.assert_array_equal(run(lowered, x), expected)


def test_scales_of_one_element_become_scalars() -> None:
    constants = {name: np.reshape(array, (1,)) for name, array in (*POINT.items(), ("zw", np.int8(0)))}
    said = layer("QGemm", "com.microsoft", GEMM_INPUTS, constants | {"w": np.eye(4, dtype=np.int8)}, transB=1)
    x = np.arange(8, dtype=np.uint8).reshape(2, 4)
    expected = run(said, x)
    lowered = normalize(said)
    shapes = {tensor.name: list(tensor.dims) for tensor in lowered.graph.initializer}
    assert [node.op_type for node in lowered.graph.node] == ["DequantizeLinear"] * 2 + [
        "Gemm",
        "QuantizeLinear",
    ]
    assert all(
        not shapes[name]
        for node in lowered.graph.node
        for name in node.input
        if name in shapes and name != "w"
    )
    np.testing.assert_array_equal(run(lowered, x), expected)
