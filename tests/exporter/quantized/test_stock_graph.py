"""What stock onnxruntime makes of a file of integer layers: its own operators, every decode folded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import sparse_export
from tests.exporter.quantized import test_layers
from tests.exporter.quantized.qdq import residual

#: Prints the nodes of the optimised graph, and saves what a model gives on seeded inputs.
PROGRAM = """
import json, sys
import numpy as np, onnx, onnxruntime
version, outputs = onnxruntime.__version__, []
for place, path in enumerate(sys.argv[1:]):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = f"{path}.optimised"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shape = [size if isinstance(size, int) else 3 for size in session.get_inputs()[0].shape]
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    outputs.append(session.run(None, {"X": x})[0])
operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
print(json.dumps([version, operators, float(np.abs(outputs[0] - outputs[1]).max())]))
"""
OLD = os.environ.get("SPARSE_EXPORT_OLD_ORT", "")
#: Moved, not computed with.
LAYOUT = {"Transpose", "Reshape", "Flatten"}


def optimised(tmp_path: Path, model: onnx.ModelProto, *, old: bool) -> list[str]:
    """Operators of the exported file in a stock session, which must give what the source gives there."""
    source, target = tmp_path / "net.onnx", tmp_path / "small.onnx"
    onnx.save(model, source)
    sparse_export.export(source, format="csr", optimize="memory", output=target)
    path = os.pathsep.join(filter(None, [OLD if old else "", os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(source), str(target)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    version, operators, gap = json.loads(done.stdout.splitlines()[-1])
    assert version.startswith("1.20.") is old
    assert gap <= 0.021  # a quantum of the result: it is equal but for biases that were floats
    return [name for name in operators if name not in LAYOUT]


@pytest.mark.parametrize("runtime", ["newest", "oldest"])
def test_a_net_becomes_integer_operators(tmp_path: Path, rng: np.random.Generator, runtime: str) -> None:
    if runtime == "oldest" and not OLD:
        pytest.skip("SPARSE_EXPORT_OLD_ORT does not name a folder with onnxruntime 1.20")
    operators = optimised(tmp_path, residual(rng), old=runtime == "oldest")
    assert operators == [
        *("QuantizeLinear", "QLinearConv", "QLinearConv", "QLinearConv", "QLinearAdd"),
        *("QLinearGlobalAveragePool", "QGemm", "DequantizeLinear"),
    ]


@pytest.mark.parametrize(
    ("make", "operator"),
    [
        (test_layers.conv, "QLinearConv"),
        (test_layers.relu_of_signed, "QLinearConv"),
        (test_layers.clip, "QLinearConv"),
        (test_layers.grouped, "QLinearConv"),
        (test_layers.line, "QLinearConv"),
        (test_layers.unsigned_weight, "QGemm"),
        (test_layers.inputs_first, "QGemm"),
        (test_layers.turned, "QGemm"),
    ],
)
def test_no_layer_runs_in_floats(
    tmp_path: Path,
    rng: np.random.Generator,
    make: Callable[[np.random.Generator], onnx.ModelProto],
    operator: str,
) -> None:
    operators = optimised(tmp_path, make(rng), old=False)
    assert operator in operators
    assert not {"Conv", "FusedConv", "Gemm", "MatMul", "Add", "ScatterElements"} & set(operators)
