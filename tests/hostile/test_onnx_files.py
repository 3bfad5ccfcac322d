"""ONNX files made to break the reader, and external data that leads where it must not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparse_export import CorruptFileError, InputError
from sparse_export.exporter import api, checkpoint
from sparse_export.exporter.files import sandbox

WEIGHT = np.arange(16, dtype=np.float32).reshape(4, 4)


def model() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def external(folder: Path, name: str = "model.onnx", **entries: str) -> Path:
    """A model whose weight lies in `model.data`, with `entries` changed in its reference."""
    made = model()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "model.data", "offset": "0", "length": "64"} | entries).items():
        tensor.external_data.add(key=key, value=value)
    folder.mkdir(exist_ok=True)
    data = folder / "model.data"
    if not os.path.lexists(data):
        data.write_bytes(WEIGHT.tobytes())
    (folder / name).write_bytes(made.SerializeToString())
    return folder / name


def read(path: Path) -> np.ndarray[Any, Any]:
    loaded = checkpoint.load(path).onnx_model
    assert loaded is not None
    return numpy_helper.to_array(loaded.graph.initializer[0])


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and message.isprintable() and len(message) < 400
    assert caught.value.exit_code == 2
    return message


def test_reads_external_data_beside_the_model(tmp_path: Path) -> None:
    assert np.array_equal(read(external(tmp_path / "a")), WEIGHT)


def test_reads_models_from_the_hugging_face_cache(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    external(blobs)
    (blobs / "model.data").rename(blobs / "0123")
    (blobs / "model.onnx").rename(blobs / "4567")
    (snapshot / "model.data").symlink_to("../../blobs/0123")
    (snapshot / "model.onnx").symlink_to("../../blobs/4567")
    assert np.array_equal(read(snapshot / "model.onnx"), WEIGHT)


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../model.data", "a/../../b", "", "C:\\x", "*/_ORT_MEM_ADDR_/*", "a\0b"]
)
def test_external_path_outside_the_folder(tmp_path: Path, location: str) -> None:
    assert "is not a path below the model's folder" in refused(external(tmp_path / "a", location=location))


def link_out(data: Path) -> None:
    (data.parent.parent / "secret").write_bytes(WEIGHT.tobytes())
    data.symlink_to("../secret")


def hard_link(data: Path) -> None:
    (data.parent.parent / "secret").write_bytes(WEIGHT.tobytes())
    data.hardlink_to(data.parent.parent / "secret")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (link_out, "is a link out of the model's folder"),
        (hard_link, "is hard-linked under other names"),
        (lambda data: data.mkdir(), "is a directory"),
        (lambda data: os.mkfifo(data), "is a FIFO"),
        (lambda data: data.symlink_to("/dev/zero"), "is a link out of"),
        (lambda data: data.symlink_to(data.name), "cannot be opened"),
        (lambda data: data.symlink_to("nothing"), "cannot be opened"),
    ],
)
def test_external_data_that_is_no_file_of_the_model(
    tmp_path: Path, make: Callable[[Path], None], what: str
) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    make(folder / "model.data")
    assert what in refused(external(folder))


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"offset": "-1"}, "offset '-1' is not a number"),
        ({"offset": "1e3"}, "is not a number"),
        ({"offset": "٣"}, "is not a number"),
        ({"offset": "4"}, "which has only 64"),
        ({"offset": "9223372036854775807"}, "which has only 64"),
        ({"offset": "9" * 40}, "is not a number"),
        ({"length": "32"}, "external length 32, but its shape and type take 64"),
        ({"length": "18446744073709551615"}, "is not a number"),
    ],
)
def test_external_range_outside_the_data(tmp_path: Path, entries: dict[str, str], what: str) -> None:
    assert what in refused(external(tmp_path / "a", **entries))


def test_external_tensor_of_a_size_no_file_has(tmp_path: Path) -> None:
    path = external(tmp_path / "a")
    made = onnx.ModelProto()
    made.ParseFromString(path.read_bytes())
    made.graph.initializer[0].dims[:] = [1 << 62, 1 << 62]
    del made.graph.initializer[0].external_data[2]
    path.write_bytes(made.SerializeToString())
    assert "a shape that nothing has" in refused(path)


@pytest.mark.parametrize("kept", [0, 1, 10, 60, 120])
def test_truncated_model(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString()[:kept])
    with pytest.raises(CorruptFileError):
        read(path)


def test_every_damaged_byte_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    data = model().SerializeToString()
    for place in range(0, len(data), 2):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            with sandbox.here():  # hundreds of files
                read(path)
        except InputError as error:
            assert "\n" not in str(error)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, varint = len(payload), b""
    while size > 0x7F:
        varint += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + varint + bytes([size]) + payload


def test_deeply_nested_graph(tmp_path: Path) -> None:
    graph = b""
    for _ in range(1000):  # a graph in an attribute (6) of a node (5) of a graph (1), and so on
        graph = field(1, field(5, field(6, graph)))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a" + field(7, graph))
    assert "the protobuf cannot be read" in refused(path)


def test_graph_with_a_cycle_or_a_missing_input(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for wrong in ("y", "nothing"):
        made = model()
        made.graph.node[0].input[0] = wrong
        path.write_bytes(made.SerializeToString())
        assert "not a valid ONNX model" in refused(path)


def test_nan_weight_is_refused_by_export_and_by_verify(tmp_path: Path) -> None:
    made = model()
    damaged = WEIGHT.copy()
    damaged[1, 2] = np.nan
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(damaged, "w"))
    path = tmp_path / "nan.onnx"
    path.write_bytes(made.SerializeToString())
    for refusing in (lambda: api.export(path), lambda: api.verify(path, path)):
        with pytest.raises(InputError, match=r"nan\.onnx: weight 'w' holds NaN"):
            refusing()
    assert list(tmp_path.iterdir()) == [path]
