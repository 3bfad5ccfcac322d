"""A float model quantized on calibration data, then packed: what comes out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import sparse_export
from sparse_export.errors import InputError
from sparse_export.exporter.files import held
from sparse_export.exporter.rewrite.packed_nodes import find
from tests.exporter.quantized.qdq import Qdq, residual
from tests.onnx_models import residual_net

Rng = np.random.Generator


@pytest.fixture
def net(tmp_path: Path, rng: Rng) -> Path:
    onnx.save(residual_net(rng), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture
def data(rng: Rng) -> dict[str, np.ndarray]:
    return {"X": rng.standard_normal((24, 16, 12, 12)).astype(np.float32), "labels": np.arange(24)}


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_quantizes_packs_and_says_how_far_it_is(
    net: Path, data: dict[str, np.ndarray], tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", **data)
    report = sparse_export.export(
        net, activations="int8", calibrate=tmp_path / "data.npz", calibration=method, optimize="memory"
    )
    assert report.output == str(tmp_path / "net.int8.memory.onnx")
    proof = report.verification
    assert proof is not None and proof.integers is not None and proof.integers.layers == 2
    assert proof.values == "int8 activations" and not proof.judged and 0 < proof.max_rel < 0.2
    assert any("on 24 samples" in text and "agreement" in text for _, text in report.notes)
    assert capsys.readouterr().out == ""
    again = sparse_export.verify(net, tmp_path / "net.int8.memory.onnx")
    assert again.values == "int8 activations" and not again.judged


def test_zeros_stay_zeros_through_normalisations(net: Path, data: dict[str, np.ndarray]) -> None:
    report = sparse_export.export(net, activations="int8", calibrate=data, optimize="memory", format="csr")
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(net).graph.initializer}
    packed = {row["name"]: row for row in report.layers if row["format"] == "csr"}
    assert set(packed) == {"a.weight_quantized", "b.weight_quantized"}
    for name in ("a.weight", "b.weight"):
        kept = int(np.count_nonzero(held[name]))
        assert 0.9 * kept < packed[f"{name}_quantized"]["nnz"] <= kept
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(str(report.output)).graph.node}


def test_says_what_to_give_where_there_are_no_data(net: Path) -> None:
    with pytest.raises(InputError, match=r"calibration data: --calibrate data\.npz"):
        sparse_export.export(net, activations="int8")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": np.zeros((0, 16, 12, 12), np.float32)}, "number of samples"),
        ({"X": np.full((2, 16, 12, 12), np.nan, np.float32)}, "NaN"),
        ({"X": np.zeros((2, 3, 12, 12), np.float32)}, "no array for X"),
        ({"A": np.zeros(4, np.float32)}, "the graph takes X"),
    ],
)
def test_refuses_data_that_do_not_fit(net: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(InputError, match=said):
        sparse_export.export(net, activations="int8", calibrate=arrays)


def test_refuses_lossy_values_beside_integers(net: Path, data: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="--values fp16 does not go with it"):
        sparse_export.export(net, activations="int8", calibrate=data, values="fp16")


def asymmetric(rng: Rng) -> onnx.ModelProto:
    net = Qdq(rng, [4, 96])
    codes = (net.codes(96, 96).astype(np.int16) + 117).clip(0, 255).astype(np.uint8)
    weight = net.weight(codes, zero=117)
    return net.model(net.pair(net.add("Gemm", [net.input(), weight], transB=1), 0.02, 128))


def test_an_asymmetric_weight_stays_dense_with_the_reason(tmp_path: Path, rng: Rng) -> None:
    onnx.save(asymmetric(rng), tmp_path / "net.onnx")
    report = sparse_export.export(tmp_path / "net.onnx", optimize="memory")
    assert "asymmetric" in report.layers[0]["reason"]
    assert all(one.run == "expanded" for one in find(onnx.load(str(report.output)).graph))
    with pytest.raises(InputError, match=r"weight\d+ is asymmetric.*symmetric weights"):
        sparse_export.export(tmp_path / "net.onnx", activations="int8", force=True)


def test_a_model_of_integers_needs_no_data(tmp_path: Path, rng: Rng) -> None:
    net = Qdq(rng, [2, 16, 9, 9])
    onnx.save(net.model(net.pair(net.conv(net.input(), 32, 16), 0.03, 100)), tmp_path / "net.onnx")
    report = sparse_export.export(tmp_path / "net.onnx", activations="int8", optimize="memory")
    assert report.verification is not None and report.verification.judged


def test_layers_of_large_weights_are_proved_too(
    net: Path, data: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "LEAST_BYTES", 16)
    report = sparse_export.export(net, activations="int8", calibrate=data, optimize="memory")
    assert report.verification.integers is not None and report.verification.integers.layers > 0
    onnx.save(residual(np.random.default_rng(0)), net)  # integers from the start
    report = sparse_export.export(net, format="csr", optimize="memory", output=net.with_name("packed.onnx"))
    assert report.verification.integers is not None and report.verification.integers.layers == 4
