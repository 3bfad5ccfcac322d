"""Sparse initializers grow within the one budget of reading, which `--max-dense` raises."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sparse_export.errors import UnsupportedError
from sparse_export.exporter.files import budget
from sparse_export.exporter.graph.sparse import dense_tensor


def one_of(size: int) -> onnx.SparseTensorProto:
    """A vector of float32 with one value that is not zero."""
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "at"), [size])


def test_a_sparse_tensor_beyond_the_budget_is_refused_naming_the_option() -> None:
    with budget.raised(dense=399), pytest.raises(UnsupportedError, match=r"400 bytes .* --max-dense"):
        dense_tensor(one_of(100))


def test_the_budget_can_be_raised() -> None:
    size = budget.GROWTH_BYTES // 4 + 1
    with pytest.raises(UnsupportedError, match="over the limit of 67,108,864"):
        dense_tensor(one_of(size))
    with budget.raised(dense=4 * size):
        assert list(dense_tensor(one_of(size)).dims) == [size]
