"""Held weights: views of what was read, in every copy of their model, and the same bytes when written."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sparse_export.errors import CorruptFileError, SparseExportError
from sparse_export.exporter.files import held, proto_size, streamed, wire
from sparse_export.exporter.files.onnx_read import read_held, read_onnx
from sparse_export.exporter.files.onnx_write import save

LARGE = 20_000


def model(*arrays: np.ndarray) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(array, f"w{place}") for place, array in enumerate(arrays)]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:], tensors)
    graph.value_info.extend(ends[:1])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="test")
    made.metadata_props.add(key="k", value="v")
    for tensor in made.graph.initializer:
        tensor.doc_string = "behind the data"
    return made


def arrays(rng: np.random.Generator) -> list[np.ndarray]:
    values = rng.standard_normal(LARGE)
    return [
        *(values.astype(dtype) for dtype in (np.float32, np.float64, np.float16)),
        rng.integers(-9, 9, (LARGE // 100, 100)),
        np.arange(7.0),
    ]


def test_a_parsed_model_has_its_weights_where_the_bytes_are(rng: np.random.Generator) -> None:
    given = arrays(rng)
    data = model(*given).SerializeToString()
    parsed = streamed.parse(data, tensors := held.Tensors())
    assert [held.is_held(tensor) for tensor in parsed.graph.initializer] == [True, True, False, True, False]
    assert len(parsed.SerializeToString()) < 60_000
    for tensor, array in zip(parsed.graph.initializer, given, strict=True):
        found = held.array(tensor)
        assert found.dtype == array.dtype and found.shape == array.shape and found.flags.aligned
        assert found.tobytes() == array.tobytes() == bytes(held.raw(tensor))
        assert not found.flags.writeable
    place = held.array(parsed.graph.initializer[0], aligned=False)
    assert np.shares_memory(place, np.frombuffer(data, np.uint8))
    del tensors


def test_what_is_written_is_what_protobuf_writes(rng: np.random.Generator, tmp_path: Path) -> None:
    made = model(*arrays(rng))
    data = made.SerializeToString()
    parsed = streamed.parse(data, tensors := held.Tensors())
    copy = onnx.ModelProto()
    copy.CopyFrom(parsed)
    assert streamed.serialized(copy) == data and streamed.whole_model(copy) == made
    assert proto_size.model_bytes(copy) == len(data)
    for external in (False, True):
        target = tmp_path / f"{external}.onnx"
        files = [
            [(path.name, path.read_bytes()) for path in save(one, target, force=True, external_data=external)]
            for one in (made, copy)
        ]
        assert files[0] == files[1]
    del tensors


def test_fields_that_this_version_does_not_know_stay(rng: np.random.Generator) -> None:
    """A later onnx may add some; a tensor that has one is left as it is."""
    unknown = wire.head(900, 3) + b"abc"
    tensor = model(*arrays(rng)).graph.initializer[0].SerializeToString()
    strange = tensor + unknown
    graph = wire.head(5, len(tensor)) + tensor + wire.head(5, len(strange)) + strange + unknown
    data = wire.head(7, len(graph)) + graph + unknown
    parsed = streamed.parse(data, tensors := held.Tensors())
    assert [held.is_held(one) for one in parsed.graph.initializer] == [True, False]
    assert streamed.serialized(parsed) == onnx.ModelProto.FromString(data).SerializeToString()
    assert streamed.serialized(parsed).count(unknown) == 3
    del tensors


def test_values_that_are_not_raw_bytes_stay_in_the_model() -> None:
    values = [float(value) for value in range(LARGE)]
    made = model()
    made.graph.initializer.append(helper.make_tensor("f", onnx.TensorProto.FLOAT, [LARGE], values))
    nibbles = onnx.TensorProto(name="n", data_type=onnx.TensorProto.INT4, dims=[4 * LARGE])
    nibbles.raw_data = bytes(2 * LARGE) * 2
    made.graph.initializer.append(nibbles)
    parsed = streamed.parse(made.SerializeToString(), held.Tensors())
    assert parsed == made


@pytest.mark.parametrize("cut", [1, 7, 3000, 79_000])
def test_a_truncated_model_is_refused_as_ever(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model(np.zeros(LARGE, np.float32)).SerializeToString()[:-cut])
    with pytest.raises(CorruptFileError, match="truncated"):
        read_held(path, held.Tensors())


def test_a_file_cannot_name_an_array_of_this_process(tmp_path: Path) -> None:
    made = model(np.zeros(LARGE, np.float32))
    tensors = held.Tensors()
    tensors.hold(made.graph.initializer[0], np.ones(LARGE, np.float32))
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())  # with the reference in it
    with pytest.raises(CorruptFileError, match="not a path below"):
        read_held(tmp_path / "net.onnx", held.Tensors())


def test_external_data_is_held_too(tmp_path: Path, rng: np.random.Generator) -> None:
    save(model(*arrays(rng)), tmp_path / "net.onnx", external_data=True)
    read = read_held(tmp_path / "net.onnx", tensors := held.Tensors())
    assert held.is_held(read.graph.initializer[0])
    assert streamed.whole_model(read) == read_onnx(tmp_path / "net.onnx")
    del tensors


def test_asking_after_the_owner_is_gone_is_an_error() -> None:
    parsed = streamed.parse(model(np.zeros(LARGE, np.float32)).SerializeToString(), held.Tensors())
    gc.collect()
    with pytest.raises(SparseExportError, match="'w0'"):
        held.array(parsed.graph.initializer[0])


def test_a_skeleton_has_names_and_shapes(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model(np.zeros((100, 500), np.float32)).SerializeToString())
    (tensor,) = streamed.skeleton(tmp_path / "net.onnx").graph.initializer
    assert (tensor.name, list(tensor.dims)) == ("w0", [100, 500])
