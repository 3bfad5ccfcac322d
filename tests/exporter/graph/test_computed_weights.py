"""Weights that a graph computes from constants are weights, whatever computes them, and within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export.exporter.graph.index import GraphIndex
from sparse_export.exporter.prove.compare import packed_nodes
from sparse_export.exporter.rewrite.packed_nodes import packed_tensor

from ...onnx_models import pruned
from .made import WIDTH, feeds, operators, write
from .running import assert_same_in_both_runtimes

node = helper.make_node
MATMUL = node("MatMul", ["x", "q"], ["y"])
ONE, MINUS = np.float32(1), np.float32(-1)


def latent(rng: np.random.Generator) -> np.ndarray:
    return (rng.standard_normal((WIDTH, WIDTH)) * 0.02).astype(np.float32)


BITNET = [
    node("Abs", ["w"], ["magnitude"]),
    node("ReduceMean", ["magnitude"], ["mean"], keepdims=1),
    node("Div", ["w", "mean"], ["scaled"]),
    node("Round", ["scaled"], ["rounded"]),
    node("Clip", ["rounded", "minus", "one"], ["ternary"]),
    node("Mul", ["ternary", "mean"], ["q"]),
]
SOFT_THRESHOLD = [
    node("Abs", ["w"], ["magnitude"]),
    node("Sigmoid", ["limit"], ["sure"]),
    node("Mul", ["sure", "fifth"], ["threshold"]),
    node("Sub", ["magnitude", "threshold"], ["over"]),
    node("Relu", ["over"], ["left"]),
    node("Sign", ["w"], ["signs"]),
    node("Mul", ["signs", "left"], ["q"]),
]
TWO_OF_FOUR = [
    node("Reshape", ["w", "groups"], ["g"]),
    node("Abs", ["g"], ["magnitude"]),
    node("TopK", ["magnitude", "two"], ["largest", "places"], axis=-1),
    node("Shape", ["g"], ["g_shape"]),
    node("ConstantOfShape", ["g_shape"], ["none"]),
    node("Shape", ["places"], ["p_shape"]),
    node("ConstantOfShape", ["p_shape"], ["ones"], value=numpy_helper.from_array(np.ones(1, np.float32))),
    node("ScatterElements", ["none", "places", "ones"], ["mask"], axis=-1),
    node("Mul", ["g", "mask"], ["kept"]),
    node("Reshape", ["kept", "whole"], ["q"]),
]
STRAIGHT_THROUGH = [
    node("Sign", ["w"], ["signs"]),
    node("Mul", ["signs", "alpha"], ["binary"]),
    node("Clip", ["w", "minus", "one"], ["clipped"]),
    node("Sub", ["binary", "clipped"], ["difference"]),
    node("Add", ["difference", "clipped"], ["q"]),
]
NUMBERS: dict[str, Any] = {
    "minus": MINUS,
    "one": ONE,
    "limit": MINUS,
    "fifth": np.float32(0.1),
    "groups": np.array([-1, 4]),
    "whole": np.array([WIDTH, WIDTH]),
    "two": np.array([2]),
    "alpha": np.float32(0.0371),
}
#: Name to (nodes, format that finds them, largest part of the dense weight).
RECIPES: dict[str, tuple[list[onnx.NodeProto], str, float]] = {
    "absmean ternary": (BITNET, "ternary", 0.06),
    "soft threshold": (SOFT_THRESHOLD, "auto", 0.3),
    "two of four": (TWO_OF_FOUR, "auto", 0.55),
    "straight through": (STRAIGHT_THROUGH, "bitpack", 0.04),
}


@pytest.mark.parametrize("name", RECIPES)
def test_packs_what_the_graph_computes(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes, form, part = RECIPES[name]
    read = {entry for item in nodes for entry in item.input}
    constants = {"w": latent(rng)} | {key: value for key, value in NUMBERS.items() if key in read}
    source = write(tmp_path / "m.onnx", [*nodes, MATMUL], constants)
    written = assert_same_in_both_runtimes(source, feeds(), format=form)
    assert len(operators(written)) == 1
    (row,) = rows(source, form)
    assert row["packed_bytes"] < part * row["dense_bytes"] and row["reason"].endswith("computed from w")


def rows(source: Path, form: str = "csr") -> list[dict[str, Any]]:
    return sparse_export.export(source, format=form, dry_run=True).layers


def test_says_that_it_took_rounding_for_a_sign(tmp_path: Path, rng: np.random.Generator) -> None:
    constants = {"w": latent(rng), "minus": MINUS, "one": ONE, "alpha": NUMBERS["alpha"]}
    source = write(tmp_path / "m.onnx", [*STRAIGHT_THROUGH, MATMUL], constants)
    report = sparse_export.export(source, output=tmp_path / "out.onnx", optimize="memory")
    assert any("one magnitude and its negative" in text for _, text in report.notes)
    assert report.verification is not None and report.verification.passed


def test_values_that_really_differ_are_not_taken_for_one(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        node("Sign", ["w"], ["signs"]),
        node("Mul", ["signs", "alpha"], ["b"]),
        node("Add", ["b", "c"], ["q"]),
    ]
    close = np.float32(0.5) + rng.choice(np.array([0, 1e-3], np.float32), (WIDTH, WIDTH))
    constants = {"w": latent(rng), "alpha": close, "c": np.zeros((1, WIDTH), np.float32)}
    source = write(tmp_path / "m.onnx", [*nodes, MATMUL], constants)
    assert rows(source, "bitpack")[0]["format"] == "dense"


@pytest.mark.parametrize("fold", ["Conv", "Gemm"])
def test_packs_weights_quantized_and_back(fold: str, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("QuantizeLinear", ["w", "s", "z"], ["i"]), node("DequantizeLinear", ["i", "s", "z"], ["q"])]
    shape, x_shape = ((32, 16, 3, 3), (2, 16, 8, 8)) if fold == "Conv" else ((64, WIDTH), (2, WIDTH))
    layer = node(fold, ["x", "q"], ["y"], **({"transB": 1} if fold == "Gemm" else {}))
    x = rng.standard_normal(x_shape).astype(np.float32)
    source = write(
        tmp_path / "m.onnx",
        [*nodes, layer],
        {"w": pruned(rng, *shape), "s": np.float32(0.02), "z": np.int8(0)},
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
    )
    assert operators(assert_same_in_both_runtimes(source, {"x": x}, format="palette"))[0].startswith(
        "Palette"
    )


def test_integers_of_a_quantized_model_stay_and_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    integers = np.round(pruned(rng, WIDTH, WIDTH) * 20).astype(np.int8)
    nodes = [node("DequantizeLinear", ["i", "s"], ["q"]), MATMUL]
    source = write(tmp_path / "m.onnx", nodes, {"i": integers, "s": np.float32(0.05)})
    reasons = {row["name"]: row["reason"] for row in rows(source)}
    assert "i is quantized" in reasons["i"]


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_half_precision_behind_a_cast_never_grows(
    density: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    half = pruned(rng, WIDTH, WIDTH, density=density).astype(np.float16)
    source = write(tmp_path / "m.onnx", [node("Cast", ["w"], ["q"], to=1), MATMUL], {"w": half})
    written = assert_same_in_both_runtimes(source, feeds())
    assert written.ByteSize() < source.stat().st_size + 100
    report = sparse_export.export(source, output=tmp_path / "out.onnx", verify=False)
    assert report.dense_file_bytes is not None and report.dense_file_bytes <= source.stat().st_size


def test_masked_beside_plain_is_no_second_copy(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Mul", ["w", "m"], ["q"]),
        node("MatMul", ["h", "q"], ["y"]),
    ]
    mask = (rng.random((WIDTH, WIDTH)) < 0.1).astype(np.float32)
    source = write(tmp_path / "m.onnx", nodes, {"w": pruned(rng, WIDTH, WIDTH), "m": mask})
    written = assert_same_in_both_runtimes(source, feeds())
    assert written.ByteSize() < source.stat().st_size + 100


BOMBS = {
    "Expand": ([node("Expand", ["one", "huge"], ["big"])], {"one": ONE, "huge": np.array([30_000, 30_000])}),
    "ConstantOfShape": ([node("ConstantOfShape", ["huge"], ["big"])], {"huge": np.array([700_000_000])}),
    "Tile": ([node("Tile", ["w", "huge"], ["big"])], {"huge": np.array([5_000, 5_000])}),
    "Range": (
        [node("Range", ["a", "huge", "b"], ["big"])],
        {"a": np.float32(0), "b": ONE, "huge": np.float32(1e9)},
    ),
    "Einsum": (
        [node("Einsum", ["v", "v", "v", "v", "v", "v"], ["big"], equation="a,b,c,d,e,f->")],
        {"v": np.ones(2000, np.float32)},
    ),
    "OneHot": (
        [node("OneHot", ["ids", "huge", "pair"], ["big"])],
        {"ids": np.arange(1000), "huge": np.array(10_000_000), "pair": np.array([0, 1], np.float32)},
    ),
    "MatMul": (
        [node("MatMul", ["tall", "wide"], ["big"])],
        {"tall": np.ones((40_000, 1), np.float32), "wide": np.ones((1, 40_000), np.float32)},
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_computes_nothing_out_of_proportion(name: str, rng: np.random.Generator) -> None:
    nodes, constants = BOMBS[name]
    nodes = [
        *nodes,
        node("ReduceMax", ["big"], ["top"], keepdims=0),
        node("Mul", ["w", "top"], ["q"]),
        MATMUL,
    ]
    tensors = [numpy_helper.from_array(np.asarray(a), k) for k, a in (constants | {"w": latent(rng)}).items()]
    graph = helper.make_graph(nodes, "g", [], [], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert GraphIndex(model).constant("q") is None


def test_loops_and_chance_are_never_computed(rng: np.random.Generator) -> None:
    body = helper.make_graph(
        [node("Identity", ["go"], ["still"])],
        "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("go", 9, [])],
        [helper.make_tensor_value_info("still", 9, [])],
    )
    nodes = [node("Loop", ["trips", "yes"], ["q"], body=body), node("RandomNormalLike", ["w"], ["r"])]
    constants = {"trips": np.array(1 << 62), "yes": np.array(True), "w": latent(rng)}
    tensors = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    graph = helper.make_graph(nodes, "g", [], [], tensors)
    index = GraphIndex(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    assert index.constant("q") is None and index.constant("r") is None


def negative_zeros(rng: np.random.Generator) -> np.ndarray:
    return (latent(rng) * (rng.random((WIDTH, WIDTH)) < 0.1)).astype(np.float32)


def test_negative_zeros_count_as_zeros(tmp_path: Path, rng: np.random.Generator) -> None:
    masked = negative_zeros(rng)
    held = write(tmp_path / "a.onnx", [node("MatMul", ["x", "q"], ["y"])], {"q": masked})
    constants = {"w": latent(rng), "m": (rng.random((WIDTH, WIDTH)) < 0.1).astype(np.float32)}
    made = write(tmp_path / "b.onnx", [node("Mul", ["w", "m"], ["q"]), MATMUL], constants)
    for source in (held, made):
        assert_same_in_both_runtimes(source, feeds())
        report = sparse_export.export(source, format="csr", output=tmp_path / "out.onnx", force=True)
        (row,) = report.layers
        assert row["density"] < 0.12 and row["packed_bytes"] < 0.2 * row["dense_bytes"]
        assert any("negative zeros in q" in text for _, text in report.notes)


@pytest.mark.parametrize("reader", ["Div", "Reciprocal", "Sign"])
def test_signs_of_zeros_stay_where_they_matter(reader: str, tmp_path: Path, rng: np.random.Generator) -> None:
    inputs = ["one", "q"] if reader == "Div" else ["q"]
    nodes = [MATMUL, node(reader, inputs, ["z"])]
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in "yz"]
    source = write(tmp_path / "m.onnx", nodes, {"q": negative_zeros(rng), "one": ONE}, outputs=outputs)
    written = assert_same_in_both_runtimes(source, feeds())
    ((one, arrays),) = packed_nodes(written).values()
    original = onnx.load(str(source)).graph.initializer[0]
    assert one.fmt.unpack(packed_tensor(one, arrays)).tobytes() == original.raw_data
