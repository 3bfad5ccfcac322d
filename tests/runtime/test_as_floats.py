"""Layers of integers on processors that multiply floats faster: what runs there, and that it is the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sparse_export
from sparse_export.runtime import as_floats, choice, cost
from sparse_export.runtime.domains import EXPANDED_DOMAIN
from sparse_export.runtime.target import VARIABLE, kernel_target
from tests.exporter.quantized.qdq import Qdq, residual
from tests.native.tables import SUPPORTED

from .profiles import operators, profiled

pytestmark = pytest.mark.skipif("avx2" not in SUPPORTED, reason="the costs are those of AVX2")
#: Works in which floats win and in which packed integers, dense ones and floats lose by far.
FLOATS = {choice.WORK_KEY: ["int8", 9216, 5000, 128, 784, 100352]}
FLOATS[choice.FLOAT_WORK_KEY] = ["square", 36864, 400, 128, 784, 100352]


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_target()  # the library settles on its own target first, for whatever runs after this
    monkeypatch.setenv(VARIABLE, "avx2")


def telling(model: onnx.ModelProto, **told: Any) -> onnx.ModelProto:
    """The model with this said of every node of integers, and nothing else."""
    del model.metadata_props[:]
    names = [node.name for node in model.graph.node if as_floats.split(node.op_type)]
    for key, work in told.items():
        model.metadata_props.add(key=key, value=json.dumps(dict.fromkeys(names, work)))
    return model


def packed(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    onnx.save(model, folder / "net.onnx")
    sparse_export.export(folder / "net.onnx", format="csr", optimize="memory", output=folder / "small.onnx")
    return onnx.load(folder / "small.onnx")


def linear(rng: np.random.Generator) -> onnx.ModelProto:
    """A MatMul with bias whose result stays float."""
    net = Qdq(rng, [3, 256])
    weight = net.weight(net.codes(200, 256))
    return net.model(net.add("Gemm", [net.input(), weight, net.hold(np.ones(200, np.float32))], transB=1))


@pytest.mark.parametrize(
    ("made", "expected"),
    [(residual, {"SparseFConvAdd"}), (linear, {"SparseFMatMulFloat"})],
    ids=["conv", "linear"],
)
def test_computes_in_floats_and_gives_the_same_bits(
    made: Any, expected: set[str], rng: np.random.Generator, tmp_path: Path, avx2: None
) -> None:
    model = telling(packed(made(rng), tmp_path), **FLOATS)
    name, shape = (
        model.graph.input[0].name,
        [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim],
    )
    feeds = {name: rng.standard_normal(shape).astype(np.float32)}
    found = sparse_export.InferenceSession(model.SerializeToString(), profiled(tmp_path))
    integers = sparse_export.InferenceSession(model.SerializeToString(), packed="all").run(None, feeds)[0]
    np.testing.assert_array_equal(found.run(None, feeds)[0], integers)
    ran = operators(found, feeds)
    assert expected <= ran and not any(
        "QConv" in name or "QMatMul" in name or name == "QLinearAdd" for name in ran
    )


@pytest.mark.parametrize("target", ["avx512vnni", "neondot"])
def test_integers_stay_where_floats_are_not_known_to_be_faster(
    target: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    assert math.isinf(cost.as_floats(cost.Work(*FLOATS[choice.FLOAT_WORK_KEY]), target))
    found = choice.settled(
        telling(packed(residual(rng), tmp_path), **FLOATS).SerializeToString(), target
    ).model
    assert found is None or b"SparseFConv" not in found


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        ([1, 3, 2], {("sparse_export", "SparseQConvAdd")}),
        ([2, 3, 1], {("sparse_export", "SparseFConvAdd")}),
        ([3, 1, 2], {(EXPANDED_DOMAIN, "SparseQConvAdd")}),
    ],
)
def test_what_was_measured_of_three_ways_decides(
    microseconds: list[int], expected: set[tuple[str, str]], rng: np.random.Generator, tmp_path: Path
) -> None:
    model = telling(packed(residual(rng), tmp_path), **FLOATS)
    names = [node.name for node in model.graph.node if as_floats.split(node.op_type)]
    measured = {"avx2": dict.fromkeys(names, microseconds)}
    model.metadata_props.add(key=choice.MEASURED_KEY, value=json.dumps(measured))
    found = choice.settled(model.SerializeToString(), "avx2").model
    nodes = (onnx.load_from_string(found) if found else model).graph.node
    ours = {(node.domain, node.op_type) for node in nodes if "Conv" in node.op_type and node.domain}
    assert {one for one in ours if "Add" in one[1]} == expected


def test_registers_what_runs_and_drops_functions_that_nothing_calls(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    model = telling(packed(residual(rng), tmp_path), **FLOATS)
    found = choice.settled(model.SerializeToString(), "avx2")
    assert found.operators and found.model
    assert found.operators == {
        as_floats.inner(node.op_type) for node in model.graph.node if as_floats.split(node.op_type)
    }
    assert not onnx.load_from_string(found.model).functions
