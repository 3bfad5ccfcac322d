"""Layers of QDQ models in every form that a producer writes: packed, and the same integers come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import sparse_export
from sparse_export.exporter.graph.domain import DOMAIN
from sparse_export.exporter.rewrite.packed_nodes import is_quantized
from tests.exporter.quantized.qdq import Qdq, residual

Rng = np.random.Generator


def conv(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, ["n", 16, 9, 9])
    return net.model(net.pair(net.conv(net.input(), 32, 16, strides=[2, 2]), 0.03, 100))


def relu_implied(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 16, 9, 9])
    return net.model(net.pair(net.add("Relu", [net.conv(net.input(), 32, 16)]), 0.03, 0))


def relu_of_signed(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 16, 9, 9], signed=True)
    return net.model(net.pair(net.add("Relu", [net.conv(net.input(), 32, 16)]), 0.03, 0))


def clip(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 16, 9, 9])
    bounds = [net.hold(np.float32(-1)), net.hold(np.float32(1.5))]
    return net.model(net.pair(net.add("Clip", [net.conv(net.input(), 32, 16), *bounds]), 0.02, 90))


def relu_after_add(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 32, 9, 9], signed=True)
    x = net.input()
    total = net.add("Add", [x, net.pair(net.conv(x, 32, 32), 0.03, 3)])
    return net.model(net.pair(net.add("Relu", [total]), 0.05, -20))


def grouped(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 32, 9, 9])
    return net.model(net.pair(net.conv(net.input(), 64, 8, group=4), 0.02, 128))


def line(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 16, 20])
    weight = net.weight(net.codes(48, 16, 5))
    return net.model(net.pair(net.add("Conv", [net.input(), weight], dilations=[2]), 0.02, 128))


def unsigned_weight(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [4, 64])
    codes = (net.codes(64, 64).astype(np.int16) + 128).astype(np.uint8)
    weight = net.weight(codes, zero=128)
    return net.model(net.pair(net.add("Gemm", [net.input(), weight], transB=1), 0.02, 128))


def turned(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [4, 6, 96])
    weight = net.add("Transpose", [net.weight(net.codes(48, 96))], perm=[1, 0])
    product = net.add("MatMul", [net.input(), weight])
    bias = net.hold(rng.standard_normal(48).astype(np.float32))
    return net.model(net.pair(net.add("Add", [bias, product]), 0.02, 128))


def inputs_first(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [4, 96])
    product = net.add("MatMul", [net.input(), net.weight(net.codes(96, 48), axis=1)])
    return net.model(net.pair(product, 0.02, 128))


def float_result(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 16, 9, 9])
    return net.model(net.add("Softmax", [net.conv(net.input(), 32, 16)], axis=1))


def empty_rows(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [4, 64])
    codes = net.codes(64, 64)
    codes[10:30] = 0
    scale = np.where(np.arange(64) % 3, 0.004, 1e-30).astype(np.float32)
    net.constants["weight"] = np.where((np.arange(64) % 3 == 0)[:, None], 0, codes).astype(np.int8)
    weight = net.add("DequantizeLinear", ["weight", net.hold(scale), net.hold(np.zeros(64, np.int8))], axis=0)
    bias = net.hold(rng.standard_normal(64).astype(np.float32))
    return net.model(net.pair(net.add("Gemm", [net.input(), weight, bias], transB=1), 0.02, 128))


def computed_weight(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [2, 16, 9, 9])
    net.constants["weight"] = (net.codes(32, 16, 3, 3) * 0.01).astype(np.float32)
    pair = [net.hold(np.full(32, 0.01, np.float32)), net.hold(np.zeros(32, np.int8))]
    codes = net.add("QuantizeLinear", ["weight", *pair], axis=0)
    weight = net.add("DequantizeLinear", [codes, *pair], axis=0)
    return net.model(net.pair(net.add("Conv", [net.input(), weight]), 0.03, 100))


CASES: dict[str, tuple[Callable[[Rng], onnx.ModelProto], list[str]]] = {
    "Conv": (conv, ["SparseQConv"]),
    "Relu that the zero point implies": (relu_implied, ["SparseQConv"]),
    "Relu of signed integers": (relu_of_signed, ["SparseQConv", "Clip"]),
    "Clip": (clip, ["SparseQConv", "Clip"]),
    "Relu after Add": (relu_after_add, ["SparseQConvAdd", "Clip"]),
    "groups": (grouped, ["SparseQConv"]),
    "one dimension": (line, ["SparseQConv"]),
    "unsigned weight": (unsigned_weight, ["SparseQMatMul"]),
    "weight through a Transpose": (turned, ["SparseQMatMul"]),
    "inputs first": (inputs_first, ["SparseQMatMul"]),
    "float result": (float_result, ["SparseQConvFloat"]),
    "rows of zeros": (empty_rows, ["SparseQMatMul"]),
    "weight quantized in the graph": (computed_weight, ["SparseQConv"]),
    "residual": (residual, ["SparseQConv", "SparseQConv", "SparseQConvAdd", "SparseQMatMul"]),
}


@pytest.mark.parametrize("name", CASES)
def test_packs_the_layer_and_proves_it(tmp_path: Path, rng: Rng, name: str) -> None:
    make, expected = CASES[name]
    onnx.save(make(rng), tmp_path / "net.onnx")
    report = sparse_export.export(
        tmp_path / "net.onnx", format="csr", optimize="memory", output=tmp_path / "small.onnx"
    )
    written = onnx.load(tmp_path / "small.onnx")
    held = [node.op_type for node in written.graph.node if node.domain == DOMAIN or node.op_type == "Clip"]
    assert held == expected
    layers = sum(is_quantized(node) for node in written.graph.node)
    proof = report.verification
    assert proof is not None and proof.integers is not None
    assert proof.integers.layers == layers and proof.integers.share < 0.01
    assert len(proof.runtimes) == 2
    again = sparse_export.verify(tmp_path / "net.onnx", tmp_path / "small.onnx")
    assert again.integers is not None and again.integers.layers == layers


@pytest.mark.parametrize("name", ["bitmask", "bsr", "tight"])
def test_every_format_of_integers_runs(tmp_path: Path, rng: Rng, name: str) -> None:
    onnx.save(residual(rng), tmp_path / "net.onnx")
    report = sparse_export.export(
        tmp_path / "net.onnx", format=name, optimize="memory", output=tmp_path / "small.onnx"
    )
    assert report.verification is not None and report.verification.integers is not None
    assert name in {row["format"] for row in report.layers}
