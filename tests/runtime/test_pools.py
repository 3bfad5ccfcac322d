"""MaxPool behind packed layers of integers: on the library where it is the same, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import sparse_export
from sparse_export.runtime import choice
from tests.exporter.quantized.qdq import Qdq

from .profiles import operators, profiled

PAIRS: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


def pooled(
    rng: np.random.Generator,
    *,
    scale: float = 0.05,
    joined: bool = False,
    is_output: bool = False,
    kind: str = "MaxPool",
    **window: Any,
) -> onnx.ModelProto:
    """Two convolutions with a pool between them; `joined`: behind the concatenation of two."""
    net = Qdq(rng, ["n", 16, 11, 14])
    x = net.input()
    parts = [net.pair(net.conv(x, 32, 16), 0.05, 3) for _ in range(2 if joined else 1)]
    value = net.pair(net.add("Concat", parts, axis=1), 0.05, 3) if joined else parts[0]
    pool = net.add(kind, [value], **window)
    result = net.pair(net.conv(net.pair(pool, scale, 3), 32, 64 if joined else 32), 0.1, 128)
    model = net.model(result)
    if is_output:
        model.graph.output.add(name=pool)
    return model


def packed(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "net.onnx")
    sparse_export.export(folder / "net.onnx", optimize="memory", output=folder / "small.onnx")
    return folder / "small.onnx"


def feeds_of(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"X": rng.standard_normal((2, 16, 11, 14)).astype(np.float32)}


@pytest.mark.parametrize(
    "window",
    [
        PAIRS,
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        {"kernel_shape": [2, 3], "auto_pad": "NOTSET", "dilations": [1, 1]},
        PAIRS | {"joined": True},
    ],
    ids=["pairs", "padded, rounded up", "no strides", "behind a concatenation"],
)
def test_runs_on_the_library_and_gives_the_same_bytes(
    window: dict[str, Any], rng: np.random.Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, feeds = packed(pooled(rng, **window), tmp_path), feeds_of(rng)
    session = sparse_export.InferenceSession(path, profiled(tmp_path), packed="all")
    plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    capfd.readouterr()
    y = sparse_export.InferenceSession(path, packed="all").run(None, feeds)[0]
    assert capfd.readouterr().err == ""  # nothing is left over that onnxruntime would warn of
    expected = plain.run(None, feeds)[0]
    assert y.shape == expected.shape and np.abs(y - expected).max() <= 0.1 * 1.001  # a quantum of the last
    ran = operators(session, feeds)
    assert "QMaxPool" in ran and "MaxPool" not in ran


@pytest.mark.parametrize(
    "made",
    [
        PAIRS | {"scale": 0.06},
        PAIRS | {"is_output": True},
        {"kernel_shape": [2, 2], "dilations": [2, 2]},
        {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"},
        PAIRS | {"kind": "AveragePool"},
    ],
    ids=["another scale", "an output", "dilated", "padded by name", "an average"],
)
def test_what_is_not_the_same_stays(made: dict[str, Any], rng: np.random.Generator, tmp_path: Path) -> None:
    path = packed(pooled(rng, **made), tmp_path)
    found = choice.settled(path, "avx2", choose=False)
    assert found.operators and not {name for name in found.operators if "Pool" in name}


def test_behind_layers_that_run_dense_the_runtime_pools(rng: np.random.Generator, tmp_path: Path) -> None:
    model = onnx.load(packed(pooled(rng, **PAIRS), tmp_path))
    assert "QMaxPool" in (choice.settled(model.SerializeToString(), "avx2", choose=False).operators or ())
    first = next(node for node in model.graph.node if "QConv" in node.op_type)
    del model.metadata_props[:]
    told = f'{{"{first.name}": ["int8", 9216, 9000, 32, 1, 10]}}'
    model.metadata_props.add(key=choice.WORK_KEY, value=told)
    found = choice.settled(model.SerializeToString(), "avx2")
    assert found.model is not None and "QMaxPool" not in (found.operators or ())


def test_a_pool_of_constants_that_the_caller_may_replace_stays(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    model = onnx.load(packed(pooled(rng, **PAIRS), tmp_path))
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    behind = next(node for node in model.graph.node if pool.output[0] in node.input)
    other = onnx.TensorProto()
    other.CopyFrom(next(one for one in model.graph.initializer if one.name == behind.input[1]))
    other.name = "told"
    model.graph.initializer.append(other)
    behind.input[1] = "told"
    assert "QMaxPool" in (choice.settled(model.SerializeToString(), "avx2", choose=False).operators or ())
    model.graph.input.append(onnx.helper.make_tensor_value_info("told", onnx.TensorProto.FLOAT, []))
    assert "QMaxPool" not in (choice.settled(model.SerializeToString(), "avx2", choose=False).operators or ())
