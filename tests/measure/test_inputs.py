"""Inputs come from the model's own shapes or from a file, and bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparse_export.errors import InputError
from sparse_export.measure import inputs
from sparse_export.measure.inputs import InputSpec
from sparse_export.runtime.inputs import sizes_in

IMAGE = InputSpec("x", ("N", 3, 4), "float32")


def test_same_seed_gives_same_inputs() -> None:
    first, second = (inputs.seeded([IMAGE], 2, 7)["x"] for _ in range(2))
    assert first.shape == (2, 3, 4)
    np.testing.assert_array_equal(first, second)


def test_integer_inputs_stay_inside_any_vocabulary() -> None:
    tokens = inputs.seeded([InputSpec("t", (None, 5), "int64")], 4, 0)["t"]
    assert tokens.dtype == np.int64
    assert set(np.unique(tokens)) <= {0, 1}


def test_open_dimension_asks_for_a_file() -> None:
    with pytest.raises(InputError, match="leaves dimension 1 open"):
        inputs.seeded([InputSpec("x", ("N", "length"), "float32")], 1, 0)


def test_file_inputs_are_cut_or_repeated_to_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, anything=np.arange(24.0).reshape(2, 3, 4))
    feeds = inputs.read_npz(path)
    fitted = inputs.arranged(feeds, [IMAGE], "in.npz")
    assert fitted["x"].dtype == np.float32
    assert inputs.repeated(fitted, [IMAGE], 1)["x"].shape == (1, 3, 4)
    assert inputs.repeated(fitted, [IMAGE], 5)["x"].shape == (5, 3, 4)


def test_a_recurrent_state_is_repeated_along_its_batch_and_keeps_its_layers() -> None:
    state = InputSpec("h", (2, "N", 4), "float32")
    feeds = inputs.repeated({"h": np.arange(8.0).reshape(2, 1, 4)}, [state], 3)
    assert feeds["h"].shape == (2, 3, 4)
    np.testing.assert_array_equal(feeds["h"][:, 2], np.arange(8.0).reshape(2, 4))


def test_time_before_the_batch_is_not_the_batch() -> None:
    x, state = InputSpec("x", ("t", "n", 4), "float32"), InputSpec("h", (2, "n", 4), "float32")
    feeds = inputs.repeated({"x": np.zeros((5, 1, 4)), "h": np.zeros((2, 1, 4))}, [x, state], 3)
    assert (feeds["x"].shape, feeds["h"].shape) == ((5, 3, 4), (2, 3, 4))


def test_what_stands_for_no_name_makes_no_two_sizes_equal() -> None:
    spec = InputSpec("x", ("?", 3, "?", "?"), "float32")
    sizes = sizes_in({"x": np.zeros((1, 3, 48, 192), np.float32)}, [spec])
    assert sorted(sizes.values()) == [1, 48, 192]


def test_missing_array_is_named() -> None:
    with pytest.raises(InputError, match="no array named b"):
        inputs.arranged(
            {"a": np.zeros(1)}, [InputSpec("a", (1,), "float32"), InputSpec("b", (1,), "float32")], "f"
        )


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(InputError):
        inputs.read_npz(path)


def test_labelled_data_takes_either_pair_of_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3)), labels=np.array([0, 1]))
    x, y = inputs.labelled(tmp_path / "a.npz")
    assert (x.shape, y.tolist()) == ((2, 3), [0, 1])
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 3)), y=np.zeros(3))
    with pytest.raises(InputError, match="2 samples but 3 labels"):
        inputs.labelled(tmp_path / "b.npz")
