"""Functions that a model defines for itself are put in their places, weights and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import helper, numpy_helper

import sparse_export
from sparse_export.errors import InputError, UnsupportedError

from ...onnx_models import pruned
from .made import WIDTH, feeds, operators, write
from .running import assert_same_in_both_runtimes


def function(text: str, opset: int = 18) -> onnx.FunctionProto:
    return onnx.parser.parse_function(f'<domain: "own", opset_import: ["": {opset}, "own": 1]> {text}')


def call(name: str, *inputs: str, to: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(name, list(inputs), [to], domain="own", **attributes)


def test_packs_the_layers_of_a_function(tmp_path: Path, rng: np.random.Generator) -> None:
    lin = function(
        "Lin <alpha> (x, w) => (y) { h = MatMul (x, w) \n y = LeakyRelu <alpha: float = @alpha> (h) }"
    )
    nodes = [call("Lin", "x", "a", to="h", alpha=0.2), call("Lin", "h", "b", to="y", alpha=0.5)]
    weights = {"a": pruned(rng, WIDTH, WIDTH), "b": pruned(rng, WIDTH, WIDTH)}
    source = write(tmp_path / "m.onnx", nodes, weights, functions=[lin])
    written = assert_same_in_both_runtimes(source, feeds())
    assert operators(written) == ["SparseMatMul", "LeakyRelu", "SparseMatMul", "LeakyRelu"]


def test_weight_that_a_function_holds_is_stored_once(tmp_path: Path, rng: np.random.Generator) -> None:
    lin = function("Lin (x) => (y) { y = MatMul (x, w) }")
    weight = numpy_helper.from_array(pruned(rng, WIDTH, WIDTH, density=0.9), "w")
    lin.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    nodes = [call("Lin", "x", to="h"), call("Lin", "h", to="i"), call("Lin", "i", to="y")]
    source = write(tmp_path / "m.onnx", nodes, {}, functions=[lin])
    written = assert_same_in_both_runtimes(source, feeds(), tolerance=1e-4)
    assert written.ByteSize() < source.stat().st_size + 500


@pytest.mark.parametrize(("outer", "inner"), [(11, 11), (18, 13), (13, 18), (18, 21)])
def test_functions_of_other_opsets_mean_what_they_meant(
    outer: int, inner: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    lin = function("Lin (x, w) => (y) { h = MatMul (x, w) \n y = Softmax (h) }", inner)
    source = write(
        tmp_path / "m.onnx",
        [call("Lin", "x", "w", to="y")],
        {"w": pruned(rng, WIDTH, WIDTH)},
        opset=outer,
        functions=[lin],
    )
    assert "SparseMatMul" in operators(assert_same_in_both_runtimes(source, feeds()))


def test_refuses_functions_that_call_for_too_many_nodes(tmp_path: Path) -> None:
    chain = [function("F0 (x) => (y) { y = Relu (x) }")]
    for place in range(1, 20):
        twice = f"F{place} (x) => (y) {{ h = own.F{place - 1} (x) \n y = own.F{place - 1} (h) }}"
        chain.append(function(twice))
    source = write(tmp_path / "m.onnx", [call("F19", "x", to="y")], {}, functions=chain)
    with pytest.raises(UnsupportedError, match="call for 524,288 nodes"):
        sparse_export.export(source, dry_run=True)


def test_refuses_a_function_that_calls_itself(tmp_path: Path) -> None:
    again = function("Again (x) => (y) { y = own.Again (x) }")
    source = write(tmp_path / "m.onnx", [call("Again", "x", to="y")], {}, functions=[again])
    with pytest.raises(InputError, match="'Again' calls itself"):
        sparse_export.export(source, dry_run=True)


def test_packed_files_can_be_packed_again(tmp_path: Path, rng: np.random.Generator) -> None:
    weights = {name: pruned(rng, WIDTH, WIDTH) for name in "wv"}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    source, first = write(tmp_path / "m.onnx", nodes, weights), tmp_path / "first.onnx"
    sparse_export.export(
        source, output=first, format="csr", layers=["v=dense"], verify=False, optimize="memory"
    )
    written = assert_same_in_both_runtimes(first, feeds())
    assert operators(written) == ["SparseMatMul", "SparseMatMul"] and len(written.functions) == 1
