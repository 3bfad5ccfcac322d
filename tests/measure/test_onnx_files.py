"""Bytes on disk, and what they are spent on."""

from __future__ import annotations

import gzip
from pathlib import Path

import onnx
import pytest

from sparse_export.errors import CorruptFileError, InputError
from sparse_export.exporter import api
from sparse_export.measure import layers, onnx_files


def test_external_data_counts(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "external.onnx"
    onnx.save(
        onnx.load(models["dense"]), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    files = onnx_files.all_files(path)
    sizes = onnx_files.disk_sizes(files)
    assert [f.name for f in files] == ["external.onnx", "w.data"]
    assert sizes["external"] == (tmp_path / "w.data").stat().st_size > 0
    assert sizes["total"] == sum(f.stat().st_size for f in files)


def test_data_outside_the_folder_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    model = onnx.load(models["dense"])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CorruptFileError, match="outside the model's folder"):
        onnx_files.all_files(folder / "m.onnx")


def test_gzip_size_is_that_of_gzip(models: dict[str, Path]) -> None:
    sizes = onnx_files.disk_sizes([models["sparse"]])
    assert sizes["gzip"] == pytest.approx(len(gzip.compress(models["sparse"].read_bytes(), 6)), abs=64)
    assert 0 < (sizes["zstd"] or 0) < (sizes["total"] or 0)


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"not a model at all"])
def test_rejects_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError):
        onnx_files.read_model(path)


def test_layers_and_breakdown_of_a_dense_model(models: dict[str, Path]) -> None:
    total = models["sparse"].stat().st_size
    rows, breakdown = layers.read(models["sparse"], total)
    assert [row["name"] for row in rows] == ["w0", "w1", "w2"]
    assert all(row["bytes"] == row["dense_bytes"] == 64 * 64 * 4 for row in rows)
    assert all(0.05 < row["density"] < 0.15 for row in rows)
    assert sum(breakdown.values()) == total
    assert breakdown["weights"] == 3 * 64 * 64 * 4


def test_layers_of_a_packed_model(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "packed.onnx"
    report = api.export(models["sparse"], format="csr", output=path, verify=False)
    rows, breakdown = layers.read(path, path.stat().st_size)
    assert [(row["name"], row["format"]) for row in rows] == [("w0", "csr"), ("w1", "csr"), ("w2", "csr")]
    assert sum(row["bytes"] for row in rows) == report.packed_bytes
    assert sum(row["nnz"] for row in rows) == report.nnz
    assert breakdown["indices"] > 0
    assert sum(breakdown.values()) == path.stat().st_size
