"""Pruned nets of every kind, without an option: as small as their formats, with the dense outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export.exporter.rewrite import packed_nodes

from ...onnx_models import pruned
from .consumers import CONSUMERS, feeds, made, weight_of

node = helper.make_node
Rng = np.random.Generator


def tagger(rng: Rng) -> onnx.ModelProto:
    """Embedding, LSTM in both directions, a linear layer."""
    constants = {
        "table": pruned(rng, 500, 32),
        "W": pruned(rng, 2, 128, 32),
        "R": pruned(rng, 2, 128, 32),
        "flat": np.array([7, 64]),
        "fc": pruned(rng, 64, 24),
    }
    nodes = [
        node("Gather", ["table", "X"], ["e"]),
        node("LSTM", ["e", "W", "R"], ["h"], hidden_size=32, direction="bidirectional"),
        node("Reshape", ["h", "flat"], ["f"]),
        node("MatMul", ["f", "fc"], ["Y"]),
    ]
    return made(nodes, constants, [7, 1], x_type=TensorProto.INT64)


def classifier(rng: Rng) -> onnx.ModelProto:
    """A text classifier: the mean of its words' embeddings, two linear layers."""
    constants = {"table": pruned(rng, 800, 48), "a": pruned(rng, 48, 64), "b": pruned(rng, 64, 20)}
    nodes = [
        node("Gather", ["table", "X"], ["e"]),
        node("ReduceMean", ["e"], ["m"], keepdims=0, axes=[1]),
        node("MatMul", ["m", "a"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "b"], ["Y"]),
    ]
    return made(nodes, constants, [3, 9], x_type=TensorProto.INT64, opset=17)


def unet(rng: Rng, axes: int) -> onnx.ModelProto:
    """Down by a stride, up by a ConvTranspose, a skip between them."""
    kernel, stride = [3] * axes, [2] * axes
    constants = {
        "a": pruned(rng, 16, 4, *kernel),
        "down": pruned(rng, 32, 16, *kernel),
        "up": pruned(rng, 32, 16, *stride),
        "last": pruned(rng, 8, 32, *kernel),
    }
    nodes = [
        node("Conv", ["X", "a"], ["c"], pads=[1] * 2 * axes),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "down"], ["d"], pads=[1] * 2 * axes, strides=stride),
        node("ConvTranspose", ["d", "up"], ["u"], strides=stride),
        node("Concat", ["u", "r"], ["both"], axis=1),
        node("Conv", ["both", "last"], ["Y"], pads=[1] * 2 * axes),
    ]
    return made(nodes, constants, [1, 4, *[8] * axes])


def half_resnet(rng: Rng) -> onnx.ModelProto:
    """A residual block in float16."""
    half = lambda *shape: pruned(rng, *shape).astype(np.float16)  # noqa: E731
    constants = {"a": half(32, 16, 3, 3), "b": half(32, 32, 3, 3), "skip": half(32, 16, 1, 1)}
    nodes = [
        node("Conv", ["X", "a"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "b"], ["d"], pads=[1] * 4),
        node("Conv", ["X", "skip"], ["s"]),
        node("Add", ["d", "s"], ["t"]),
        node("Relu", ["t"], ["Y"]),
    ]
    return made(nodes, constants, [1, 16, 8, 8], TensorProto.FLOAT16, TensorProto.FLOAT16)


def encoder(rng: Rng) -> onnx.ModelProto:
    """Self-attention of one head, and tied to its table: the logits read it transposed."""
    constants = {"table": pruned(rng, 400, 48), **{name: pruned(rng, 48, 48) for name in "qkvo"}}
    nodes = [
        node("Gather", ["table", "X"], ["e"]),
        *[node("MatMul", ["e", name], [f"{name}x"]) for name in "qkv"],
        node("Transpose", ["kx"], ["kt"], perm=[1, 0]),
        node("MatMul", ["qx", "kt"], ["s"]),
        node("Softmax", ["s"], ["p"]),
        node("MatMul", ["p", "vx"], ["a"]),
        node("MatMul", ["a", "o"], ["ox"]),
        node("Transpose", ["table"], ["tt"], perm=[1, 0]),
        node("MatMul", ["ox", "tt"], ["Y"]),
    ]
    return made(nodes, constants, [6], x_type=TensorProto.INT64)


def old_opset(rng: Rng) -> onnx.ModelProto:
    """Opset 11: auto_pad, and weights in the branches of an If."""

    def branch(name: str) -> onnx.GraphProto:
        held = [numpy_helper.from_array(pruned(rng, 16, 16, 3, 3), f"{name}w")]
        layer = node("Conv", ["r", f"{name}w"], [f"{name}y"], auto_pad="SAME_UPPER", strides=[2, 2])
        out = helper.make_tensor_value_info(f"{name}y", TensorProto.FLOAT, None)
        return helper.make_graph([layer], name, [], [out], held)

    nodes = [
        node("Conv", ["X", "a"], ["r"], auto_pad="SAME_LOWER"),
        node("ReduceMean", ["r"], ["m"], keepdims=0),
        node("Greater", ["m", "nought"], ["c"]),
        node("If", ["c"], ["Y"], then_branch=branch("t"), else_branch=branch("e")),
    ]
    constants = {"a": pruned(rng, 16, 8, 3, 3), "nought": np.float32(0)}
    return made(nodes, constants, [1, 8, 9, 9], opset=11)


def quantized(rng: Rng) -> onnx.ModelProto:
    shape, dtype, build = CONSUMERS["int8 behind DequantizeLinear"]
    return build(weight_of(shape, dtype, "free"))


NETS: dict[str, Callable[[Rng], onnx.ModelProto]] = {
    "LSTM tagger": tagger,
    "text classifier": classifier,
    "U-Net": lambda rng: unet(rng, 2),
    "3-D U-Net": lambda rng: unet(rng, 3),
    "float16 residual block": half_resnet,
    "Transformer encoder": encoder,
    "opset 11, auto_pad, If": old_opset,
    "QDQ": quantized,
}


def run(path: Path, model: onnx.ModelProto) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    result: np.ndarray = ort.InferenceSession(str(path), options).run(None, feeds(model))[0]
    return result


@pytest.mark.parametrize("name", NETS)
def test_is_as_small_as_its_formats_and_gives_the_same(tmp_path: Path, rng: Rng, name: str) -> None:
    dense, source, target = NETS[name](rng), tmp_path / "net.onnx", tmp_path / "small.onnx"
    onnx.save(dense, source)
    report = sparse_export.export(source, output=target)
    assert report.file_bytes is not None and report.file_bytes <= 1.03 * report.packed_bytes + 20_000
    assert report.file_bytes < source.stat().st_size
    assert all(
        row["reason"] for row in report.layers if row["format"] == "dense" and row["dense_bytes"] >= 1024
    )
    written = onnx.load(target)
    got, wanted = run(target, dense), run(source, dense)
    assert got.dtype == wanted.dtype
    if all(one.run == "expanded" for one in packed_nodes.find(written.graph)):
        assert got.tobytes() == wanted.tobytes()
    np.testing.assert_allclose(
        got.astype(np.float64), wanted.astype(np.float64), rtol=1e-4, atol=1e-4 * float(np.abs(wanted).max())
    )
    # Run packed wherever an operator can: the same layers through kernels.
    sparse_export.export(source, output=target, optimize="memory", force=True)
    session = sparse_export.InferenceSession(target, threads=1)
    np.testing.assert_allclose(
        session.run(None, feeds(dense))[0].astype(np.float64), wanted.astype(np.float64),
        rtol=1e-3, atol=1e-3 * float(np.abs(wanted).max()),
    )  # fmt: skip


def test_tied_weights_are_stored_once(tmp_path: Path, rng: Rng) -> None:
    onnx.save(encoder(rng), tmp_path / "net.onnx")
    sparse_export.export(tmp_path / "net.onnx", output=tmp_path / "small.onnx", optimize="memory")
    held = packed_nodes.find(onnx.load(tmp_path / "small.onnx").graph)
    assert [one.run for one in held if one.name == "table"] == ["expanded"]
    assert {one.run for one in held if one.name in "qkvo"} == {"packed"}


def test_weights_of_two_to_the_31_elements_stay_dense() -> None:
    from sparse_export.exporter.plan.choosing import refusal
    from sparse_export.exporter.plan.tensor_plan import TensorPlan

    huge = TensorPlan("w", "MatMul", (1 << 16, 1 << 15), "int8", 0, 1 << 31, "dense", 1 << 31, 1 << 31, "")
    assert "2^31" in refusal("csr", huge)


def test_a_weight_that_a_caller_may_replace_stays_an_input(tmp_path: Path, rng: Rng) -> None:
    dense = made(
        [node("Gather", ["W", "X"], ["Y"])], {"W": pruned(rng, 64, 32)}, [3], x_type=TensorProto.INT64
    )
    dense.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [64, 32]))
    onnx.save(dense, tmp_path / "net.onnx")
    report = sparse_export.export(tmp_path / "net.onnx", dry_run=True)
    assert [(row["format"], "caller" in row["reason"]) for row in report.layers] == [("dense", True)]
