"""The packed graph computes what the dense one computes, and folds what it may fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from sparse_export import formats
from sparse_export.exporter.graph import find as match
from sparse_export.exporter.graph.domain import DOMAIN
from sparse_export.exporter.graph.index import GraphIndex
from sparse_export.exporter.graph.normalize import normalize
from sparse_export.exporter.plan import pack, plan
from sparse_export.exporter.rewrite import functions
from sparse_export.exporter.rewrite import write as graph
from sparse_export.exporter.rewrite.op_spec import OpSpec

from ..onnx_models import model, norm, norm_node, pruned, residual_net


def rewrite(dense: onnx.ModelProto, format_name: str = "csr") -> onnx.ModelProto:
    dense = normalize(dense)
    index = GraphIndex(dense)
    plans = plan.make(index, match.find(index), format_name)
    return graph.rewrite(index, dense, plans, pack.pack(plans))


def run(made: onnx.ModelProto, feeds: dict[str, Any]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(made.SerializeToString(), options).run(None, feeds)[0]


def assert_equal_outputs(dense: onnx.ModelProto, feeds: dict[str, Any]) -> onnx.ModelProto:
    before = dense.SerializeToString()
    packed = rewrite(onnx.load_from_string(before))
    onnx.checker.check_model(packed)
    expected, got = run(onnx.load_from_string(before), feeds), run(packed, feeds)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(expected).max())))
    return packed


def operators(made: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node]


def test_folds_batch_norm_activation_and_residual(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 16, 12, 12)).astype(np.float32)
    packed = assert_equal_outputs(residual_net(rng), {"X": x})
    assert operators(packed) == [
        "SparseConvRelu",
        "SparseConvAddRelu",
        "GlobalAveragePool",
        "Flatten",
        "SparseMatMul",
    ]


CONVS = {
    "1-D": ((24, 8, 5), [2, 8, 40], {"pads": [2, 2]}),
    "1-D strided dilated": ((24, 8, 3), [1, 8, 41], {"strides": [3], "dilations": [2], "pads": [0, 4]}),
    "1x1": ((40, 24, 1, 1), [2, 24, 7, 7], {}),
    "grouped": ((32, 8, 3, 3), [1, 32, 9, 9], {"group": 4, "pads": [1, 1, 1, 1]}),
    "dilated": ((16, 16, 3, 3), [1, 16, 14, 15], {"dilations": [2, 3]}),
    "asymmetric pads": ((16, 16, 3, 3), [1, 16, 9, 8], {"pads": [0, 1, 2, 3]}),
    "strided": ((16, 16, 5, 3), [2, 16, 17, 13], {"strides": [2, 3], "pads": [2, 1, 2, 1]}),
}


@pytest.mark.parametrize("case", CONVS)
def test_packs_convolution(case: str, rng: np.random.Generator) -> None:
    shape, x_shape, attributes = CONVS[case]
    constants = {"w": pruned(rng, *shape), "b": rng.standard_normal(shape[0]).astype(np.float32)}
    node = helper.make_node("Conv", ["X", "w", "b"], ["Y"], **attributes)
    dense = model([node], constants, ["n", *x_shape[1:]], len(x_shape))
    packed = assert_equal_outputs(dense, {"X": rng.standard_normal(x_shape).astype(np.float32)})
    assert operators(packed) == ["SparseConv"]


LINEARS = {
    "Gemm transposed": ("Gemm", (48, 20), {"transB": 1}, [5, 20]),
    "Gemm": ("Gemm", (20, 48), {}, [5, 20]),
    "Gemm alpha beta": ("Gemm", (48, 20), {"transB": 1, "alpha": 0.5, "beta": 2.0}, [5, 20]),
    "MatMul": ("MatMul", (20, 48), {}, [5, 20]),
    "MatMul with leading dimensions": ("MatMul", (20, 48), {}, [2, 3, 5, 20]),
    "MatMul of a vector": ("MatMul", (20, 48), {}, [20]),
}


@pytest.mark.parametrize("case", LINEARS)
def test_packs_linear(case: str, rng: np.random.Generator) -> None:
    op, shape, attributes, x_shape = LINEARS[case]
    bias = rng.standard_normal(48).astype(np.float32)
    constants = {"w": pruned(rng, *shape), "b": bias}
    if op == "Gemm":
        nodes = [helper.make_node("Gemm", ["X", "w", "b"], ["Y"], **attributes)]
    else:
        nodes = [helper.make_node("MatMul", ["X", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["Y"])]
    dense = model(nodes, constants, list(x_shape), len(x_shape))
    packed = assert_equal_outputs(dense, {"X": rng.standard_normal(x_shape).astype(np.float32)})
    assert operators(packed) == ["SparseMatMul"]


def test_packs_transposed_initializer_without_the_transpose(rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["X", "wt"], ["Y"]),
    ]
    dense = model(nodes, {"w": pruned(rng, 48, 20)}, [2, 3, 20], 3)
    packed = assert_equal_outputs(dense, {"X": rng.standard_normal((2, 3, 20)).astype(np.float32)})
    assert operators(packed) == ["SparseMatMul"]


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (-1.0, None), (None, 2.0)])
def test_folds_clip(bounds: tuple[float | None, float | None], rng: np.random.Generator) -> None:
    constants = {"w": pruned(rng, 32, 16, 3, 3)}
    names = []
    for name, bound in zip(("low", "high"), bounds, strict=True):
        names.append(name if bound is not None else "")
        if bound is not None:
            constants[name] = np.array(bound, np.float32)
    nodes = [helper.make_node("Conv", ["X", "w"], ["c"]), helper.make_node("Clip", ["c", *names], ["Y"])]
    dense = model(nodes, constants, [1, 16, 8, 8], 4)
    packed = assert_equal_outputs(dense, {"X": rng.standard_normal((1, 16, 8, 8)).astype(np.float32)})
    assert operators(packed) == ["SparseConvClip"]


def test_does_not_fold_a_broadcasting_add(rng: np.random.Generator) -> None:
    nodes = [helper.make_node("Conv", ["X", "w"], ["c"]), helper.make_node("Add", ["c", "Z"], ["Y"])]
    dense = model(
        nodes, {"w": pruned(rng, 32, 16, 1, 1)}, [2, 16, 6, 6], 4, extra_inputs={"Z": [2, 32, 1, 1]}
    )
    feeds = {
        "X": rng.standard_normal((2, 16, 6, 6)).astype(np.float32),
        "Z": np.ones((2, 32, 1, 1), np.float32),
    }
    assert operators(assert_equal_outputs(dense, feeds)) == ["SparseConv", "Add"]


def test_does_not_fold_past_a_second_reader(rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("Conv", ["X", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Mul", ["r", "c"], ["Y"]),
    ]
    dense = model(nodes, {"w": pruned(rng, 32, 16, 1, 1)}, [1, 16, 6, 6], 4)
    packed = assert_equal_outputs(dense, {"X": rng.standard_normal((1, 16, 6, 6)).astype(np.float32)})
    assert operators(packed) == ["SparseConv", "Relu", "Mul"]


def test_two_packed_branches_meet_in_one_add(rng: np.random.Generator) -> None:
    constants = {"a": pruned(rng, 32, 16, 1, 1), "b": pruned(rng, 32, 16, 3, 3), **norm(rng, 32, "bn")}
    nodes = [
        helper.make_node("Conv", ["X", "a"], ["ca"]),
        helper.make_node("Conv", ["X", "b"], ["cb"], pads=[1, 1, 1, 1]),
        norm_node("cb", "nb", "bn"),
        helper.make_node("Add", ["ca", "nb"], ["s"]),
        helper.make_node("Relu", ["s"], ["Y"]),
    ]
    dense = model(nodes, constants, [2, 16, 6, 6], 4)
    packed = assert_equal_outputs(dense, {"X": rng.standard_normal((2, 16, 6, 6)).astype(np.float32)})
    assert sorted(operators(packed)) == ["SparseConv", "SparseConvAddRelu"]


def test_tied_weights_are_packed_once(rng: np.random.Generator) -> None:
    nodes = [helper.make_node("MatMul", ["X", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["Y"])]
    packed = assert_equal_outputs(
        model(nodes, {"w": pruned(rng, 40, 40)}, [3, 40], 2), {"X": np.ones((3, 40), np.float32)}
    )
    assert operators(packed) == ["SparseMatMul", "SparseMatMul"]
    assert sum(tensor.name.startswith("w.gaps") for tensor in packed.graph.initializer) == 1


def test_weight_shared_with_a_gather_is_stored_once_and_expanded(rng: np.random.Generator) -> None:
    constants = {"w": pruned(rng, 40, 40), "i": np.array([1, 2], np.int64)}
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["g"]),
        helper.make_node("MatMul", ["X", "w"], ["m"]),
        helper.make_node("Add", ["m", "g"], ["Y"]),
    ]
    index = GraphIndex(model(nodes, constants, [2, 40], 2))
    (row,) = plan.make(index, match.find(index), "csr")
    assert (row.format, row.run, row.run_reason) == ("csr", "expanded", "shared with Gather")


def test_initializer_that_an_input_overrides_is_left_alone(rng: np.random.Generator) -> None:
    dense = model([helper.make_node("MatMul", ["X", "w"], ["Y"])], {"w": pruned(rng, 40, 40)}, [2, 40], 2)
    dense.graph.input.append(helper.make_tensor_value_info("w", 1, [40, 40]))
    assert match.find(GraphIndex(dense)) == []


def test_keeps_weight_that_would_grow(rng: np.random.Generator) -> None:
    index = GraphIndex(
        model(
            [helper.make_node("MatMul", ["X", "w"], ["Y"])],
            {"w": pruned(rng, 64, 64, density=1.0)},
            [2, 64],
            2,
        )
    )
    (row,) = plan.make(index, match.find(index), "csr")
    assert row.format == "dense" and row.packed_bytes == row.dense_bytes


def test_constant_nodes_count_as_initializers(rng: np.random.Generator) -> None:
    weight = onnx.numpy_helper.from_array(pruned(rng, 40, 40), "w")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Identity", ["w"], ["alias"]),
        helper.make_node("MatMul", ["X", "alias"], ["Y"]),
    ]
    packed = assert_equal_outputs(model(nodes, {}, [2, 40], 2), {"X": np.ones((2, 40), np.float32)})
    assert operators(packed) == ["SparseMatMul"]


@pytest.mark.parametrize("name", ["auto", *[fmt.name for fmt in formats.all_formats() if fmt.operator]])
def test_takes_weights_that_are_all_zero(name: str, rng: np.random.Generator) -> None:
    nodes = [helper.make_node("Conv", ["X", "w", "b"], ["c"]), helper.make_node("MatMul", ["c", "v"], ["Y"])]
    constants = {
        "w": np.zeros((32, 16, 3, 3), np.float32),
        "b": rng.standard_normal(32).astype(np.float32),
        "v": np.zeros((6, 64), np.float32),
    }
    dense = model(nodes, constants, [2, 16, 8, 8], 4)
    x = rng.standard_normal((2, 16, 8, 8)).astype(np.float32)
    assert not run(rewrite(dense, name), {"X": x}).any()


@pytest.mark.parametrize("opset", [11, 13, 17, 20, 21])
def test_takes_models_of_other_opsets(opset: int, rng: np.random.Generator) -> None:
    constants = {"w": pruned(rng, 32, 16, 3, 3)}
    nodes = [helper.make_node("Conv", ["X", "w"], ["c"]), helper.make_node("Relu", ["c"], ["Y"])]
    dense = model(nodes, constants, [1, 16, 8, 8], 4, opset=opset)
    assert_equal_outputs(dense, {"X": rng.standard_normal((1, 16, 8, 8)).astype(np.float32)})


@pytest.mark.parametrize("name", [fmt.name for fmt in formats.all_formats() if fmt.operator])
def test_stock_onnxruntime_folds_the_whole_decode_away(name: str, tmp_path: Path) -> None:
    fmt = formats.get(name)
    array = next(a for _, a in fmt.examples() if a.ndim == 2 and a.dtype == np.float32 and np.any(a))
    packed = fmt.pack(array)
    rows, cols = array.shape
    spec = OpSpec(fmt, "MatMul")
    constants = dict(packed.components) | {"s": np.ones(rows, np.float32), "b": np.zeros(rows, np.float32)}
    node = helper.make_node(
        spec.name,
        ["X", *fmt.operator_inputs, "s", "b"],
        ["Y"],
        domain=DOMAIN,
        shape=[rows, cols],
    )
    made = model([helper.make_node("Identity", ["X"], ["Y"])], constants, [2, cols], 2)
    made.graph.node[0].CopyFrom(node)
    made.functions.append(functions.build(spec))
    made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(made.SerializeToString(), options)
    left = operators(onnx.load(str(tmp_path / "optimized.onnx")))
    assert set(left) <= {"MatMul", "Gemm", "Add"}, left
