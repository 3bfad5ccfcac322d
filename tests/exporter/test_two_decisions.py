"""What a weight is stored as and what computes with it: neither costs the other, and the file says both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import sparse_export
from sparse_export.exporter import tune
from sparse_export.runtime import choice
from sparse_export.runtime.cost import Estimate
from sparse_export.runtime.session import library_path
from sparse_export.runtime.target import kernel_target

from ..onnx_models import model, pruned


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse layer, one that half of its weights are left of, and a depthwise one."""
    rng = np.random.default_rng(0)
    constants = {
        "a": pruned(rng, 64, 16, 3, 3, density=0.05),
        "b": pruned(rng, 64, 64, 3, 3, density=0.5),
        "c": pruned(rng, 64, 1, 5, 5, density=0.3),
    }
    nodes = [
        helper.make_node("Conv", ["X", "a"], ["h"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Conv", ["h", "b"], ["i"], pads=[1, 1, 1, 1], name="second"),
        helper.make_node("Conv", ["i", "c"], ["Y"], pads=[2, 2, 2, 2], group=64, name="third"),
    ]
    path = tmp_path_factory.mktemp("decisions") / "net.onnx"
    onnx.save(model(nodes, constants, [1, 16, 28, 28], 4), path)
    return path


def exported(source: Path, **options: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any], int]:
    """Rows of the report by weight, the file's own metadata, its bytes."""
    output = source.with_name("out.onnx")
    report = sparse_export.export(source, output=output, force=True, **options)
    props = {entry.key: json.loads(entry.value) for entry in onnx.load(output).metadata_props}
    assert report.file_bytes is not None
    return {row["name"]: row for row in report.layers}, props, report.file_bytes


@pytest.mark.parametrize("optimize", ["size", "speed", "memory"])
def test_whatever_gets_smaller_is_stored_packed(source: Path, optimize: str) -> None:
    rows, _, nbytes = exported(source, optimize=optimize)
    assert all(row["format"] != "dense" for row in rows.values()) and nbytes < source.stat().st_size * 2 / 3
    assert rows["c"]["run"] == ("packed" if optimize == "memory" else "expanded")


def test_the_file_says_what_its_packed_layers_have_to_do(source: Path) -> None:
    rows, props, _ = exported(source, format="csr")
    packed = {"a": "first", "b": "second", "c": "third"}
    work = props[choice.WORK_KEY]
    assert set(work) == {node for name, node in packed.items() if rows[name]["run"] == "packed"}
    assert work["first"] == ["square", 64 * 16 * 9, rows["a"]["nnz"], 64, 28 * 28, 16 * 28 * 28]


def test_a_file_for_memory_leaves_no_choice(source: Path) -> None:
    rows, props, _ = exported(source, optimize="memory")
    assert {row["run"] for row in rows.values()} == {"packed"} and choice.WORK_KEY not in props


def test_what_each_weight_takes_in_memory(source: Path) -> None:
    rows, _, _ = exported(source, optimize="memory", format="csr")
    assert all(row["memory_bytes"] == row["packed_bytes"] for row in rows.values())
    rows, _, _ = exported(source, optimize="memory", format="bitmask")
    for row in rows.values():
        assert row["memory_bytes"] == row["packed_bytes"] + 5 * row["nnz"] + 4 * (row["shape"][0] + 1)
    rows, _, _ = exported(source)
    assert rows["c"]["memory_bytes"] == rows["c"]["dense_bytes"]


@pytest.mark.parametrize("wins", [{"a"}, {"a", "b", "c"}, set()])
def test_tune_stores_what_lost_expanded_and_what_it_measured(
    source: Path, monkeypatch: pytest.MonkeyPatch, wins: set[str]
) -> None:
    library_path()
    monkeypatch.setattr(
        tune, "_time_layer", lambda *given: Estimate(2.0, 1.0 if given[3].name in wins else 2.0)
    )
    monkeypatch.setattr(tune, "_alternate", lambda *given: Estimate(2.0, 1.0))
    rows, props, nbytes = exported(source, optimize="speed", measure=True)
    assert {name for name, row in rows.items() if row["run"] == "packed"} == wins
    assert all(row["format"] != "dense" and "measured" in row["reason"] for row in rows.values())
    assert nbytes < source.stat().st_size * 2 / 3
    nodes = {"a": "first", "b": "second", "c": "third"}
    measured = {nodes[name]: [1e6, 2e6] for name in wins}
    assert props.get(choice.MEASURED_KEY) == ({kernel_target(): measured} if wins else None)


def test_a_net_that_is_slower_as_a_whole_is_expanded_as_a_whole(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_time_layer", lambda *given: Estimate(2.0, 1.0))
    monkeypatch.setattr(tune, "_alternate", lambda *given: Estimate(1.0, 2.0))
    rows, props, _ = exported(source, optimize="speed", measure=True)
    assert {row["run"] for row in rows.values()} == {"expanded"} and not props
    assert "the whole net measured" in rows["a"]["reason"]
