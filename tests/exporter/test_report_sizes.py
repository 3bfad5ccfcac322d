"""The report's sizes: a dense file holds what is read, once, and never more than the source itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import sparse_export
from sparse_export.exporter.api import inspect
from sparse_export.exporter.files.onnx_size import dense_bytes, file_bytes

from ..onnx_models import model, pruned


def save(tmp_path: Path, made: onnx.ModelProto, **options: object) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(made, path, **options)
    return path


def transposed(rng: np.random.Generator, times: int = 1) -> onnx.ModelProto:
    """A convolution whose weight is computed by a Transpose, as TensorFlow's converter writes it."""
    weight = np.ascontiguousarray(pruned(rng, 64, 64, 3, 3).transpose(2, 3, 1, 0))
    nodes, x = [], "X"
    for place in range(times):
        y = "Y" if place == times - 1 else f"y{place}"
        nodes.append(helper.make_node("Transpose", ["Wt"], [f"W{place}"], perm=[3, 2, 0, 1]))
        nodes.append(helper.make_node("Conv", [x, f"W{place}"], [y], pads=[1, 1, 1, 1]))
        x = y
    return model(nodes, {"Wt": weight}, ["n", 64, 8, 8], 4)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("format_name", ["csr", "auto"])
def test_computed_weights_count_once(
    tmp_path: Path, rng: np.random.Generator, times: int, format_name: str
) -> None:
    source = save(tmp_path, transposed(rng, times))
    report = sparse_export.export(source, format=format_name, output=tmp_path / "small.onnx")
    assert 0.95 * source.stat().st_size < report.dense_file_bytes <= source.stat().st_size


def test_tensors_nobody_reads_do_not_count(tmp_path: Path, rng: np.random.Generator) -> None:
    node = helper.make_node("MatMul", ["X", "w"], ["Y"])
    made = model([node], {"w": pruned(rng, 128, 128), "left over": pruned(rng, 512, 512)}, ["n", 128], 2)
    source = save(tmp_path, made)
    report = sparse_export.export(source, format="csr", output=tmp_path / "small.onnx")
    assert report.dense_file_bytes < 128 * 128 * 4 + 2000
    assert report.waterfall.dense == 128 * 128 * 4
    assert dense_bytes(made) < source.stat().st_size - 512 * 512 * 4 + 100


def test_data_files_belong_to_the_source(tmp_path: Path, rng: np.random.Generator) -> None:
    made = model([helper.make_node("MatMul", ["X", "w"], ["Y"])], {"w": pruned(rng, 128, 128)}, ["n", 128], 2)
    source = save(tmp_path, made, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert file_bytes(source) == source.stat().st_size + 128 * 128 * 4
    report = sparse_export.export(source, format="csr", output=tmp_path / "small.onnx")
    assert report.source_bytes == file_bytes(source)
    assert report.dense_file_bytes > 128 * 128 * 4


def test_inspect_and_export_agree_on_the_density(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = pruned(rng, 128, 128)
    bias = np.ones(128, np.float32)
    nodes = [helper.make_node("Gemm", ["X", "w", "b"], ["Y"], transB=1)]
    source = save(tmp_path, model(nodes, {"w": weight, "b": bias}, ["n", 128], 2))
    report = sparse_export.export(source, format="csr", output=tmp_path / "small.onnx")
    true = np.count_nonzero(weight) / weight.size
    for other in (report, inspect(source), inspect(tmp_path / "small.onnx")):
        assert other.density == pytest.approx(true), other.source
        assert other.size == weight.size


def test_weights_of_a_subgraph_are_in_all_sums(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = pruned(rng, 64, 64)
    then = helper.make_graph(
        [helper.make_node("MatMul", ["X", "inner"], ["t"])],
        "then",
        [],
        [helper.make_tensor_value_info("t", 1, None)],
        [numpy_helper.from_array(weight, "inner")],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["X"], ["u"])], "else", [], [helper.make_tensor_value_info("u", 1, None)]
    )
    nodes = [
        helper.make_node("ReduceSum", ["X"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["any"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["any"], ["h"], then_branch=then, else_branch=other),
        helper.make_node("MatMul", ["h", "w"], ["Y"]),
    ]
    source = save(tmp_path, model(nodes, {"w": pruned(rng, 64, 64)}, [4, 64], 2))
    report = sparse_export.export(source, format="csr", output=tmp_path / "small.onnx", verify=False)
    assert report.waterfall.dense == 2 * 64 * 64 * 4
    assert report.waterfall.positions < report.file_bytes
    assert {row["name"] for row in report.layers} == {"w", "inner"}
