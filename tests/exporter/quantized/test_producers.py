"""Models as their producers write them: PyTorch PT2E, Brevitas QCDQ, NNCF, onnxruntime in several forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import sparse_export
from sparse_export.exporter.rewrite.packed_nodes import is_quantized
from tests.onnx_models import residual_net

from .quantizing import quantized

HERE = Path(__file__).parent / "producers"


def operators(source: Path, target: Path) -> list[str]:
    """Operators of integers in the exported file, which is proved in both runtimes, at export and after."""
    report = sparse_export.export(source, format="csr", optimize="memory", output=target)
    again = sparse_export.verify(source, target)
    for proof in (report.verification, again):
        assert proof is not None and proof.passed and proof.integers is not None
        assert proof.integers.share < 0.001 and len(proof.runtimes) == 2
    return [node.op_type for node in onnx.load(target).graph.node if is_quantized(node)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pt2e", ["SparseQConv", "SparseQConvFloat", "SparseQMatMulFloat"]),
        ("brevitas", ["SparseQConv", "SparseQConvAdd"]),
        ("nncf", ["SparseQConv", "SparseQConvAdd"]),
    ],
)
def test_other_producers_models_run_as_integers(name: str, expected: list[str], tmp_path: Path) -> None:
    assert operators(HERE / f"{name}.onnx", tmp_path / "small.onnx") == expected


@pytest.mark.parametrize(
    ("activations", "weights", "extra"),
    [
        ("QUInt8", "QInt8", {}),
        ("QInt8", "QInt8", {"ActivationSymmetric": True}),
        ("QInt8", "QInt8", {"AddQDQPairToWeight": True}),
        ("QUInt8", "QInt8", {"QuantizeBias": False, "DedicatedQDQPair": True}),
    ],
)
def test_onnxruntimes_own_models_run_as_integers(
    activations: str, weights: str, extra: dict[str, Any], tmp_path: Path, rng: np.random.Generator
) -> None:
    types = {"activations": activations, "weights": weights}
    source = quantized(residual_net(rng), tmp_path, rng, (2, 16, 12, 12), **types, extra_options=extra)
    assert operators(source, tmp_path / "small.onnx") == ["SparseQConv", "SparseQConvAdd"]
