"""Layers of a chain pass packed signs, and decide every one as the float graph does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from sparse_export.exporter import api
from sparse_export.exporter.prove import compare
from sparse_export.exporter.rewrite.packed_nodes import packed_tensor
from sparse_export.runtime.session import InferenceSession
from sparse_export.runtime.stock import Session

from ..onnx_models import model
from .test_binarize import SCALARS, binary_weight, node

Nodes = list[onnx.NodeProto]
Constants = dict[str, np.ndarray]
LAST = ["XnorPackedConvRelu"]


def norm(rng: np.random.Generator, channels: int, name: str) -> Constants:
    """BatchNorm parameters; about half of the gammas are negative."""
    parts = {part: rng.standard_normal(channels).astype(np.float32) for part in ("beta", "mean")}
    gamma = rng.uniform(0.5, 1.5, channels) * rng.choice([-1, 1], channels)
    parts |= {"gamma": gamma.astype(np.float32), "var": rng.uniform(50, 150, channels).astype(np.float32)}
    return {f"{name}.{part}": array for part, array in parts.items()}


def norm_node(x: str, y: str, name: str) -> onnx.NodeProto:
    parameters = [f"{name}.{part}" for part in ("gamma", "beta", "mean", "var")]
    return helper.make_node("BatchNormalization", [x, *parameters], [y])


def sign(x: str, y: str) -> Nodes:
    return [node("GreaterOrEqual", x, "zero", f"{y}.c"), node("Where", f"{y}.c", "one", "minus", y)]


def net(rng: np.random.Generator, between: Nodes, channels: int = 40, **second: object) -> onnx.ModelProto:
    """BatchNorm, sign, convolution "a", the nodes from "a" to "t", sign, convolution, Relu."""
    constants = {
        **{key: np.asarray(value) for key, value in SCALARS.items()},
        **norm(rng, 16, "n0"),
        **norm(rng, channels, "n1"),
        **norm(rng, channels, "n2"),
        "w1": binary_weight(rng, channels, 16, 3, 3),
        # No sum is zero: rounding decides its sign in a float graph.
        "b1": rng.uniform(0.1, 0.9, channels).astype(np.float32) / 100,
        "w2": binary_weight(rng, 24, channels, 3, 3),
    }
    steps = [
        norm_node("X", "x", "n0"),
        *sign("x", "s1"),
        node("Conv", "s1", "w1", "b1", "a", pads=[1, 1, 1, 1]),
        *between,
        *sign("t", "s2"),
        node("Conv", "s2", "w2", "z", **({"pads": [1, 1, 1, 1]} | second)),
        node("Relu", "z", "Y"),
    ]
    used = {name for step in steps for name in step.input}
    return model(steps, {k: v for k, v in constants.items() if k in used}, ["N", 16, "H", "W"], 4)


def exported(built: onnx.ModelProto, folder: Path) -> tuple[list[str], onnx.ModelProto]:
    """The operators behind the first BatchNorm, and the written model."""
    onnx.save(built, folder / "net.onnx")
    output = folder / "out.onnx"
    api.export(
        folder / "net.onnx", format="bitpack", output=output, optimize="memory", input_shape=[(1, 16, 12, 12)]
    )
    written = onnx.load(output)
    onnx.checker.check_model(written)
    return [step.op_type for step in written.graph.node][1:], written


def same_everywhere(written: onnx.ModelProto, built: onnx.ModelProto) -> None:
    """The library, stock onnxruntime and the float graph agree on several sizes."""
    data, rng = written.SerializeToString(), np.random.default_rng(7)
    stock, native = Session(data), InferenceSession(data, threads=2)
    float_graph = Session(built.SerializeToString())
    for shape in ((2, 16, 12, 12), (1, 16, 5, 7), (3, 16, 17, 4), (0, 16, 8, 8)):
        x = {"X": rng.standard_normal(shape).astype(np.float32)}
        expected, ours = float_graph.run(x)[0], native.run(None, x)[0]
        np.testing.assert_array_equal(ours, stock.run(x)[0])
        assert ours.shape == expected.shape
        assert np.abs(ours - expected).max(initial=0) <= 1e-5 * np.abs(expected).max(initial=0)


POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
CHAINS: dict[str, tuple[Nodes, list[str]]] = {
    "norm": ([norm_node("a", "t", "n1")], ["XnorConvSign"]),
    "pool": ([node("MaxPool", "a", "t", **POOL)], ["XnorConvSign", "XnorMaxPool"]),
    "norm, pool": (
        [norm_node("a", "b", "n1"), node("MaxPool", "b", "t", **POOL)],
        ["XnorConvSign", "XnorMaxPool"],
    ),
    "pool, norm": (
        [node("MaxPool", "a", "b", **POOL), norm_node("b", "t", "n1")],
        ["XnorConvSign", "XnorMaxPool"],
    ),
    "norm, pool, norm": (
        [norm_node("a", "b", "n1"), node("MaxPool", "b", "c", **POOL), norm_node("c", "t", "n2")],
        ["XnorConvSign", "XnorMaxPool"],
    ),
    "pool, norm, pool, norm": (
        [
            node("MaxPool", "a", "b", kernel_shape=[2, 1]),
            norm_node("b", "c", "n1"),
            node("MaxPool", "c", "d", kernel_shape=[1, 3], pads=[0, 2, 0, 1]),
            norm_node("d", "t", "n2"),
        ],
        ["XnorConvSign", "XnorMaxPool", "XnorMaxPool"],
    ),
    "norm, hardtanh": (
        [norm_node("a", "b", "n1"), node("Clip", "b", "minus", "one", "t")],
        ["XnorConvSign"],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("channels", [40, 27, 64])
def test_a_chain_passes_packed_signs(
    name: str, channels: int, rng: np.random.Generator, tmp_path: Path
) -> None:
    between, operators = CHAINS[name]
    built = net(rng, between, channels)
    kinds, written = exported(built, tmp_path)
    assert kinds == operators + LAST
    same_everywhere(written, built)


BROKEN: dict[str, Nodes] = {
    "another node": [node("Neg", "a", "t")],
    "relu": [norm_node("a", "b", "n1"), node("Relu", "b", "t")],
    "average": [node("AveragePool", "a", "t", kernel_shape=[2, 2])],
    "ceil mode": [node("MaxPool", "a", "t", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)],
    "dilated pool": [node("MaxPool", "a", "t", kernel_shape=[2, 2], dilations=[2, 2])],
    "clip above zero": [norm_node("a", "b", "n1"), node("Clip", "b", "one", "two", "t")],
    "clip before a norm": [node("Clip", "a", "minus", "one", "b"), norm_node("b", "t", "n1")],
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_keep_the_signs_breaks_a_chain(
    name: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    built = net(rng, BROKEN[name])
    kinds, written = exported(built, tmp_path)
    assert kinds[-1] == "XnorConvRelu" and "XnorMaxPool" not in kinds
    same_everywhere(written, built)


def test_a_result_that_others_read_stays_float(rng: np.random.Generator, tmp_path: Path) -> None:
    built = net(rng, [norm_node("a", "t", "n1")])
    built.graph.node[-1].input[0] = "m"
    built.graph.node.insert(len(built.graph.node) - 1, node("ReduceMax", "t", "top", keepdims=0))
    built.graph.node.insert(len(built.graph.node) - 1, node("Add", "z", "top", "m"))
    kinds, written = exported(built, tmp_path)
    assert kinds[:2] == ["XnorConv", "XnorConv"]
    same_everywhere(written, built)


def test_signs_that_are_an_output_stay_float(rng: np.random.Generator, tmp_path: Path) -> None:
    built = net(rng, [norm_node("a", "t", "n1")])
    built.graph.output.append(helper.make_tensor_value_info("s2", 1, [None] * 4))
    kinds, _ = exported(built, tmp_path)
    assert kinds == ["XnorConv", "GreaterOrEqual", "Where", "XnorConvRelu"]


def test_several_layers_read_the_same_packed_signs(rng: np.random.Generator, tmp_path: Path) -> None:
    built = net(rng, [norm_node("a", "t", "n1")])
    built.graph.node[-1].input[0] = "m"
    built.graph.node.insert(len(built.graph.node) - 1, node("Conv", "s2", "w2", "y", pads=[1, 1, 1, 1]))
    built.graph.node.insert(len(built.graph.node) - 1, node("Add", "z", "y", "m"))
    kinds, written = exported(built, tmp_path)
    assert kinds[0] == "XnorConvSign" and sum(kind.startswith("XnorPackedConv") for kind in kinds) == 2
    same_everywhere(written, built)


@pytest.mark.parametrize("op", ["Flatten", "Reshape"])
def test_signs_are_taken_through_a_change_of_shape(op: str, rng: np.random.Generator, tmp_path: Path) -> None:
    constants = {key: np.asarray(value) for key, value in SCALARS.items() if key != "two"}
    constants |= norm(rng, 8, "n") | {"w": binary_weight(rng, 40, 72)}
    if op == "Reshape":
        constants["flat"] = np.array([0, -1], np.int64)
    steps = [
        norm_node("X", "t", "n"),
        *sign("t", "s"),
        node(op, "s", *(["flat"] if op == "Reshape" else []), "f"),
        node("Gemm", "f", "w", "Y", transB=1),
    ]
    built = model(steps, constants, ["N", 8, 3, 3], 2)
    onnx.save(built, tmp_path / "net.onnx")
    api.export(tmp_path / "net.onnx", format="bitpack", output=tmp_path / "out.onnx", optimize="memory")
    written = onnx.load(tmp_path / "out.onnx")
    assert [step.op_type for step in written.graph.node] == ["BatchNormalization", op, "XnorMatMul"]
    x = {"X": rng.standard_normal((5, 8, 3, 3)).astype(np.float32)}
    ours = InferenceSession(written.SerializeToString()).run(None, x)[0]
    expected = Session(built.SerializeToString()).run(x)[0]
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("value", ["zero", "one"])
def test_zero_padding_behind_a_sign_is_the_convolutions_own(
    value: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    built = net(rng, [norm_node("a", "t", "n1")], pads=[0, 1, 0, 0])
    built.graph.initializer.append(onnx.numpy_helper.from_array(np.int64([0, 0, 1, 0, 0, 0, 2, 1]), "around"))
    place = next(i for i, step in enumerate(built.graph.node) if step.output[0] == "z")
    built.graph.node[place].input[0] = "p"
    built.graph.node.insert(place, node("Pad", "s2", "around", value, "p"))
    kinds, written = exported(built, tmp_path)
    if value == "zero":
        assert kinds == ["XnorConvSign", *LAST]
        same_everywhere(written, built)
    else:
        assert kinds[-1] == "BinaryWeightConvRelu"


def test_a_chain_of_linear_layers(rng: np.random.Generator, tmp_path: Path) -> None:
    constants = {key: np.asarray(value) for key, value in SCALARS.items() if key != "two"}
    constants |= norm(rng, 50, "n") | {"shift": rng.random(60).astype(np.float32)}
    constants |= {"w1": binary_weight(rng, 50, 60), "w2": binary_weight(rng, 30, 50)}
    steps = [
        node("Add", "X", "shift", "x"),
        *sign("x", "s1"),
        node("Gemm", "s1", "w1", "a", transB=1),
        norm_node("a", "t", "n"),
        *sign("t", "s2"),
        node("Gemm", "s2", "w2", "Y", transB=1),
    ]
    built = model(steps, constants, ["N", 60], 2)
    onnx.save(built, tmp_path / "net.onnx")
    api.export(
        tmp_path / "net.onnx",
        format="bitpack",
        output=tmp_path / "out.onnx",
        optimize="memory",
        input_shape=[(1, 60)],
    )
    written = onnx.load(tmp_path / "out.onnx")
    assert [step.op_type for step in written.graph.node] == ["Add", "XnorMatMulSign", "XnorPackedMatMul"]
    data, x = written.SerializeToString(), {"X": rng.standard_normal((9, 60)).astype(np.float32)}
    ours = InferenceSession(data).run(None, x)[0]
    np.testing.assert_array_equal(ours, Session(data).run(x)[0])
    expected = Session(built.SerializeToString()).run(x)[0]
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()


def test_verify_and_inspect_read_weights_in_the_order_of_the_checkpoint(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    built = net(rng, [norm_node("a", "t", "n1")])
    _, written = exported(built, tmp_path)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in built.graph.initializer}
    for name, (one, components) in compare.packed_nodes(written).items():
        dense = one.fmt.unpack(packed_tensor(one, components))
        np.testing.assert_array_equal(dense, np.sign(weights[name]))
    assert api.inspect(tmp_path / "out.onnx").layers
