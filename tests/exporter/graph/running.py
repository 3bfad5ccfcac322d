"""A source's own bytes against what is exported for it, in stock onnxruntime and on the packed weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import sparse_export


def stock(model: Path | bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def assert_same_in_both_runtimes(
    source: Path, feeds: Mapping[str, np.ndarray], *, tolerance: float = 2e-5, **options: Any
) -> onnx.ModelProto:
    """Export `source` and compare every output; gives the written model."""
    target = source.with_suffix(".packed.onnx")
    chosen = {"format": "csr", "verify": False, "optimize": "memory"} | options
    sparse_export.export(source, output=target, force=True, **chosen)
    expected = stock(source).run(None, dict(feeds))
    registered = sparse_export.InferenceSession(target, threads=1)
    for run in (stock(target).run, registered.run):
        got = run(None, dict(feeds))
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            if a.dtype.kind == "f":
                scale = float(np.abs(b[np.isfinite(b)]).max(initial=0)) or 1.0
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)
            else:
                np.testing.assert_array_equal(a, b)
    return onnx.load(str(target))
