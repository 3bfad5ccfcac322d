"""Lossy values: what they cost is said, held to a tolerance that is given, and never called verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sparse_export import VerificationError, export, verify
from sparse_export.cli import run

from .models import linear, weight


@pytest.mark.parametrize("values", ["int8", "fp16", "bf16", "codebook:4"])
def test_says_what_was_asked_for_and_verify_agrees(
    values: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = linear(tmp_path / "m.onnx", weight(64, 64)), tmp_path / "out.onnx"
    assert run([str(source), "-o", str(out), "--values", values]) == 0
    told = capsys.readouterr().out
    assert run(["verify", str(source), str(out)]) == 0
    again = capsys.readouterr().out
    for text in (told, again):
        assert f"as asked for by --values {values}" in text and "verified" not in text
    assert told[told.index("max abs") :].splitlines()[0] == again[again.index("max abs") :].splitlines()[0]


@pytest.mark.parametrize("size", [1e-7, 1.0, 1e6])
@pytest.mark.parametrize("values", ["int8", "codebook:2"])
def test_a_tolerance_that_is_missed_leaves_no_file(values: str, size: float, tmp_path: Path) -> None:
    source, out = linear(tmp_path / "m.onnx", weight(64, 64) * np.float32(size)), tmp_path / "out.onnx"
    with pytest.raises(VerificationError, match="over the tolerance"):
        export(source, output=out, values=values, rtol=1e-6)
    assert not out.exists()


def test_a_tolerance_that_holds_is_held_by_verify_too(tmp_path: Path) -> None:
    source, out = linear(tmp_path / "m.onnx", weight(64, 64)), tmp_path / "out.onnx"
    assert export(source, output=out, values="fp16", rtol=1e-2).verification
    assert verify(source, out, rtol=1e-2).passed
    with pytest.raises(VerificationError):
        verify(source, out, rtol=1e-6)


def test_a_lossy_file_is_held_to_its_own_stored_values(tmp_path: Path) -> None:
    source, out = linear(tmp_path / "m.onnx", weight(64, 64)), tmp_path / "out.onnx"
    export(source, output=out, values="fp16", format="csr")
    model = onnx.load(str(out))
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.name.endswith(".scale"):
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(1.001), tensor.name))
    onnx.save(model, str(out))
    with pytest.raises(VerificationError, match="stored the same way"):
        verify(source, out)


@pytest.mark.parametrize("values", ["int8", "codebook:4"])
def test_a_weight_that_the_graph_computes_is_held_to_its_stored_values(values: str, tmp_path: Path) -> None:
    source, out = linear(tmp_path / "m.onnx", weight(64, 64)), tmp_path / "out.onnx"
    model = onnx.load(str(source))
    (tensor,) = (one for one in model.graph.initializer if len(one.dims) == 2)
    name, array = tensor.name, numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), "half"))
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["half"], [name], to=onnx.TensorProto.FLOAT))
    onnx.save(model, str(source))
    report = export(source, output=out, values=values, format="csr", optimize="memory")
    assert [row["run"] for row in report.layers if row["name"] == name] == ["packed"]
    assert verify(source, out).passed


def test_a_file_with_other_weights_cannot_call_itself_lossy(tmp_path: Path) -> None:
    source, other = (
        linear(tmp_path / "m.onnx", weight(64, 64)),
        linear(tmp_path / "o.onnx", weight(64, 64, seed=1)),
    )
    export(other, output=tmp_path / "out.onnx", values="int8")
    with pytest.raises(VerificationError, match="not the source's weight stored as int8"):
        verify(source, tmp_path / "out.onnx")
