"""Trained networks as test subjects: pruning them, judging what was written, and the page about them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tools import field_page


@pytest.fixture
def models(common: ModuleType) -> ModuleType:
    """benchmarks/field_models.py."""
    return importlib.import_module("field_models")


@pytest.fixture
def field(common: ModuleType) -> ModuleType:
    """benchmarks/field.py."""
    return importlib.import_module("field")


def nested(rng: np.random.Generator) -> onnx.ModelProto:
    """Weights as initializer, as Constant node and in a branch of an If; a bias and a table beside them."""
    weights = {
        name: rng.standard_normal((32, 32)).astype(np.float32) for name in ("w", "c", "inner", "table")
    }
    then = helper.make_graph(
        [helper.make_node("MatMul", ["h", "inner"], ["t"])],
        "then",
        [],
        [helper.make_tensor_value_info("t", 1, None)],
        [numpy_helper.from_array(weights["inner"], "inner")],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["h"], ["u"])], "else", [], [helper.make_tensor_value_info("u", 1, None)]
    )
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weights["c"])),
        helper.make_node("MatMul", ["X", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "c"], ["b"]),
        helper.make_node("Add", ["b", "table"], ["h"]),
        helper.make_node("If", ["yes"], ["Y"], then_branch=then, else_branch=other),
    ]
    inputs = [
        helper.make_tensor_value_info("X", 1, [32, 32]),
        helper.make_tensor_value_info("yes", onnx.TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("Y", 1, None)]
    held = [numpy_helper.from_array(weights[name], name) for name in ("w", "table")]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, held), ir_version=8)


def test_prunes_weights_wherever_they_are_held(models: ModuleType, tmp_path: Path) -> None:
    onnx.save(nested(np.random.default_rng(0)), tmp_path / "net.onnx")
    models.prune_onnx(tmp_path / "net.onnx", tmp_path / "pruned.onnx", 0.9)
    graph = onnx.load(tmp_path / "pruned.onnx").graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    held["c"] = numpy_helper.to_array(graph.node[0].attribute[0].t)
    branch = next(item.g for item in graph.node[-1].attribute if item.name == "then_branch")
    held["inner"] = numpy_helper.to_array(branch.initializer[0])
    left = {name: int(np.count_nonzero(array)) for name, array in held.items()}
    assert left == {"w": 102, "c": 102, "inner": 102, "table": 1024}


def test_the_smallest_magnitudes_go(models: ModuleType) -> None:
    array = np.array([[3, -1, 0.5], [-4, 2, -0.1]], np.float32)
    assert models.smallest_to_zero(array, 0.5).tolist() == [[3, 0, 0], [-4, 2, 0]]
    assert np.array_equal(models.smallest_to_zero(array, 0), array)


def test_every_model_has_an_input_for_each_of_its_names(models: ModuleType) -> None:
    for item in models.MODELS:
        feeds = item.feeds(0)
        assert feeds and all(np.isfinite(array).all() for array in feeds.values())
        assert all(np.array_equal(item.feeds(0)[name], array) for name, array in feeds.items())


def test_differences_are_of_each_output_by_its_own_size(field: ModuleType) -> None:
    small, large = np.full(3, 1e-6, np.float32), np.full(3, 1e6, np.float32)
    assert field.difference([small, large], [small * 2, large]) == pytest.approx(1)
    assert field.difference([small], [small]) == 0
    assert "not finite" in field.difference([small * np.nan], [small * np.nan])
    assert "not float32" in field.difference([small], [small.astype(np.float64)])
    assert field.difference([small], "no such operator") == "no such operator"


def row(**changes: Any) -> dict[str, Any]:
    good = {"rc": 0, "bytes": 500, "packed": 3, "of": 4, "stock": 1e-7, "library": 1e-6}
    quick = {"value": 1.5, "low": 1.4, "high": 1.6, "verdict": "faster"}
    figures = {"median_ms": 1.0, "speedup": quick, "load_ms": 10.0, "private_bytes": 5_000_000}
    kinds = ("default", "speed", "tuned")
    timing = {"dense": figures | {"speedup": None}} | {kind: dict(figures) for kind in kinds}
    made: dict[str, Any] = {
        "model": "net",
        "rate": 0.9,
        "target": "avx2",
        "dense_bytes": 1000,
        "timing": timing,
    }
    return made | {kind: dict(good) for kind in kinds} | changes


def test_broken_promises_are_named(field: ModuleType) -> None:
    assert field.broken([row()]) == []
    failed = row(speed={"rc": 2, "error": "no inputs"})
    assert field.broken([failed]) == ["net at 90% on avx2, speed: exit 2: no inputs"]
    wrong = row(default=row()["default"] | {"library": 0.2})
    assert "library: 0.2" in field.broken([wrong])[0]
    slow = row()
    slow["timing"]["tuned"]["speedup"] = {"value": 0.8, "low": 0.7, "high": 0.9, "verdict": "slower"}
    assert field.broken([slow]) == ["net at 90% on avx2, tuned: 0.80x of dense's speed"]
    heavy = row()
    heavy["timing"]["default"]["private_bytes"] = 6_000_000
    assert field.broken([heavy]) == ["net at 90% on avx2, default: 6,000,000 B private, dense 5,000,000 B"]
    bigger = row(default=row()["default"] | {"bytes": 2000})
    assert "2,000 B" in field.broken([bigger])[0]


def test_the_page_has_a_line_for_each_file_and_each_failure() -> None:
    machine = {"date": "2026-01-01", "cpu": "x", "cpus": 2, "flags": [], "versions": {"onnxruntime": "1"}}
    rows = [row(), row(speed={"rc": 2, "error": "no inputs"})]
    text = field_page.page({"machine": machine, "rows": rows})
    lines = [line for line in text.splitlines() if line.startswith("| net")]
    assert len(lines) == 8 and len({line.count("|") for line in lines}) == 1
    assert "exit 2: no inputs" in text and "2.00x" in text and "1.50x" in text


@pytest.mark.skipif(sys.platform != "linux", reason="patches the Linux library")
def test_variables_of_an_instruction_set(common: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    avx2_runtime = importlib.import_module("avx2_runtime")
    monkeypatch.setattr(avx2_runtime, "make", lambda target: Path("/copy", target))
    assert avx2_runtime.environment(None) == {}
    assert avx2_runtime.environment("avx512") == {"SPARSE_EXPORT_TARGET": "avx512"}
    assert avx2_runtime.environment("avx2") == {"SPARSE_EXPORT_TARGET": "avx2", "PYTHONPATH": "/copy/avx2"}
    assert avx2_runtime.environment("scalar")["PYTHONPATH"] == "/copy/scalar"
