"""A model that breaks a rule of the sparse operators gets an error that names the rule, never a wild read.

Items 27-34, 52 and 53 of the list of hostile inputs: sparse data, attributes, tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from sparse_export.runtime.session import InferenceSession

from .builder import Array, Case, pack

WEIGHT = np.zeros((4, 3, 3, 3), np.float32)
WEIGHT[0, 0, 0, 0] = WEIGHT[1, 2, 2, 2] = WEIGHT[3, 1, 1, :] = 2
ROWS, COLUMNS = 4, 27
X = np.ones((1, 3, 5, 5), np.float32)


def create(components: dict[str, Array] | None = None, **attributes: Any) -> onnxruntime.InferenceSession:
    """A session of SparseConv with these parts replaced; an attribute of None is left out."""
    case = Case(WEIGHT)
    kept = {k: v for k, v in (case.attributes() | attributes).items() if v is not None}
    model = case.model(pack(WEIGHT) | (components or {}), kept)
    return InferenceSession(model.SerializeToString())


def refuse(rule: str, components: dict[str, Array] | None = None, **attributes: Any) -> None:
    """Creation fails and the message holds the rule and the operator."""
    with pytest.raises(Exception, match=rule) as caught:
        create(components, **attributes)
    assert "SparseConv" in str(caught.value)


def indptr(*values: int) -> dict[str, Array]:
    return {"indptr": np.array(values, np.uint16)}


def test_the_untouched_model_runs() -> None:
    assert create().run(None, {"x": X})[0].shape == (1, 4, 3, 3)


def test_h27_indptr_does_not_start_at_zero() -> None:
    refuse("'indptr' does not start at 0", indptr(1, 1, 2, 2, 5))


def test_h28_indptr_falls() -> None:
    refuse("'indptr' falls", indptr(0, 2, 1, 2, 5))


@pytest.mark.parametrize("last", [4, 6, 65535])
def test_h29_indptr_does_not_end_at_the_entries(last: int) -> None:
    refuse("'indptr' does not end at the number of entries", indptr(0, 1, 2, 2, last))


@pytest.mark.parametrize("values", [(0, 1, 2, 5), (0, 1, 2, 2, 5, 5), ()])
def test_h30_indptr_has_the_wrong_length(values: tuple[int, ...]) -> None:
    refuse("'indptr' must have one element more than the weight has rows", indptr(*values))


def test_h30_gaps_and_values_differ_in_length() -> None:
    refuse("'gaps' and 'values' differ in length", {"values": np.ones(4, np.float32)})


@pytest.mark.parametrize("gap", [27, 255])
def test_h31_a_gap_runs_past_the_last_column(gap: int) -> None:
    refuse("'gaps' run past the last column", {"gaps": np.array([gap, 26, 12, 0, 0], np.uint8)})


def test_h31_gaps_that_wrap_around_32_bits() -> None:
    wrap = np.array([0, 26, 12, 2**32 - 1, 0], np.uint32)
    refuse("'gaps' run past the last column", {"gaps": wrap})


def test_h32_more_entries_than_columns_in_a_row() -> None:
    parts = {"gaps": np.zeros(40, np.uint8), "values": np.ones(40, np.float32), **indptr(0, 40, 40, 40, 40)}
    refuse("a row has more entries than columns", parts)


def test_h34_no_entries_but_junk_row_pointers() -> None:
    empty = {"gaps": np.zeros(0, np.uint8), "values": np.zeros(0, np.float32)}
    refuse("'indptr' does not end at the number of entries", empty)


def test_no_entries_give_the_bias() -> None:
    empty = {"gaps": np.zeros(0, np.uint8), "values": np.zeros(0, np.float32), **indptr(0, 0, 0, 0, 0)}
    y = create(empty).run(None, {"x": X})[0]
    assert np.array_equal(y[0, :, 0, 0], Case(WEIGHT).bias)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("indptr", np.int64),
        ("indptr", np.uint8),
        ("gaps", np.int8),
        ("gaps", np.float32),
        ("values", np.float64),
    ],
)
def test_h36_a_component_has_the_wrong_type(name: str, dtype: type) -> None:
    refuse(f"'{name}' must be", {name: pack(WEIGHT)[name].astype(dtype)})


@pytest.mark.parametrize("name", ["indptr", "gaps", "values"])
def test_h53_a_component_has_the_wrong_rank(name: str) -> None:
    refuse("must have one dimension", {name: pack(WEIGHT)[name].reshape(-1, 1)})


def test_h53_swapped_components() -> None:
    parts = pack(WEIGHT)
    refuse("'indptr' must be|'gaps' must be", {"indptr": parts["gaps"], "gaps": parts["indptr"]})


@pytest.mark.parametrize("name", ["shape", "strides", "pads", "dilations", "group"])
def test_h52_a_missing_attribute(name: str) -> None:
    refuse(f"attribute '{name}' is missing", **{name: None})


@pytest.mark.parametrize("name", ["shape", "strides", "pads", "dilations", "group"])
def test_h52_an_attribute_of_the_wrong_type(name: str) -> None:
    refuse(f"attribute '{name}'", **{name: "wide"})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("shape", [4, 3, 3], "'strides' has the wrong length"),
        ("shape", [4], "must have 3 or 4 dimensions"),
        ("shape", [4, 3, 3, 3, 3], "too many elements"),
        ("shape", [4, 0, 3, 3], "positive dimensions"),
        ("shape", [-4, 3, 3, 3], "positive dimensions"),
        ("shape", [2**62, 3, 3, 3], "positive dimensions below"),
        ("shape", [2**30, 2**30, 2**30, 2**30], "more than 2\\^4?"),
        ("shape", [4, 2**20, 2**10, 2**10], "a row has more than 2\\^31 weights"),
        ("strides", [0, 1], "'strides' must be positive"),
        ("strides", [2**40, 1], "'strides' must be positive and at most"),
        ("strides", [1] * 100_000, "too many elements"),
        ("dilations", [1, -1], "'dilations' must be positive"),
        ("pads", [-1, 0, 0, 0], "'pads' must not be negative"),
        ("pads", [0, 0, 0, 2**62], "'pads' must not be negative and at most"),
        ("pads", [0, 0], "'pads' has the wrong length"),
        ("group", 0, "'group' does not divide"),
        ("group", 3, "'group' does not divide"),
        ("group", 2**62, "'group' does not divide|too many input channels"),
    ],
)
def test_h52_an_attribute_out_of_range(name: str, value: Any, rule: str) -> None:
    refuse(rule, **{name: value})


def test_h52_clip_bounds_that_cross_or_are_not_numbers() -> None:
    for low, high in [(2.0, 1.0), (float("nan"), 1.0), (0.0, float("nan"))]:
        model = Case(WEIGHT, "Clip", clip=(low, high)).model()
        with pytest.raises(Exception, match="'min' is above 'max'"):
            InferenceSession(model.SerializeToString())


def test_h53_packed_inputs_must_be_initializers() -> None:
    model = Case(WEIGHT).model()
    gaps = next(tensor for tensor in model.graph.initializer if tensor.name == "gaps")
    model.graph.initializer.remove(gaps)
    entry = model.graph.input.add(name="gaps")
    entry.type.tensor_type.elem_type = gaps.data_type
    with pytest.raises(Exception, match="input 'gaps' must be an initializer"):
        InferenceSession(model.SerializeToString())


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        ((3, 5, 5), "'X' has the wrong rank"),
        ((1, 3, 5, 5, 1), "'X' has the wrong rank"),
        ((1, 4, 5, 5), "'X' has the wrong number of channels"),
        ((1, 3, 2, 5), "'X' is smaller than the window"),
        ((1, 3, 0, 5), "'X' is smaller than the window"),
    ],
)
def test_h53_an_input_that_does_not_fit(shape: tuple[int, ...], rule: str) -> None:
    with pytest.raises(Exception, match=rule):
        create().run(None, {"x": np.zeros(shape, np.float32)})


def test_h53_a_residual_of_another_shape() -> None:
    session = InferenceSession(Case(WEIGHT, "AddRelu").model().SerializeToString())
    with pytest.raises(Exception, match="'Z' must be float32 and have the output's shape"):
        session.run(None, {"x": X, "z": np.zeros((1, 4, 3, 4), np.float32)})


def test_h53_a_scale_of_another_length() -> None:
    case = Case(WEIGHT, scale=np.ones(3, np.float32), bias=np.ones(4, np.float32))
    with pytest.raises(Exception, match="'scale' must be float32 with 4 elements"):
        InferenceSession(case.model().SerializeToString()).run(None, {"x": X})


def test_h53_an_empty_batch_of_a_dynamic_model() -> None:
    session = create()
    for batch in (0, 2, 0):
        assert session.run(None, {"x": np.zeros((batch, 3, 5, 5), np.float32)})[0].shape == (batch, 4, 3, 3)


def test_h53_matmul_checks_the_last_dimension() -> None:
    weight = np.eye(3, 5, dtype=np.float32)
    session = InferenceSession(Case(weight).model().SerializeToString())
    assert session.run(None, {"x": np.ones((0, 5), np.float32)})[0].shape == (0, 3)
    for shape in [(2, 4), (), (5, 1)]:
        with pytest.raises(Exception, match="'X': the last dimension is wrong"):
            session.run(None, {"x": np.zeros(shape, np.float32)})
