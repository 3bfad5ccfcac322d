"""Layers run packed for speed only where a kernel is expected, or measured, to be faster."""

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
from sparse_export.exporter.plan import pack, plan, runs, works
from sparse_export.exporter.rewrite import write as graph
from sparse_export.runtime import cost
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


@pytest.mark.parametrize("target", ["avx2", "avxvnni", "avx512", "avx512vnni"])
@pytest.mark.parametrize(("density", "wins"), [(0.02, True), (0.1, True), (0.9, False)])
def test_expects_packed_to_win_when_it_is_sparse_enough(density: float, wins: bool, target: str) -> None:
    size = 256 * 256 * 9
    work = cost.Work("square", size, int(size * density), 256, 14 * 14, 256 * 14 * 14)
    assert cost.estimate(work, "csr", target).wins_by(runs.MARGIN) is wins


def test_a_layer_alone_must_win_by_more_than_its_neighbours_cost() -> None:
    narrow, clear = (cost.Estimate(1.0, packed, caution=cost.CAUTION) for packed in (0.9, 0.85))
    assert narrow.loses and not clear.loses
    works_ = [cost.Work("pointwise", 65536, nnz, 256, 196, 50176) for nnz in (6553, 13107)]
    both = cost.total(works_, "csr", "avx2")
    assert both.caution == cost.CAUTION
    assert both.packed == sum(cost.estimate(work, "csr", "avx2").packed for work in works_)


def test_table_has_every_kind_of_layer_on_every_target() -> None:
    for target in ("scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "unheard of"):
        for kind in set(cost.kinds()) - {cost.DEPTHWISE, cost.INTEGERS}:
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
    work = works.work_of(layer, 1, 8, concrete_shapes(dense, None))
    assert work is not None and work.kind == kind and work.rows == 8


def decided(made: onnx.ModelProto, shape: tuple[int, ...], format_name: str = "csr") -> list[Any]:
    """The plans of a model for speed on AVX-512."""
    index, dense, plans = plans_of(made, format_name)
    runs.decide(index, dense, plans, "speed", [shape], target="avx512")
    return plans


def test_what_it_says_agrees_with_its_numbers(rng: np.random.Generator) -> None:
    for density in np.linspace(0.02, 0.75, 12):
        weight = pruned(rng, 64, 64, 3, 3, density=float(density))
        node = helper.make_node("Conv", ["X", "w"], ["Y"], pads=[1, 1, 1, 1])
        (row,) = decided(model([node], {"w": weight}, ["n", 64, 28, 28], 4), (1, 64, 28, 28))
        said = re.search(r"([0-9.e-]+) ms packed, ([0-9.e-]+) ms dense", row.run_reason)
        assert said, row.run_reason
        packed, whole = float(said[1]), float(said[2])
        assert ("gain less" in row.run_reason) == (packed <= whole <= packed * runs.MARGIN), row.run_reason
        assert row.runs_packed == (packed * runs.MARGIN < whole), row.run_reason


def test_half_dense_layers_are_expanded_for_speed(rng: np.random.Generator) -> None:
    constants = {"a": pruned(rng, 64, 64, 3, 3, density=0.05), "b": pruned(rng, 64, 64, 3, 3, density=0.6)}
    nodes = [
        helper.make_node("Conv", ["X", "a"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "b"], ["Y"], pads=[1, 1, 1, 1]),
    ]
    plans = decided(model(nodes, constants, ["n", 64, 28, 28], 4), (1, 64, 28, 28))
    assert [(row.format, row.run) for row in plans] == [("csr", "packed"), ("csr", "expanded")]
    assert "expected" in plans[1].run_reason


def test_a_format_whose_rows_the_library_reads_costs_what_csr_costs(rng: np.random.Generator) -> None:
    weight = pruned(rng, 64, 64, 3, 3, density=0.05)
    node = helper.make_node("Conv", ["X", "w"], ["Y"], pads=[1, 1, 1, 1])
    made = model([node], {"w": weight}, ["n", 64, 28, 28], 4)
    csr, bitmask = (decided(made, (1, 64, 28, 28), name)[0] for name in ("csr", "bitmask"))
    assert bitmask.runs_packed and bitmask.run_reason == csr.run_reason


def test_measures_every_layer_and_keeps_the_graph_whole(rng: np.random.Generator) -> None:
    try:
        library_path()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    index, dense, plans = plans_of(residual_net(rng))
    packed = pack.pack(plans)
    feeds = {"X": rng.standard_normal((1, 16, 12, 12)).astype(np.float32)}
    measured = tune.expand_measured_slow(index, dense, plans, packed, [(1, 16, 12, 12)], feeds)
    assert set(measured) == {row.name for row in plans if row.runs_packed}
    assert all("measured" in row.run_reason for row in plans if row.sites)
    packed |= pack.pack([row for row in plans if row.expanded])
    onnx.checker.check_model(graph.rewrite(index, dense, plans, packed))


def test_depthwise_layers_are_expanded_for_speed(rng: np.random.Generator) -> None:
    node = helper.make_node("Conv", ["X", "w"], ["Y"], group=256, pads=[1, 1, 1, 1])
    made = model([node], {"w": pruned(rng, 256, 1, 3, 3)}, ["n", 256, 14, 14], 4)
    (row,) = decided(made, (1, 256, 14, 14))
    assert row.expanded and "depthwise" in row.run_reason


def test_integers_too_have_to_win_by_more_than_the_table_errs() -> None:
    found = cost.estimate(cost.Work(cost.INTEGERS, 18432, 10888, 128, 256, 16384), "csr", "avx512vnni")
    assert found.packed < found.dense < found.packed * cost.CAUTION
    assert found.loses


def test_a_target_that_was_not_measured_costs_what_the_longest_name_costs_that_it_begins_with() -> None:
    work = cost.Work(cost.INTEGERS, 147456, 50000, 256, 196, 50176)
    assert cost.estimate(work, "csr", "avxvnni_evex") == cost.estimate(work, "csr", "avxvnni")
    assert cost.estimate(work, "csr", "avxvnni") != cost.estimate(work, "csr", "avx2")
    floats = cost.Work("square", 589824, 58982, 256, 196, 50176)
    assert cost.estimate(floats, "csr", "avxvnni") == cost.estimate(floats, "csr", "avx2")
