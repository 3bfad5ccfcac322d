"""`tune` measures layers of integers too: each as a model of its own, with all that its operator takes in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import sparse_export
from sparse_export.exporter import tune, tune_integers
from sparse_export.exporter.graph.find import find
from sparse_export.exporter.graph.fuse import fuse
from sparse_export.exporter.graph.index import GraphIndex, concrete_shapes
from sparse_export.runtime import choice
from sparse_export.runtime.stock import Session
from tests.exporter.quantized.qdq import residual


def test_a_layer_alone_takes_in_what_its_operator_does(rng: np.random.Generator) -> None:
    model = residual(rng)
    index = GraphIndex(model)
    shapes = concrete_shapes(model, None)
    seen = []
    for operator in fuse(index, find(index)):
        found = tune_integers.alone(index, model, operator, shapes)
        assert found is not None
        alone, feeds = found
        assert all(array.dtype == np.uint8 for array in feeds.values())
        (output,) = Session(alone.SerializeToString()).run(feeds)
        assert len(np.unique(output)) > 20
        (again,) = fuse(inner := GraphIndex(alone), find(inner))
        assert (again.residual, again.activation, again.output) == (
            operator.residual,
            operator.activation,
            operator.output,
        )
        seen.append((again.residual is not None, output.dtype.name))
    assert (True, "uint8") in seen


@pytest.mark.parametrize("target", ["avx2", "avx512vnni"])
def test_measures_every_layer_and_says_so_in_the_file(
    target: str, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(residual(rng), tmp_path / "net.onnx")
    monkeypatch.setattr(tune, "kernel_target", lambda: target)
    # Packed always wins: only what is written of it is looked at here.
    monkeypatch.setattr(tune, "medians", lambda calls: [3.0, 1.0, 0.5][: len(calls)])
    report = sparse_export.export(
        tmp_path / "net.onnx", output=tmp_path / "tuned.onnx", optimize="speed", measure=True
    )
    assert {row["run"] for row in report.layers} == {"packed"}
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "tuned.onnx").metadata_props}
    floats = json.loads(told[choice.FLOAT_WORK_KEY])
    assert floats.keys() == json.loads(told[choice.WORK_KEY]).keys()
    assert {work[0] for work in floats.values()} == {"square", "linear"}
    (measured,) = json.loads(told[choice.MEASURED_KEY]).values()
    ways = [1e6, 3e6, 5e5] if target == "avx2" else [1e6, 3e6]
    assert len(measured) == len(report.layers) and all(one == ways for one in measured.values())
