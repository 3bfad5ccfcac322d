"""What an operator takes in is said without changing anything, so a plan is tried as often as one likes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import sparse_export
from sparse_export.exporter.graph.find import find
from sparse_export.exporter.graph.fuse import fuse
from sparse_export.exporter.graph.index import GraphIndex
from sparse_export.exporter.graph.normalize import normalize
from sparse_export.exporter.plan import pack, plan
from sparse_export.exporter.rewrite.write import rewrite

from ...onnx_models import model, norm_node, pruned, residual_net

CHANNELS = 512


def with_sparse_norms(rng: np.random.Generator) -> onnx.ModelProto:
    """Convolutions and normalisations whose own parameters would get smaller packed."""
    weights = {"a": pruned(rng, CHANNELS, 16, 3, 3), "b": pruned(rng, CHANNELS, CHANNELS, 1, 1)}
    constants: dict[str, np.ndarray] = {f"{name}.w": weight for name, weight in weights.items()}
    for name in weights:
        parts = {
            f"{name}.{part}": np.zeros(CHANNELS, np.float32) for part in ("gamma", "beta", "mean", "var")
        }
        parts[f"{name}.beta"][::17] = parts[f"{name}.gamma"][:] = parts[f"{name}.var"][:] = 1
        constants |= parts
    nodes = [
        helper.make_node("Conv", ["X", "a.w"], ["c"], pads=[1] * 4),
        norm_node("c", "d", "a"),
        helper.make_node("Conv", ["d", "b.w"], ["e"]),
        norm_node("e", "Y", "b"),
    ]
    return model(nodes, constants, [1, 16, 8, 8], 4)


def test_sites_stay_as_they_are(rng: np.random.Generator) -> None:
    index = GraphIndex(normalize(residual_net(rng)))
    sites = find(index)
    first, second = fuse(index, sites), fuse(index, sites)
    assert [one.activation for one in first if one.residual] == ["Relu"]
    for one, again in zip(first, second, strict=True):
        assert one.site is again.site and one.nodes == again.nodes and one.output == again.output
        np.testing.assert_array_equal(one.scale, again.scale)
        np.testing.assert_array_equal(one.bias, again.bias)
    assert all((site.scale == 1).all() for site in sites)
    with pytest.raises(FrozenInstanceError):
        sites[0].x = "another"  # type: ignore[misc]


def test_only_sites_that_are_packed_take_nodes(rng: np.random.Generator) -> None:
    index = GraphIndex(normalize(residual_net(rng)))
    site = find(index)[0]
    (one,) = fuse(index, [site])
    assert one.site is site and len(one.nodes) > 1


def test_a_plan_is_written_twice_alike(rng: np.random.Generator) -> None:
    dense = normalize(residual_net(rng))
    index = GraphIndex(dense)
    plans = plan.make(index, find(index), "csr")
    packed = pack.pack(plans)
    assert rewrite(index, dense, plans, packed) == rewrite(index, dense, plans, packed)


@pytest.mark.parametrize("form", ["auto", "csr"])
def test_parameters_that_a_layer_takes_in_leave_nothing_behind(
    form: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    source, target = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
    onnx.save(with_sparse_norms(rng), source)
    planned = sparse_export.export(source, format=form, optimize="memory", dry_run=True).layers
    report = sparse_export.export(source, format=form, optimize="memory", output=target)
    assert report.layers == planned
    assert any("folded into the scale" in row["reason"] for row in planned)
    written = onnx.load(target)
    read = {name for node in written.graph.node for name in node.input}
    assert {tensor.name for tensor in written.graph.initializer} <= read
    assert {function.name for function in written.functions} <= {node.op_type for node in written.graph.node}
