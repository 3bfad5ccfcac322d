"""Scales, zero points and shapes of layers of integers that no producer should write, and some do.

Each model is either exported and proved against itself, or refused in one line with an exit code; a packed
file with such numbers is refused when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export.errors import SparseExportError
from sparse_export.runtime.session import InferenceSession
from tests.exporter.quantized.qdq import Array, Qdq

NAN, INF, TINY, HUGE = np.float32("nan"), np.float32("inf"), np.float32(1e-45), np.float32(3e38)
#: What a model has in the place of what it should have, by the name in `written`.
Change = dict[str, Any]

WRONG: dict[str, Change] = {
    f"{what} is {value}": {what: np.full(shape, value, np.float32)}
    for what, shape, more in (("w_scale", 32, [INF, HUGE]), ("x_scale", (), []), ("y_scale", (), []))
    for value in (NAN, np.float32(0), np.float32(-0.01), TINY, *more)
}
WRONG |= {
    "one scale of a row is NaN": {"w_scale": np.where(np.arange(32) == 7, NAN, 0.01).astype(np.float32)},
    "too few scales of rows": {"w_scale": np.full(31, 0.01, np.float32)},
    "too many scales of rows": {"w_scale": np.full(33, 0.01, np.float32)},
    "no scale of rows": {"w_scale": np.zeros(0, np.float32)},
    "one scale for all rows": {"w_scale": np.float32(0.01), "w_zero": np.int8(0)},
    "one scale in a vector": {"w_scale": np.full(1, 0.01, np.float32), "w_zero": np.zeros(1, np.int8)},
    "scales in a matrix": {"w_scale": np.full((32, 1), 0.01, np.float32)},
    "scales of halves": {"w_scale": np.full(32, 0.01, np.float16)},
    "scales of doubles": {"w_scale": np.full(32, 0.01, np.float64)},
    "too few zero points": {"w_zero": np.zeros(31, np.int8)},
    "a scalar zero point beside scales of rows": {"w_zero": np.int8(0)},
    "zero points that are not 0": {"w_zero": np.full(32, 3, np.int8)},
    "one zero point that is not 0": {"w_zero": (np.arange(32) == 5).astype(np.int8)},
    "zero points of another type": {"w_zero": np.zeros(32, np.uint8)},
    "zero points of 32 bits": {"w_zero": np.zeros(32, np.int32)},
    "an activation's zero point of 16 bits": {"x_zero": np.uint16(120)},
    "an activation's zero points in a vector": {"x_zero": np.full(16, 120, np.uint8)},
    "an activation's scales in a vector": {"x_scale": np.full(16, 0.02, np.float32)},
    "a result's zero point of int8": {"y_zero": np.int8(3)},
    "a result's zero point of floats": {"y_zero": np.float32(3)},
    "scales of rows along the inputs": {"axis": 1},
    "an axis that is not there": {"axis": 9},
    "an axis from the end": {"axis": -4},
    "a weight of rank 0": {"weight": np.int8(3)},
    "a weight of rank 1": {"weight": np.zeros(32, np.int8)},
    "a weight without rows": {"weight": np.zeros((0, 16, 3, 3), np.int8)},
    "a weight without columns": {"weight": np.zeros((32, 0, 3, 3), np.int8)},
    "a weight of other inputs": {"weight": np.zeros((32, 15, 3, 3), np.int8)},
    "a weight of zeros": {"weight": np.zeros((32, 16, 3, 3), np.int8)},
    "a weight of the least number": {
        "weight": np.where(np.arange(32 * 144) % 9, 0, -128).reshape(32, 16, 3, 3).astype(np.int8)
    },
    "a weight of 16 bits": {"weight": np.eye(32, 144, dtype=np.int16).reshape(32, 16, 3, 3)},
    "a weight of 32 bits": {"weight": np.eye(32, 144, dtype=np.int32).reshape(32, 16, 3, 3)},
    "a bias of the largest number": {"bias": np.full(32, HUGE, np.float32)},
    "a bias of the largest number beside rows of zeros": {
        "bias": np.full(32, HUGE, np.float32),
        "weight": np.zeros((32, 16, 3, 3), np.int8),
        "x_scale": np.float32(1e-9),
    },
    "a bias that is no number": {"bias": np.full(32, NAN, np.float32)},
    "a bias of infinity": {"bias": np.full(32, -INF, np.float32)},
    "a bias of one number": {"bias": np.full(1, 0.5, np.float32)},
    "a bias too long": {"bias": np.full(33, 0.5, np.float32)},
    "a bias of integers without a scale": {"bias": np.full(32, 5, np.int32)},
    "a bias of rank 0": {"bias": np.float32(0.5)},
    "an image larger than memory": {"x_shape": [1, 16, 1 << 40, 1 << 40]},
    "an image of nothing": {"x_shape": [1, 16, 0, 0]},
    "an image of rank 0": {"x_shape": []},
    "pads larger than memory": {"pads": [1 << 40] * 4},
    "steps of 0": {"strides": [0, 0]},
    "groups that do not divide": {"group": 3},
}


def written(rng: np.random.Generator, change: Change) -> onnx.ModelProto:
    """A convolution of integers with one thing changed."""
    held: dict[str, Any] = {
        "x_scale": np.float32(0.03),
        "x_zero": np.uint8(120),
        "w_scale": np.full(32, 0.01, np.float32),
        "w_zero": np.zeros(32, np.int8),
        "y_scale": np.float32(0.03),
        "y_zero": np.uint8(100),
        "axis": 0,
        "x_shape": [2, 16, 7, 7],
    }
    net = Qdq(rng, [])
    held |= {"weight": net.codes(32, 16, 3, 3), "bias": rng.standard_normal(32).astype(np.float32)} | change
    net.x_shape = held["x_shape"]
    net.constants = {
        name: np.asarray(held[name]) for name in held if name not in ("axis", "x_shape", *WINDOW)
    }
    window = {name: held[name] for name in WINDOW if name in held}
    x = net.add(
        "DequantizeLinear", [net.add("QuantizeLinear", ["X", "x_scale", "x_zero"]), "x_scale", "x_zero"]
    )
    weight = net.add("DequantizeLinear", ["weight", "w_scale", "w_zero"], axis=held["axis"])
    y = net.add("Conv", [x, weight, "bias"], **window)
    q = net.add("QuantizeLinear", [y, "y_scale", "y_zero"])
    return net.model(net.add("DequantizeLinear", [q, "y_scale", "y_zero"]))


WINDOW = ("pads", "strides", "group")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", WRONG)
def test_is_exported_as_it_is_or_refused_in_one_line(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    source, target = tmp_path / "net.onnx", tmp_path / "small.onnx"
    onnx.save(written(rng, WRONG[name]), source)
    try:
        report = sparse_export.export(source, output=target, format="csr", optimize="memory")
    except SparseExportError as error:
        assert error.exit_code in (1, 2) and "\n" not in str(error) and str(error)
        assert not target.exists()
    else:
        assert report.verification is not None and report.verification.passed and target.exists()


#: What stands in a packed file: the input's place, and what to put there.
LIES: dict[str, tuple[int, Callable[[Array], Array]]] = {
    f"{what} is {value}": (place, lambda old, value=value: np.full_like(old, value))  # type: ignore[misc]
    for what, place in (("x_scale", 1), ("w_scale", 6), ("y_scale", 8))
    for value in (NAN, INF, 0, -1)
}
LIES |= {
    "scales too far apart": (8, lambda old: np.full_like(old, TINY)),
    "a scale too few": (6, lambda old: old[:-1]),
    "a scale too many": (6, lambda old: np.append(old, old[:1])),
    "scales of doubles": (6, lambda old: old.astype(np.float64)),
    "two scales of X": (1, lambda old: np.full(2, old, np.float32)),
    "a zero point of 32 bits": (2, lambda old: old.astype(np.int32)),
    "no zero point": (2, lambda old: np.zeros(0, old.dtype)),
    "a result's zero point of int8": (9, lambda old: np.zeros_like(old, np.int8)),
    "a bias too short": (7, lambda old: old[:-1]),
    "a bias of floats": (7, lambda old: old.astype(np.float32)),
    "a row pointer too few": (3, lambda old: old[:-1]),
    "row pointers that fall": (3, lambda old: old[::-1].copy()),
    "gaps past the last column": (4, lambda old: np.full_like(old, np.iinfo(old.dtype).max)),
    "values too short": (5, lambda old: old[:-1]),
    "values of floats": (5, lambda old: old.astype(np.float32)),
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    folder = tmp_path_factory.mktemp("packed")
    onnx.save(written(np.random.default_rng(0), {}), folder / "net.onnx")
    sparse_export.export(
        folder / "net.onnx", output=folder / "small.onnx", format="csr", optimize="memory", verify=False
    )
    return onnx.load(folder / "small.onnx")


@pytest.mark.parametrize("name", LIES)
def test_a_packed_file_that_lies_is_refused_when_it_is_loaded(
    packed: onnx.ModelProto, tmp_path: Path, name: str
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(packed)
    (node,) = (node for node in model.graph.node if node.domain == "sparse_export")
    assert node.op_type == "SparseQConv"
    place, change = LIES[name]
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[place])
    lie = helper.make_tensor("lie", TensorProto.UINT8, [0], b"", raw=True)
    lie.CopyFrom(numpy_helper.from_array(np.asarray(change(numpy_helper.to_array(tensor))), "lie"))
    model.graph.initializer.append(lie)
    node.input[place] = "lie"
    onnx.save(model, tmp_path / "lie.onnx")
    for given in (model.SerializeToString(), tmp_path / "lie.onnx"):
        with pytest.raises(Exception, match=r"SparseQConv|[Tt]ype|QuantizeLinear"):
            InferenceSession(given, packed="all")


def test_the_untouched_packed_file_runs(packed: onnx.ModelProto) -> None:
    x = np.zeros((2, 16, 7, 7), np.float32)
    assert InferenceSession(packed.SerializeToString(), packed="all").run(None, {"X": x})[0].shape == (
        2,
        32,
        5,
        5,
    )
