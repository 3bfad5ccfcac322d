"""Every constant of 1 kB or more is in the plan with a reason, wherever it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export

from ...onnx_models import pruned
from .made import WIDTH, write

node = helper.make_node


def branch(name: str, rng: np.random.Generator) -> object:
    weight = numpy_helper.from_array(pruned(rng, WIDTH, WIDTH), f"{name}.w")
    nodes = [node("MatMul", ["x", f"{name}.w"], [f"{name}.h"])]
    if name == "else":
        nodes.insert(0, node("Constant", [], ["else.w"], value=weight))
    nodes.append(node("MatMul", [f"{name}.h", "seen"], [f"{name}.y"]))
    held = [weight] if name == "then" else []
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}.y", 1, None)], held)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    size = WIDTH // 2
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("LSTM", ["e", "input_w", "state_w"], ["o"], hidden_size=size),
        node("Reshape", ["o", "flat"], ["f"]),
        node("MatMul", ["left", "f"], ["l"]),
        node("Transpose", ["l"], ["lt"], perm=[1, 0]),
        node("Gemm", ["lt", "packed", "bias"], ["x"]),
        node("ReduceMax", ["x"], ["s"], keepdims=0),
        node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        node("If", ["c"], ["y"], then_branch=branch("then", rng), else_branch=branch("else", rng)),
    ]
    constants = {
        "table": pruned(rng, 100, 32),
        "input_w": pruned(rng, 1, 4 * size, 32),
        "state_w": pruned(rng, 1, 4 * size, size),
        "flat": np.array([4, size]),
        "left": pruned(rng, 256, 4),
        "packed": pruned(rng, 256, WIDTH),
        "bias": np.ones((size, WIDTH), np.float32),
        "seen": pruned(rng, WIDTH, WIDTH),
    }
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [4, 1])
    return write(tmp_path / "m.onnx", nodes, constants, inputs=[ids], opset=17, ir=8)


def test_plan_has_a_reason_for_each(source: Path) -> None:
    report = sparse_export.export(source, format="csr", dry_run=True)
    reasons = {row["name"]: row["reason"] for row in report.layers}
    told = {
        "table": "read by Gather: no packed operator takes it there",
        "input_w": "read by LSTM: no packed operator takes it there",
        "state_w": "read by LSTM: no packed operator takes it there",
        "left": "read by MatMul as its left side: no packed operator takes it there",
        "packed": "its bias is no constant vector over the outputs",
        "seen": "read inside If: packed operators stand outside",
        "then.w": "read inside If: packed operators stand outside",
    }
    assert {
        name: reason.rpartition("expanded: ")[2] for name, reason in reasons.items() if name in told
    } == told
    assert {row["run"] for row in report.layers if row["name"] in told} == {"expanded"}
    assert reasons["bias"].endswith("read by Gemm: no packed operator takes it there")
    assert len(report.weights) == 9


def test_vectors_are_told_but_not_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", 1, ["n", 64])]
    constants = {"w": pruned(rng, 64, 300), "b": np.ones(300, np.float32)}
    report = sparse_export.export(write(tmp_path / "m.onnx", nodes, constants, inputs=inputs), dry_run=True)
    assert [row["name"] for row in report.layers] == ["w", "b"]
    assert [row["name"] for row in report.weights] == ["w"] and report.size == 64 * 300


def test_onnx_to_onnx_needs_no_torch(tmp_path: Path, rng: np.random.Generator) -> None:
    source = write(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], {"w": pruned(rng, WIDTH, WIDTH)})
    program = (
        "import sys, sparse_export.cli\n"
        "try: sparse_export.cli.main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'onnxscript', 'onnx_ir', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or None)\n"
    )
    for arguments in (
        ["export", source, "-o", tmp_path / "o.onnx"],
        ["verify", source, tmp_path / "o.onnx"],
        ["inspect", source],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{arguments[0]} imports {done.stderr}"
