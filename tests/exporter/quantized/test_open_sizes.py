"""Layers of integers whose inputs leave sizes open: the layer says what it expects, or the user does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import sparse_export
from sparse_export.errors import InputError

from .qdq import Qdq


def saved(rng: np.random.Generator, folder: Path, kind: str) -> Path:
    """A linear layer behind an input of which nothing is said."""
    net = Qdq(rng, [None, None])
    if kind == "Gemm":
        value = net.add("Gemm", [net.input(), net.weight(net.codes(1024, 768))], transB=1)
    else:
        value = net.add("MatMul", [net.input(), net.weight(net.codes(768, 1024), axis=1)])
    onnx.save(net.model(net.pair(value, 0.1, 128)), folder / "net.onnx")
    return folder / "net.onnx"


@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_layer_says_what_it_expects(
    kind: str, verify: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    report = sparse_export.export(saved(rng, tmp_path, kind), verify=verify, dry_run=True)
    (layer,) = [layer for layer in report.layers if layer["op"] == kind]
    assert "expected" in layer["run_reason"] and "not known" not in layer["run_reason"]


def test_input_shape_is_heard_without_a_proof(rng: np.random.Generator, tmp_path: Path) -> None:
    path = saved(rng, tmp_path, "Gemm")

    def reason(rows: int) -> str:
        report = sparse_export.export(path, verify=False, dry_run=True, input_shape=[(rows, 768)])
        return str(next(layer for layer in report.layers if layer["op"] == "Gemm")["run_reason"])

    assert reason(1) != reason(4096)
    with pytest.raises(InputError, match="2 dimensions"):
        sparse_export.export(path, verify=False, dry_run=True, input_shape=[(1, 2, 768)])
