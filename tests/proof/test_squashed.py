"""A sigmoid is right to a few units of 1: near its ends a file may step where the source does not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from sparse_export.exporter.prove.squashed import STEP, squashed
from sparse_export.exporter.prove.verdict import Runs, Tolerance, judge


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    return helper.make_model(helper.make_graph(list(nodes), "g", ends[:1], ends[1:]))


def test_finds_sigmoids_behind_changes_of_shape() -> None:
    sigmoid = helper.make_node("Sigmoid", ["x"], ["s"])
    assert squashed(model(sigmoid, helper.make_node("Flatten", ["s"], ["y"]))) == {"y"}
    assert squashed(model(sigmoid, helper.make_node("Mul", ["s", "s"], ["y"]))) == set()


@pytest.mark.parametrize(("gap", "passes"), [(1.5e-7, True), (2e-6, False)])
def test_allows_a_step_and_no_more(gap: float, passes: bool) -> None:
    expected = np.array([[1e-6, 2e-6, 3e-6, 1.5e-7]], np.float32)
    got = expected.copy()
    got[0, 3] += np.float32(gap)
    runs = Runs("y", [expected], [got], step=STEP)
    assert judge(runs, Tolerance()).passed is passes
    assert not judge(Runs("y", [expected], [got]), Tolerance()).passed
