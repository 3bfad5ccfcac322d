"""Whatever opset a model is of: the exported file computes what the model's own bytes compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import sparse_export
from sparse_export.errors import InputError
from sparse_export.exporter.graph.domain import DOMAIN

from . import cases
from .running import assert_same_in_both_runtimes


@pytest.mark.parametrize(("name", "opset"), cases.pairs())
def test_keeps_what_an_operator_means(name: str, opset: int, tmp_path: Path) -> None:
    case, _ = cases.CASES[name]
    source = tmp_path / "source.onnx"
    onnx.save(cases.build(case, opset), str(source))
    x = np.random.default_rng(1).standard_normal(cases.SHAPE).astype(np.float32)
    written = assert_same_in_both_runtimes(source, {"X": x})
    assert DOMAIN in {node.domain for node in written.graph.node}


REFUSED = {
    "BatchNormalization by position": (
        8,
        helper.make_node("BatchNormalization", ["h", "g", "g", "g", "g"], ["Y"], name="bn", spatial=0),
        "'bn': BatchNormalization of opset 8 normalises each position",
    ),
    "Dropout with its mask": (
        9,
        helper.make_node("Dropout", ["h"], ["Y", "mask"], name="drop"),
        "'drop': Dropout of opset 9 gives its mask",
    ),
    "Resize by computed scales": (
        10,
        helper.make_node("Resize", ["h", "h"], ["Y"], name="up"),
        "'up': Resize of opset 10 takes the nearest value",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name_what_has_no_equal(name: str, tmp_path: Path) -> None:
    opset, node, message = REFUSED[name]
    made = cases.build(lambda opset, constants: [node], opset)
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 8, 64), np.float32), "g"))
    if node.op_type == "Dropout":
        made.graph.node.append(helper.make_node("Identity", ["mask"], ["Z"]))
    onnx.save(made, str(tmp_path / "source.onnx"))
    with pytest.raises(InputError, match=message):
        sparse_export.export(tmp_path / "source.onnx")
