"""Layers are packed for speed only where a kernel is expected, or measured, to be faster."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sparse_export import formats
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


@pytest.mark.parametrize("target", ["avx2", "avx512", "avx512vnni"])
@pytest.mark.parametrize(("density", "wins"), [(0.02, True), (0.1, True), (0.9, False)])
def test_expects_packed_to_win_when_it_is_sparse_enough(density: float, wins: bool, target: str) -> None:
    size = 256 * 256 * 9
    work = cost.Work("square", size, int(size * density), 256, 14 * 14, 256 * 14 * 14)
    assert cost.estimate(work, "csr", target).packed_wins is wins


def test_bits_of_floats_are_expected_to_lose_on_avx2() -> None:
    size = 512 * 512 * 9
    work = cost.Work("square", size, size, 512, 7 * 7, 512 * 7 * 7)
    assert not cost.estimate(work, "bitpack", "avx2").packed_wins


def test_table_has_every_kind_of_layer_on_every_target() -> None:
    for target in ("scalar", "avx2", "avx512", "avx512vnni", "unheard of"):
        for kind in ("square", "pointwise", "thin", "line", "linear"):
            for fmt in formats.with_kernel():
                found = cost.estimate(cost.Work(kind, 4096, 400, 64, 100, 6400), fmt.name, target)
                assert 0 < found.dense < 1 and 0 < found.packed < 1


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((8, 8, 3, 3), "square"),
        ((8, 8, 1, 1), "pointwise"),
        ((8, 8, 64, 1), "thin"),
        ((8, 8, 1, 7), "thin"),
        ((8, 8, 3), "line"),
        ((8, 8, 1), "line"),
    ],
)
def test_a_convolution_is_of_the_kind_that_its_kernel_says(shape: tuple[int, ...], kind: str) -> None:
    rng = np.random.default_rng(0)
    x_shape = ["n", 8, *[64] * (len(shape) - 2)]
    node = helper.make_node("Conv", ["X", "w"], ["Y"])
    dense = normalize(model([node], {"w": pruned(rng, *shape)}, x_shape, len(shape)))
    index = GraphIndex(dense)
    (layer,) = match.find(index)
    work = cost.work_of(layer, 1, 8, concrete_shapes(dense, None))
    assert work is not None and work.kind == kind and work.rows == 8


def test_what_it_says_agrees_with_its_numbers(rng: np.random.Generator) -> None:
    for density in np.linspace(0.02, 0.75, 12):
        weight = pruned(rng, 64, 64, 3, 3, density=float(density))
        node = helper.make_node("Conv", ["X", "w"], ["Y"], pads=[1, 1, 1, 1])
        _, dense, plans = plans_of(model([node], {"w": weight}, ["n", 64, 28, 28], 4))
        if not plans[0].packed:
            continue
        cost.keep_slow_layers_dense(dense, plans, [(1, 64, 28, 28)], target="avx512")
        reason = plans[0].reason
        said = re.search(r"([0-9.e-]+) ms packed, ([0-9.e-]+) ms dense", reason)
        assert said, reason
        packed, whole = float(said[1]), float(said[2])
        assert ("expected slower" in reason) == (packed >= whole), reason
        assert plans[0].packed == (packed * cost.MARGIN < whole), reason


def test_keeps_half_dense_layers_dense_for_speed(rng: np.random.Generator) -> None:
    constants = {"a": pruned(rng, 64, 64, 3, 3, density=0.05), "b": pruned(rng, 64, 64, 3, 3, density=0.6)}
    nodes = [
        helper.make_node("Conv", ["X", "a"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "b"], ["Y"], pads=[1, 1, 1, 1]),
    ]
    _, dense, plans = plans_of(model(nodes, constants, ["n", 64, 28, 28], 4))
    cost.keep_slow_layers_dense(dense, plans, [(1, 64, 28, 28)], target="avx512")
    assert [row.format for row in plans] == ["csr", "dense"]
    assert "expected" in plans[1].reason and plans[1].runner_up[0] == "csr"


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
    feeds = {"X": rng.standard_normal((1, 16, 12, 12)).astype(np.float32)}
    tune.keep_measured_slow_layers_dense(index, dense, plans, packed, [(1, 16, 12, 12)], feeds)
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
