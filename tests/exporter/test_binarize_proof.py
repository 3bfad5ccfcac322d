"""Nets that take signs are proved against whichever runtime decided the signs alike; others are not."""

from __future__ import annotations

import numpy as np
from onnx import helper

from sparse_export.exporter.prove import compare, sign_reference
from sparse_export.exporter.prove.compare import Run

from ..onnx_models import model

Array = np.ndarray


def giving(*rows: list[float]) -> Run:
    return lambda feeds: [np.array(rows, np.float32)]


def test_every_sample_is_held_against_the_nearer_reference() -> None:
    candidate = giving([1, 2], [5, 6])
    run = sign_reference.nearest((giving([1, 2], [0, 0]), giving([9, 9], [5, 6.5])), candidate)
    assert run({})[0].tolist() == [[1, 2], [5, 6.5]]
    assert not compare.compare(run, candidate, [{}]).passed  # 0.5 is still a difference


def test_a_file_that_is_like_neither_reference_fails() -> None:
    candidate = giving([1, 2])
    run = sign_reference.nearest((giving([3, 2]), giving([1, 5])), candidate)
    assert not compare.compare(run, candidate, [{}]).passed


def test_only_packed_layers_that_take_signs_count() -> None:
    plain = model([helper.make_node("Relu", ["X"], ["Y"])], {}, ["N", 4], 2)
    assert not sign_reference.takes_signs(plain)
    plain.graph.node.append(helper.make_node("XnorMatMul", ["X"], ["Z"], domain="sparse_export"))
    assert sign_reference.takes_signs(plain)
