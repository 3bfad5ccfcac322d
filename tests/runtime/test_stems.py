"""First convolutions of nets of integers: on the library where it is the same, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import sparse_export
from sparse_export.runtime import choice, stems
from tests.exporter.quantized.qdq import Qdq

VNNI = "avx512vnni"


def net_of(
    rng: np.random.Generator,
    *,
    channels: int = 3,
    kernel: int = 3,
    bias: str = "floats",
    zero: int = 0,
    relu: bool = False,
    weight_zero: int = 0,
    twice: bool = False,
    is_output: bool = False,
    pool: bool = False,
    **window: Any,
) -> onnx.ModelProto:
    """A dense convolution of few channels and a pruned one; `twice`: two such that read the same input."""
    net = Qdq(rng, ["n", channels, 21, 18])
    x, parts = net.input(), []
    for _ in range(2 if twice else 1):
        codes = net.codes(16, channels // window.get("group", 1), kernel, kernel, density=1)
        inputs = [x, net.weight(codes, zero=weight_zero)]
        if bias == "floats":
            inputs.append(net.hold(rng.standard_normal(16).astype(np.float32)))
        elif bias == "integers":
            scale = (net.constants[net.nodes[-1].input[1]] * np.float32(0.03)).astype(np.float32)
            steps = net.hold(rng.integers(-3000, 3000, 16).astype(np.int32))
            zeros = net.hold(np.zeros(16, np.int32))
            inputs.append(net.add("DequantizeLinear", [steps, net.hold(scale), zeros], axis=0))
        real = net.add("Conv", inputs, **window)
        parts.append(net.pair(net.add("Relu", [real]) if relu else real, 0.05, zero))
    value = net.add("Concat", parts, axis=1) if twice else parts[0]
    value = net.pair(value, 0.05, zero) if twice else value
    value = net.pair(net.add("MaxPool", [value], kernel_shape=[2, 2]), 0.05, zero) if pool else value
    model = net.model(net.pair(net.conv(value, 64, 32 if twice else 16), 0.1, 128))
    if is_output:
        model.graph.output.add(name=real)
    return model


def packed(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "net.onnx")
    sparse_export.export(folder / "net.onnx", optimize="memory", output=folder / "small.onnx", verify=False)
    return folder / "small.onnx"


def dense(path: Path | bytes, target: str = VNNI) -> list[str]:
    """Names of the convolutions that are left to the runtime."""
    found = choice.settled(path, target, choose=False)
    assert found.operators
    model = onnx.load_from_string(found.model) if found.model is not None else None
    if model is None:
        model = onnx.load_from_string(path) if isinstance(path, bytes) else onnx.load(path)
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"relu": True, "strides": [2, 2], "pads": [1, 1, 1, 1], "kernel": 7},
        {"bias": "integers", "zero": 7, "pads": [0, 2, 1, 0], "strides": [1, 3]},
        {"bias": "none", "channels": 1, "kernel": 5, "dilations": [2, 1]},
        {"channels": 2, "twice": True},
        {"pool": True, "auto_pad": "NOTSET", "group": 1},
    ],
    ids=["plain", "strided, with a Relu", "biases of integers", "one channel", "two of one input", "pooled"],
)
def test_runs_on_the_library_and_gives_the_same_bytes(
    made: dict[str, Any], rng: np.random.Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = packed(net_of(rng, **made), tmp_path)
    found = choice.settled(path, VNNI, choose=False)
    assert found.model is not None and stems.OPERATOR in (found.operators or ())
    assert ("QMaxPool" in (found.operators or ())) == ("pool" in made)
    assert not dense(path)
    feeds = {"X": rng.standard_normal((2, made.get("channels", 3), 21, 18)).astype(np.float32)}
    capfd.readouterr()
    (y,) = sparse_export.InferenceSession(found.model, packed="all").run(None, feeds)
    assert capfd.readouterr().err == ""  # nothing is left over that onnxruntime would warn of
    (expected,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)
    assert y.shape == expected.shape and np.abs(y - expected).max() <= 0.1 * 1.001  # a quantum of the last


@pytest.mark.parametrize(
    "made",
    [
        {"channels": 4},
        {"group": 3, "channels": 3, "bias": "none"},
        {"kernel": 9, "channels": 3},
        {"auto_pad": "SAME_UPPER"},
        {"relu": True, "zero": 3},
        {"weight_zero": 2},
        {"is_output": True},
    ],
    ids=[
        "more channels",
        "groups",
        "a large window",
        "padded by name",
        "a Relu that cuts off",
        "asymmetric",
        "an output",
    ],
)
def test_what_is_another_layer_stays(made: dict[str, Any], rng: np.random.Generator, tmp_path: Path) -> None:
    assert dense(packed(net_of(rng, **made), tmp_path))


def test_on_processors_without_integer_dot_products_the_runtime_computes_them(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    assert dense(packed(net_of(rng), tmp_path), "avx2")


def _as_input(model: onnx.ModelProto, name: str) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None))


def _huge_bias(model: onnx.ModelProto, name: str) -> None:
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    bias = next(one for one in model.graph.initializer if one.name == conv.input[2])
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(16, 1e9, np.float32), bias.name))


def _short(model: onnx.ModelProto, name: str) -> None:
    weight = next(one for one in model.graph.initializer if one.name == name)
    weight.raw_data = weight.raw_data[:-1]


def _negative_scale(model: onnx.ModelProto, name: str) -> None:
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    real = next(node for node in model.graph.node if conv.input[0] in node.output)
    scale = next(one for one in model.graph.initializer if one.name == real.input[1])
    scale.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(scale), scale.name))


@pytest.mark.parametrize(
    "change", [_as_input, _huge_bias, _short, _negative_scale], ids=lambda change: change.__name__
)
def test_what_cannot_be_taken_over_stays(
    change: Callable[[onnx.ModelProto, str], None], rng: np.random.Generator, tmp_path: Path
) -> None:
    model = onnx.load(packed(net_of(rng), tmp_path))
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    weight = next(node for node in model.graph.node if conv.input[1] in node.output).input[0]
    assert not dense(model.SerializeToString())
    change(model, weight)
    assert dense(model.SerializeToString())
