"""-0.0 is 0 in a weight of any layer that multiplies and sums up, and kept where its sign may matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from sparse_export.exporter.graph import zeros
from sparse_export.exporter.graph.find import find
from sparse_export.exporter.graph.index import GraphIndex
from sparse_export.exporter.graph.normalize import normalize

from .consumers import CONSUMERS, made
from .test_every_consumer import expanded, outcome

SUMMING = ("ConvTranspose", "LSTM", "MatMul left", "Gemm transA")


def masked(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A weight as `weight * mask` leaves it."""
    return (rng.standard_normal(shape) * (rng.random(shape) < 0.1)).astype(np.float32)


@pytest.mark.parametrize("consumer", SUMMING)
def test_negative_zeros_of_summed_weights_take_no_space(
    tmp_path: Path, rng: np.random.Generator, consumer: str
) -> None:
    shape, _, build = CONSUMERS[consumer]
    weight = masked(shape, rng)
    dense = build(weight)
    packed, plans = expanded(dense, "csr")
    (plan,) = (plan for plan in plans if plan.shape == shape and plan.packed)
    assert plan.nnz == np.count_nonzero(weight)
    assert plan.packed_bytes < 0.25 * plan.dense_bytes
    assert np.array_equal(
        outcome(packed, tmp_path / "packed.onnx")[1], outcome(normalize(dense), tmp_path / "dense.onnx")[1]
    )
    index = GraphIndex(normalize(dense))
    find(index)
    (note,) = zeros.notes(index, [plan.name])
    assert f"in {plan.name} count as zeros" in note.text


def test_signs_of_zeros_stay_where_something_divides(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = masked((32, 32), rng)
    dense = made([helper.make_node("Div", ["X", "W"], ["Y"])], {"W": weight}, [32, 32])
    index = GraphIndex(normalize(dense))
    find(index)
    assert not index.negative_zeros
    packed, _ = expanded(dense, "bitmask")
    found = outcome(packed, tmp_path / "packed.onnx")[1]
    assert found.tobytes() == outcome(normalize(dense), tmp_path / "dense.onnx")[1].tobytes()
    assert np.isneginf(found).any()
