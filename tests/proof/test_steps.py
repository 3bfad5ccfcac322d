"""A sigmoid is right to a few units of 1: near its ends a file may step where the source does not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sparse_export.exporter.prove.steps import QUANTA, STEP, steps
from sparse_export.exporter.prove.verdict import Runs, Tolerance, judge


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    return helper.make_model(helper.make_graph(list(nodes), "g", ends[:1], ends[1:]))


def test_finds_sigmoids_behind_changes_of_shape() -> None:
    sigmoid = helper.make_node("Sigmoid", ["x"], ["s"])
    assert steps(model(sigmoid, helper.make_node("Flatten", ["s"], ["y"]))) == {"y": STEP}
    assert steps(model(sigmoid, helper.make_node("Mul", ["s", "s"], ["y"]))) == {}


def test_an_output_of_integers_steps_by_their_scale() -> None:
    one = model(helper.make_node("DequantizeLinear", ["x", "scale"], ["y"]))
    one.graph.initializer.append(numpy_helper.from_array(np.float32(0.25), "scale"))
    assert steps(one) == {"y": QUANTA * 0.25}


@pytest.mark.parametrize(("gap", "passes"), [(1.5e-7, True), (2e-6, False)])
def test_allows_a_step_and_no_more(gap: float, passes: bool) -> None:
    expected = np.array([[1e-6, 2e-6, 3e-6, 1.5e-7]], np.float32)
    got = expected.copy()
    got[0, 3] += np.float32(gap)
    runs = Runs("y", [expected], [got], step=STEP)
    assert judge(runs, Tolerance()).passed is passes
    assert not judge(Runs("y", [expected], [got]), Tolerance()).passed


@pytest.mark.parametrize(("gap", "passes"), [(QUANTA, True), (QUANTA + 1, False)])
def test_an_output_that_is_quantized_last_is_right_to_a_few_quanta(gap: int, passes: bool) -> None:
    one = model(helper.make_node("QuantizeLinear", ["x", "scale"], ["y"]))
    expected = np.arange(200, dtype=np.uint8)
    got = expected.copy()
    got[7] += gap
    runs = Runs("y", [expected], [got], step=steps(one)["y"])
    assert judge(runs, Tolerance()).passed is passes
    assert not judge(Runs("y", [expected], [got]), Tolerance()).passed
