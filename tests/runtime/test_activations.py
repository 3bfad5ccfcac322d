"""Sessions do without onnxruntime's arena where activations are known to be small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export.runtime import activations
from sparse_export.runtime.cost import INTEGERS, Work


def exported(folder: Path, batch: int | str, size: int) -> Path:
    """A packed convolution of eight channels on pictures of this size."""
    weight = np.random.default_rng(0).standard_normal((64, 8, 3, 3)).astype(np.float32)
    weight[np.abs(weight) < 1.6] = 0
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 64, size, size])],
        [numpy_helper.from_array(weight, "w")],
    )
    source, packed = folder / "net.onnx", folder / "packed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    sparse_export.export(source, output=packed, format="csr", verify=False)
    return packed


@pytest.mark.parametrize(
    ("batch", "size", "arena"), [(1, 16, False), (1, 200, True), ("batch", 16, True)], ids=str
)
def test_the_arena_is_left_out_where_sizes_are_fixed_and_small(
    tmp_path: Path, batch: int | str, size: int, arena: bool
) -> None:
    path = exported(tmp_path, batch, size)
    session = sparse_export.InferenceSession(path)
    assert session.get_session_options().enable_cpu_mem_arena == arena
    given = onnxruntime.SessionOptions()
    sparse_export.InferenceSession(path, given)
    assert given.enable_cpu_mem_arena


def test_activations_of_integers_are_a_byte_each_unless_layers_run_otherwise() -> None:
    fixed = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", [fixed], [fixed])
    data = memoryview(helper.make_model(graph).SerializeToString())
    work = Work(INTEGERS, 100, 10, 64, 40_000, 64 * 40_000)
    assert activations.are_small(data, [work])
    assert not activations.are_small(data, [work], others=True)
    assert not activations.are_small(data, [replace(work, kind="square")])
