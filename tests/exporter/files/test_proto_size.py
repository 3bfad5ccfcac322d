"""Sizes of messages are those that protobuf itself states, for small and for large tensors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sparse_export.exporter.files import proto_size


def model(*arrays: np.ndarray) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(array, f"w{place}") for place, array in enumerate(arrays)]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="test")
    made.metadata_props.add(key="k", value="v")
    return made


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000, 16_384, 40_000, 600_000, 3_000_000])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.float16, np.int64, np.bool_])
def test_sizes_are_protobufs_own(size: int, dtype: type) -> None:
    made = model(np.zeros(size, dtype), np.zeros((3, 7), np.float32))
    assert proto_size.model_bytes(made) == made.ByteSize()
    for tensor in made.graph.initializer:
        tensor.doc_string = "a weight"
        assert proto_size.tensor_bytes(tensor) == tensor.ByteSize()


def test_tensors_without_raw_data_count_too() -> None:
    made = model(np.zeros(100_000, np.float32))
    made.graph.initializer.append(helper.make_tensor("f", onnx.TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]))
    assert proto_size.model_bytes(made) == made.ByteSize()


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("INT4", 4), ("UINT4", 4), ("INT2", 2), ("UINT2", 2), ("FLOAT4E2M1", 4), ("BFLOAT16", 16)],
)
def test_narrow_types_count_as_they_are_packed(kind: str, bits: int) -> None:
    made = model()
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.DataType.Value(kind), dims=[600_000])
    tensor.raw_data = bytes(600_000 * bits // 8)
    made.graph.initializer.append(tensor)
    assert proto_size.model_bytes(made) == made.ByteSize()
