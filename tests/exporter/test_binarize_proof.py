"""Nets that take signs are proved against whichever runtime decided the signs alike; others are not."""

from __future__ import annotations

import numpy as np
from onnx import helper

from sparse_export.exporter.prove import sign_reference
from sparse_export.exporter.prove.verdict import Runs, Tolerance, judge

from ..onnx_models import model

Array = np.ndarray


def outputs(*rows: list[float]) -> list[Array]:
    return [np.array(rows, np.float32)]


def test_every_sample_is_held_against_the_nearer_reference() -> None:
    got = outputs([1, 2, 7], [5, 6, 8])
    nearest = sign_reference.nearest([outputs([1, 2, 7], [0, 0, 0]), outputs([9, 9, 9], [5, 6.5, 8])], got)
    assert nearest[0].tolist() == [[1, 2, 7], [5, 6.5, 8]]
    assert not judge(Runs("y", nearest, got), Tolerance()).passed  # 0.5 is still a difference


def test_a_file_that_is_like_neither_reference_fails() -> None:
    got = outputs([1, 2, 3])
    nearest = sign_reference.nearest([outputs([3, 2, 3]), outputs([1, 5, 3])], got)
    assert not judge(Runs("y", nearest, got), Tolerance()).passed


def test_only_packed_layers_that_take_signs_count() -> None:
    plain = model([helper.make_node("Relu", ["X"], ["Y"])], {}, ["N", 4], 2)
    assert not sign_reference.takes_signs(plain)
    plain.graph.node.append(helper.make_node("XnorMatMul", ["X"], ["Z"], domain="sparse_export"))
    assert sign_reference.takes_signs(plain)
