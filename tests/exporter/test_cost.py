"""Layers are packed for speed only where a kernel is expected, or measured, to be faster."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sparse_export.errors import MissingDependencyError
from sparse_export.exporter import tune
from sparse_export.exporter.graph import find as match
from sparse_export.exporter.graph.index import GraphIndex, concrete_shapes
from sparse_export.exporter.graph.normalize import normalize
from sparse_export.exporter.plan import cost, pack, plan
from sparse_export.exporter.rewrite import write as graph
from sparse_export.runtime.session import library_path

from ..onnx_models import model, pruned, residual_net


def plans_of(
    dense: onnx.ModelProto, format_name: str = "csr"
) -> tuple[GraphIndex, onnx.ModelProto, list[Any]]:
    dense = normalize(dense)
    index = GraphIndex(dense)
    return index, dense, plan.make(index, match.find(index), format_name)


def test_shapes_are_those_of_one_run(rng: np.random.Generator) -> None:
    shapes = concrete_shapes(residual_net(rng), [(1, 16, 12, 12)])
    assert shapes["c1"] == (1, 32, 12, 12) and shapes["Y"] == (1, 10)


@pytest.mark.parametrize(("density", "wins"), [(0.02, True), (0.1, True), (0.9, False)])
def test_expects_packed_to_win_when_it_is_sparse_enough(density: float, wins: bool) -> None:
    index = GraphIndex(residual_net(np.random.default_rng(0)))
    layer = match.find(index)[0]
    size = 256 * 256 * 9
    assert cost.estimate(layer, int(size * density), size, 14 * 14).packed_wins is wins


def test_keeps_half_dense_layers_dense_for_speed(rng: np.random.Generator) -> None:
    constants = {"a": pruned(rng, 64, 64, 3, 3, density=0.05), "b": pruned(rng, 64, 64, 3, 3, density=0.6)}
    nodes = [
        helper.make_node("Conv", ["X", "a"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "b"], ["Y"], pads=[1, 1, 1, 1]),
    ]
    _, dense, plans = plans_of(model(nodes, constants, ["n", 64, 28, 28], 4))
    cost.keep_slow_layers_dense(dense, plans, [(1, 64, 28, 28)])
    assert [row.format for row in plans] == ["csr", "dense"]
    assert "expected slower" in plans[1].reason and plans[1].runner_up[0] == "csr"


def test_format_without_a_kernel_stays_dense_for_speed(rng: np.random.Generator) -> None:
    _, dense, plans = plans_of(residual_net(rng), "bitmask")
    cost.keep_slow_layers_dense(dense, plans, [(1, 16, 12, 12)])
    assert {row.format for row in plans} == {"dense"}


def test_measures_every_layer_and_keeps_the_graph_whole(rng: np.random.Generator) -> None:
    try:
        library_path()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    index, dense, plans = plans_of(residual_net(rng))
    packed = pack.pack(plans)
    tune.keep_measured_slow_layers_dense(index, dense, plans, packed, [(1, 16, 12, 12)])
    assert set(packed) == {row.name for row in plans if row.packed}
    assert all("measured" in row.reason for row in plans if row.runner_up)
    onnx.checker.check_model(graph.rewrite(index, dense, plans, packed))


def test_depthwise_layers_stay_dense_for_speed(rng: np.random.Generator) -> None:
    node = helper.make_node("Conv", ["X", "w"], ["Y"], group=256, pads=[1, 1, 1, 1])
    weight = pruned(rng, 256, 1, 3, 3)
    _, dense, plans = plans_of(model([node], {"w": weight}, ["n", 256, 14, 14], 4))
    assert plans[0].format == "csr"
    cost.keep_slow_layers_dense(dense, plans, [(1, 256, 14, 14)])
    assert plans[0].format == "dense" and "depthwise" in plans[0].reason
