"""Portable files: standard operators alone, the source's bits, one line for what does not go with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export import formats
from sparse_export.cli import run
from sparse_export.errors import InputError, VerificationError
from sparse_export.exporter.graph.walk import all_nodes, read_names
from sparse_export.exporter.rewrite.counting import EXACT, RunningSums
from sparse_export.exporter.rewrite.portable import decode_bytes
from sparse_export.exporter.rewrite.weight_functions import Twin
from sparse_export.formats.base import Array

from ...onnx_models import residual_net
from ..weights.consumers import CONSUMERS, feeds, weight_of
from .layers import FORMATS, exported, inputs_of, source_of

#: What engines do not compute ahead on constants, or not on the types that a decode would use.
NEVER = {"BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "NonZero", "Compress", "Unique"}


def ran(path: Path | bytes, given: dict[str, Array]) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    result: Array = onnxruntime.InferenceSession(path, options).run(None, given)[0]
    return result


def is_standard(model: onnx.ModelProto) -> bool:
    """Whether a runtime without functions and domains of ours can know every operator."""
    domains = {node.domain for node in all_nodes(model.graph)} | {one.domain for one in model.opset_import}
    return not model.functions and domains <= {"", "ai.onnx"}


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_whatever_reads_a_weight_gets_its_bits(consumer: str, tmp_path: Path) -> None:
    shape, dtype, build = CONSUMERS[consumer]
    dense = build(weight_of(shape, dtype, "free"))
    source, target = tmp_path / "dense.onnx", tmp_path / "portable.onnx"
    onnx.save(dense, source)
    report = sparse_export.export(source, output=target, portable=True)
    written = onnx.load(target)
    packed = [row for row in report.layers if row["format"] != "dense"]
    assert {row["run"] for row in packed} <= {"expanded"}
    assert is_standard(written) and (report.file_bytes or 0) <= source.stat().st_size
    assert ran(target, feeds(dense)).tobytes() == ran(source, feeds(dense)).tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_spelled_out_with_operators_that_engines_compute_ahead(
    name: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    source, target, report = exported(source_of(name, ["MatMul"], rng), tmp_path, name)
    written = onnx.load(target)
    assert [(row["format"], row["run"]) for row in report.layers] == [(name, "expanded")]
    assert is_standard(written) and not {node.op_type for node in written.graph.node} & NEVER
    assert {tensor.name for tensor in written.graph.initializer} <= read_names(written.graph)
    assert report.verification and report.verification.tensors == 1
    assert "no layer to run packed" in " ".join(text for _, text in report.notes)
    x = inputs_of(["MatMul"], rng)
    assert np.array_equal(ran(target, x), ran(source, x))


def test_what_several_decodes_need_alike_is_in_the_file_once(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    _, target, _ = exported(residual_net(rng), tmp_path, "bitmask")
    nodes = [node for node in onnx.load(target).graph.node if node.op_type in ("Range", "Mod")]
    assert len({(node.op_type, *node.input) for node in nodes}) == len(nodes)


@pytest.mark.parametrize("name", FORMATS)
def test_a_decode_is_counted_for_every_weight(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    _, target, _ = exported(source_of(name, ["Gemm"], rng), tmp_path, name)
    *decode, _ = onnx.load(target).graph.node
    told = decode_bytes(formats.get(name), Twin(), 18)
    assert told == pytest.approx(sum(node.ByteSize() + 4 for node in decode), rel=0.25)


def test_refuses_a_file_whose_decode_was_changed(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparse_export.exporter.rewrite import outcome

    right = outcome.spelled_out

    def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
        made = right(model)
        tensor = next(one for one in made.graph.initializer if one.name == "W Gemm.values")
        values = numpy_helper.to_array(tensor).copy()
        values[7] = np.nextafter(values[7], np.float32(9))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return made

    monkeypatch.setattr(outcome, "spelled_out", wrong)
    with pytest.raises(VerificationError, match="W Gemm: the file's operators do not expand it"):
        exported(source_of("csr", ["Gemm"], rng), tmp_path, "csr")
    assert not (tmp_path / "portable.onnx").exists()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"optimize": "speed"}, "--optimize speed"),
        ({"optimize": "memory"}, "--optimize memory"),
        ({"optimize": "speed", "measure": True}, "--measure"),
        ({"values": "fp16"}, "--values fp16"),
    ],
)
def test_refuses_what_is_about_layers_that_run_packed(
    options: dict[str, str], told: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    onnx.save(source_of("csr", ["Gemm"], rng), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=f"{told} does not go with it$"):
        sparse_export.export(tmp_path / "m.onnx", portable=True, **options)  # type: ignore[arg-type]


def test_command_line_names_the_file_and_goes_with_external_data(
    rng: np.random.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(source_of("csr", ["Conv"], rng), tmp_path / "m.onnx")
    assert run([str(tmp_path / "m.onnx"), "--portable", "--external-data"]) == 0
    assert "wrote" in capsys.readouterr().out
    assert is_standard(onnx.load(tmp_path / "m.portable.onnx"))
    assert run(["verify", str(tmp_path / "m.onnx"), str(tmp_path / "m.portable.onnx")]) == 0
    assert run([str(tmp_path / "m.onnx"), "--portable", "--archive"]) == 2


@pytest.mark.parametrize(
    "numbers",
    [
        np.arange(50),
        np.full(10_000, 255),
        np.full(70_000, 255),  # over 2^24 together
        np.random.default_rng(0).integers(0, 1 << 18, 8192),
        np.array([0, 1 << 30, 3, 1 << 29, 1]),
        np.zeros(0, int),
    ],
    ids=lambda numbers: f"{numbers.size} numbers, {numbers.sum()}",
)
def test_running_sums_are_exact_in_float_arithmetic(numbers: Array) -> None:
    nodes: list[onnx.NodeProto] = []
    held = [numpy_helper.from_array(numbers.astype(np.int32), "x")]

    def add(op_type: str, *given: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op_type, given, [f"v{len(nodes)}"], **attributes))
        return f"v{len(nodes) - 1}"

    def constant(array: Array) -> str:
        held.append(numpy_helper.from_array(array, f"c{len(held)}"))
        return held[-1].name

    name = RunningSums(add, constant).of("x", numbers.astype(np.int32))
    result = helper.make_tensor_value_info(name, TensorProto.INT32, None)
    graph = helper.make_graph(nodes, "g", [], [result], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert np.array_equal(ran(model.SerializeToString(), {}), np.cumsum(numbers))
    assert (numbers.sum() < EXACT) == (len(nodes) == 3)
