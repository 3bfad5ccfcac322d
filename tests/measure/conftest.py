"""Small models to measure, and a document to render."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from .small_models import chain, save


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`dense`, `sparse` (10 % of the weights), `fixed` (batch 1 only), `allocating` (300 MB in a run)."""
    folder = tmp_path_factory.mktemp("models")
    size = numpy_helper.from_array(np.array([75_000_000], np.int64), "size")
    nodes = [
        helper.make_node("ReduceSum", ["h0"], ["total"], keepdims=0),
        helper.make_node("Expand", ["total", "size"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["y"], keepdims=0),
    ]
    return {
        "dense": chain(folder / "dense.onnx"),
        "sparse": chain(folder / "sparse.onnx", density=0.1),
        "fixed": chain(folder / "fixed.onnx", batch=1),
        "allocating": save(folder / "allocating.onnx", nodes, [size], [1, 8], "y", []),
    }


@pytest.fixture(scope="session")
def document(models: dict[str, Path]) -> dict[str, Any]:
    """A small measured document: two given models and their peers."""
    from sparse_export.measure import run
    from sparse_export.measure.request import Request
    from sparse_export.measure.subjects import Options

    request = Request((models["sparse"], models["dense"]), peers=True)
    options = Options(rounds=2, warmup=1, min_runs=8, min_seconds=0.0)
    return run.run(request, options, "sparse-export bench sparse.onnx dense.onnx --peers")
