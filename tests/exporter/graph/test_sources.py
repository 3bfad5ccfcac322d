"""Weights as files have them: listed as inputs, sparse, shared, under any name; outputs without a shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export.errors import CorruptFileError, InputError

from ...onnx_models import pruned
from .made import WIDTH, Y, feeds, operators, sparse_tensor, write
from .running import assert_same_in_both_runtimes

node = helper.make_node
#: x -> MatMul(w) -> MatMul(v) -> y
TWO = [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"], ["y"])]


@pytest.fixture
def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"w": pruned(rng, WIDTH, WIDTH), "v": pruned(rng, WIDTH, WIDTH)}


def rows(source: Path, **options: Any) -> dict[str, dict[str, Any]]:
    report = sparse_export.export(source, dry_run=True, **{"format": "csr"} | options)
    return {row["name"]: row for row in report.layers}


def test_old_files_list_fixed_weights_as_inputs(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    source = write(tmp_path / "m.onnx", TWO, weights, also_inputs=["w", "v"], opset=8, ir=3)
    written = assert_same_in_both_runtimes(source, feeds())
    assert operators(written) == ["SparseMatMul", "SparseMatMul"]
    assert [value.name for value in written.graph.input] == ["x"]


def test_old_files_may_leave_weights_out_of_their_inputs(
    tmp_path: Path, weights: dict[str, np.ndarray]
) -> None:
    source = write(tmp_path / "m.onnx", TWO, weights, opset=7, ir=3)
    written = assert_same_in_both_runtimes(source, feeds())
    assert operators(written) == ["SparseMatMul", "SparseMatMul"]


def test_weight_that_a_caller_may_override_stays_so(
    tmp_path: Path, weights: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    source = write(tmp_path / "m.onnx", TWO, weights, also_inputs=["w"], ir=8)
    written = assert_same_in_both_runtimes(source, feeds() | {"w": pruned(rng, WIDTH, WIDTH)})
    assert operators(written) == ["MatMul", "SparseMatMul"]
    assert_same_in_both_runtimes(source, feeds())
    assert "a caller may give another" in rows(source)["w"]["reason"]


@pytest.mark.parametrize("coordinates", [False, True])
def test_sparse_initializers_are_weights(
    coordinates: bool, tmp_path: Path, weights: dict[str, np.ndarray]
) -> None:
    sparse = [sparse_tensor(array, name, coordinates=coordinates) for name, array in weights.items()]
    source = write(tmp_path / "m.onnx", TWO, {}, sparse=sparse)
    written = assert_same_in_both_runtimes(source, feeds())
    assert operators(written) == ["SparseMatMul", "SparseMatMul"]
    assert written.ByteSize() < source.stat().st_size


def test_sparse_constant_nodes_are_weights(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    nodes = [node("Constant", [], [name], sparse_value=sparse_tensor(a, "")) for name, a in weights.items()]
    source = write(tmp_path / "m.onnx", [*nodes, *TWO], {}, opset=13)
    assert operators(assert_same_in_both_runtimes(source, feeds())) == ["SparseMatMul", "SparseMatMul"]


def test_sparse_initializer_that_stays_is_written_sparse(tmp_path: Path, rng: np.random.Generator) -> None:
    table = pruned(rng, 1000, WIDTH, density=0.03)
    nodes = [node("Gather", ["table", "ids"], ["e"]), node("MatMul", ["e", "w"], ["y"])]
    source = write(
        tmp_path / "m.onnx",
        nodes,
        {"w": pruned(rng, WIDTH, WIDTH)},
        inputs=[helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        sparse=[sparse_tensor(table, "table")],
    )
    written = assert_same_in_both_runtimes(source, {"ids": np.array([0, 999, 5])})
    assert written.ByteSize() < source.stat().st_size
    beside = tmp_path / "beside.onnx"
    report = sparse_export.export(
        source, output=beside, format="csr", layers=["table=dense"], external_data=True
    )
    assert report.verification is not None and len(report.files) == 2
    held = onnx.load(beside, load_external_data=False).graph.sparse_initializer
    assert [sparse.values.name for sparse in held] == ["table"]


def test_refuses_sparse_tensors_out_of_proportion(tmp_path: Path) -> None:
    one = sparse_tensor(np.ones((1, 1), np.float32), "w")
    one.dims[:] = [1 << 20, 1 << 20]
    source = write(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], {}, sparse=[one])
    with pytest.raises(InputError, match="4,398,046,511,104 bytes"):
        sparse_export.export(source, dry_run=True)


def test_refuses_sparse_indices_out_of_range(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    broken = sparse_tensor(weights["w"], "w")
    places = numpy_helper.to_array(broken.indices).copy()
    places[-1] = WIDTH * WIDTH
    broken.indices.CopyFrom(numpy_helper.from_array(places, "w_places"))
    source = write(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], {}, sparse=[broken])
    with pytest.raises(CorruptFileError, match=r"'w'|index value"):
        sparse_export.export(source, dry_run=True)


def test_takes_outputs_without_a_shape(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    source = write(tmp_path / "m.onnx", TWO, weights, outputs=[Y])
    assert not Y.type.tensor_type.HasField("shape")
    written = assert_same_in_both_runtimes(source, feeds())
    assert not written.graph.output[0].type.tensor_type.HasField("shape")


def test_takes_outputs_without_a_type(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    untyped = helper.make_empty_tensor_value_info("y")
    untyped.ClearField("type")
    source = write(tmp_path / "m.onnx", TWO, weights, outputs=[untyped])
    written = assert_same_in_both_runtimes(source, feeds())
    assert operators(written) == ["SparseMatMul", "SparseMatMul"]


@pytest.mark.parametrize("name", ["csr", "bitmask", "split", "palette"])
def test_values_may_be_called_as_ours(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    taken = [f"w.{part}" for part in ("gaps", "values", "ends", "mask", "low", "table", "scale", "bias")]
    weight = np.round(pruned(rng, WIDTH, WIDTH))
    nodes, before = [], "x"
    for value in taken:
        nodes.append(
            node(
                "MatMul" if value in taken[::3] else "Add",
                [before, "w" if value in taken[::3] else "b"],
                [value],
            )
        )
        before = value
    nodes.append(node("Identity", [before], ["y"]))
    source = write(tmp_path / "m.onnx", nodes, {"w": weight, "b": np.ones(WIDTH, np.float32)})
    written = assert_same_in_both_runtimes(source, feeds(), format=name, tolerance=1e-4)
    made = [t.name for t in written.graph.initializer]
    assert len({*made, *(o for n in written.graph.node for o in n.output)}) == len(made) + len(
        written.graph.node
    )


@pytest.mark.parametrize("form", ["csr", "auto"])
def test_tied_embedding_never_gets_a_second_copy(form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        node("Gather", ["w", "ids"], ["e"]),
        node("Transpose", ["w"], ["t"], perm=[1, 0]),
        node("MatMul", ["e", "t"], ["y"]),
    ]
    source = write(
        tmp_path / "m.onnx",
        nodes,
        {"w": pruned(rng, 500, WIDTH)},
        inputs=[helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
    )
    written = assert_same_in_both_runtimes(source, {"ids": np.array([3, 499])}, format=form)
    assert written.ByteSize() < source.stat().st_size + 100
    assert rows(source)["w"]["reason"].endswith("expanded: shared with Gather")


def test_weight_that_is_the_input_too_stays(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    nodes = [
        node("MatMul", ["w", "w"], ["q"]),
        node("MatMul", ["x", "q"], ["h"]),
        node("MatMul", ["h", "v"], ["y"]),
    ]
    source = write(tmp_path / "m.onnx", nodes, weights)
    assert_same_in_both_runtimes(source, feeds(), tolerance=1e-4)
    assert rows(source)["w"]["reason"].endswith("expanded: shared with MatMul")


def test_tensors_that_nothing_reads_are_left_out(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    source = write(tmp_path / "m.onnx", TWO, weights | {"copy": weights["w"] + 1})
    report = sparse_export.export(source, output=tmp_path / "out.onnx", verify=False)
    assert report.dense_file_bytes is not None and report.dense_file_bytes < 0.7 * source.stat().st_size
    assert any("nothing reads left out: copy" in text for _, text in report.notes)


AUTO_PADS = [
    ("SAME_UPPER", [3, 3], [1, 1], [1, 1]),
    ("SAME_LOWER", [2, 4], [1, 1], [1, 1]),
    ("SAME_UPPER", [5, 3], [2, 3], [1, 1]),
    ("SAME_LOWER", [5, 2], [2, 3], [1, 1]),
    ("SAME_UPPER", [1, 1], [2, 2], [1, 1]),
    ("VALID", [3, 3], [2, 1], [1, 1]),
]


@pytest.mark.parametrize(("mode", "kernel", "strides", "dilations"), AUTO_PADS)
def test_automatic_padding_is_plain_numbers(
    mode: str,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    spelled = {"auto_pad": mode, "strides": strides, "dilations": dilations}
    source = write(
        tmp_path / "m.onnx",
        [node("Conv", ["x", "w"], ["y"], kernel_shape=kernel, **spelled)],
        {"w": pruned(rng, 64, 8, *kernel)},
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 11, 14])],
    )
    x = rng.standard_normal((2, 8, 11, 14)).astype(np.float32)
    written = assert_same_in_both_runtimes(source, {"x": x})
    assert operators(written) == ["SparseConv" if np.prod(kernel) > 1 else "Conv"]


def test_strided_automatic_padding_of_unknown_images_says_why(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    source = write(
        tmp_path / "m.onnx",
        [node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")],
        {"w": pruned(rng, 32, 8, 3, 3)},
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, "h", "w"])],
    )
    why = "auto_pad SAME_UPPER with a stride: its pads hang on the image's size"
    assert rows(source)["w"]["reason"].endswith(f"expanded: {why}")
