"""What inputs and outputs may state: -1 is an open dimension; other oddities are damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sparse_export.errors import CorruptFileError
from sparse_export.exporter import api
from sparse_export.exporter.files.onnx_read import read_onnx


def saved(folder: Path, batch: int) -> Path:
    weight = np.zeros((64, 32), np.float32)
    weight[::7] = 1
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [batch, 64]), ("y", [batch, 32]))
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def test_minus_one_is_open(tmp_path: Path) -> None:
    path = saved(tmp_path, -1)
    assert not read_onnx(path).graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    report = api.export(path, format="csr", output=tmp_path / "out.onnx")
    assert report.verification is not None and report.verification.passed


def test_other_negative_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="negative dimension"):
        read_onnx(saved(tmp_path, -2))


@pytest.mark.parametrize("ends", ["input", "output"])
def test_unknown_element_types_are_refused(tmp_path: Path, ends: str) -> None:
    path = saved(tmp_path, 1)
    model = onnx.load(path)
    getattr(model.graph, ends)[0].type.tensor_type.elem_type = 255
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CorruptFileError, match="element type 255"):
        read_onnx(path)
