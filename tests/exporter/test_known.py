"""Functions that count on what every node of their operator has: the source's own Gemm, no factors of 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import sparse_export
from sparse_export.formats.parts import flat_gaps

from ..onnx_models import model, pruned

X = [4, 96]


def exported(dense: onnx.ModelProto, tmp_path: Path, name: str = "tight") -> onnx.ModelProto:
    """The packed file of a model, every layer packed in that format, its outputs proven equal."""
    source, target = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
    onnx.save(dense, source)
    sparse_export.export(source, output=target, format=name, optimize="memory")
    x = {"X": np.random.default_rng(1).standard_normal(X).astype(np.float32)}
    wanted, got = (onnxruntime.InferenceSession(path).run(None, x)[0] for path in (source, target))
    np.testing.assert_array_equal(got, wanted)
    return onnx.load(target)


def kinds(made: onnx.ModelProto) -> set[str]:
    """Operators in the functions of a file."""
    return {node.op_type for function in made.functions for node in function.node}


def layer(op_type: str, *names: str, **attributes: float) -> onnx.NodeProto:
    return helper.make_node(op_type, names[:-1], names[-1:], **attributes)


def test_a_gemm_takes_its_weight_as_it_lies(rng: np.random.Generator, tmp_path: Path) -> None:
    constants = {"w": pruned(rng, 64, 96), "b": rng.standard_normal(64).astype(np.float32)}
    made = exported(model([layer("Gemm", "X", "w", "b", "Y", transB=1)], constants, X, 2), tmp_path)
    assert "Gemm" in kinds(made) and not {"MatMul", "Transpose"} & kinds(made)
    assert "w_place" not in {name for node in made.functions[0].node for name in node.output}
    assert "w_scale" not in {name for node in made.functions[0].node for name in node.output}


def test_what_one_node_lacks_the_function_does_without(rng: np.random.Generator, tmp_path: Path) -> None:
    constants = {"w": pruned(rng, 64, 96), "v": pruned(rng, 64, 32), "b": np.ones(64, np.float32)}
    nodes = [layer("Gemm", "X", "w", "b", "h", transB=1), layer("MatMul", "h", "v", "Y")]
    made = exported(model(nodes, constants, X, 2), tmp_path)
    assert len(made.functions) == 1
    assert "Gemm" not in kinds(made) and "MatMul" in kinds(made)


def test_factors_of_one_node_are_multiplied_in_all(rng: np.random.Generator, tmp_path: Path) -> None:
    constants = {"w": pruned(rng, 64, 96), "v": pruned(rng, 32, 64), "b": np.ones(64, np.float32)}
    constants["c"] = np.ones(32, np.float32)
    second = layer("Gemm", "h", "v", "c", "Y", transB=1, alpha=0.5)
    made = exported(model([layer("Gemm", "X", "w", "b", "h", transB=1), second], constants, X, 2), tmp_path)
    assert len(made.functions) == 1 and "Gemm" in kinds(made)
    assert "w_scale" in {name for node in made.functions[0].node for name in node.output}


@pytest.mark.parametrize("name", ["tight", "split"])
@pytest.mark.parametrize("op_type", ["Gemm", "MatMul", "Gather"])
def test_a_large_weight_is_decoded_in_parts(
    name: str, op_type: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat_gaps, "PART", 1000)
    if op_type == "Gather":
        constants = {"w": pruned(rng, 400, 96), "i": np.array([3, 399, 7, 0])}
        nodes = [layer("Gather", "w", "i", "g"), layer("Add", "X", "g", "Y")]
    elif op_type == "Gemm":
        constants = {"w": pruned(rng, 400, 96), "b": np.ones(400, np.float32)}
        nodes = [layer("Gemm", "X", "w", "b", "Y", transB=1)]
    else:
        constants, nodes = {"w": pruned(rng, 96, 400)}, [layer("MatMul", "X", "w", "Y")]
    made = exported(model(nodes, constants, X, 2), tmp_path, name)
    assert {node.op_type for node in made.graph.node} != {op_type}
    names = {name for node in made.functions[0].node for name in node.output}
    assert {"position_0", "position_3"} <= names
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(tmp_path / "packed.onnx", options)
    left = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert left <= {"Gemm", "MatMul", "Gather", "Add"}
