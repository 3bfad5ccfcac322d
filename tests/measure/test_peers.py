"""What users would pick instead is made from the same model, or there is a note on why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from sparse_export.errors import InputError
from sparse_export.measure import peer_int8, peers

from .small_models import chain, save


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("peers")
    dense = chain(folder / "dense.onnx", layers=2, width=256, density=0.1)
    found = {s.label: s.path for s, _ in peers.make(dense, folder, 0, None) if s}
    return {"dense": dense, **found}


@pytest.mark.parametrize("label", ["INT8 (static QDQ)", "fp16", "4-bit MatMulNBits", "sparse_initializer"])
def test_peer_is_smaller_and_runs(made: dict[str, Path], label: str) -> None:
    assert made[label].stat().st_size < made["dense"].stat().st_size
    session = onnxruntime.InferenceSession(str(made[label]), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(float)"


def test_integers_are_packed_too_and_stay_integers(made: dict[str, Path]) -> None:
    packed = made["INT8, packed"]
    assert packed == made["INT8, packed [stock onnxruntime]"]
    assert packed.stat().st_size < made["INT8 (static QDQ)"].stat().st_size / 2
    assert any(node.op_type.endswith("QMatMul") for node in onnx.load(packed).graph.node)


def test_int8_is_calibrated_on_the_data_given(made: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "calibration.npz"
    np.savez(data, h0=1000 * np.random.default_rng(0).standard_normal((20, 256), dtype=np.float32))
    peer_int8.make_int8(made["dense"], tmp_path / "int8.onnx", 0, None, str(data))
    scale = next(t for t in onnx.load(tmp_path / "int8.onnx").graph.initializer if t.name == "h0_scale")
    assert 20 < float(numpy_helper.to_array(scale)) < 60
    with pytest.raises(InputError, match="is no array for"):
        np.savez(data, h0=np.zeros((20, 17), np.float32))
        peer_int8.make_int8(made["dense"], tmp_path / "int8.onnx", 0, None, str(data))


def test_integers_that_do_not_get_smaller_are_a_note(tmp_path: Path) -> None:
    dense = chain(tmp_path / "dense.onnx", layers=2, width=64, density=1.0)
    peer_int8.make_int8(dense, tmp_path / "int8.onnx", 0, None)
    ((subject, note),) = peer_int8.packed(tmp_path / "int8.onnx", tmp_path)
    assert subject is None and note == "INT8, packed: not made (no weight gets smaller)"


def test_int8_weights_are_per_channel(made: dict[str, Path]) -> None:
    model = onnx.load(made["INT8 (static QDQ)"])
    scales = {t.name: t.dims for t in model.graph.initializer if t.name.endswith("_scale")}
    assert any(list(dims) == [256] for name, dims in scales.items() if name.startswith("w"))


def test_gemm_becomes_4_bit(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((32, 256), dtype=np.float32)
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(32, np.float32), "b")]
    node = helper.make_node("Gemm", ["h0", "w", "b"], ["y"], transB=1, name="fc")
    dense = save(tmp_path / "gemm.onnx", [node], tensors, ["N", 256], "y", ["N", 32])
    peers.make_matmul_nbits(dense, tmp_path / "nbits.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "nbits.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((3, 256), dtype=np.float32)
    (y,) = session.run(None, {"h0": x})
    assert np.abs(y - (x @ weight.T + 1)).max() < 0.3 * np.abs(y).max()


def test_openvino_runs_the_model_dense_and_packed(made: dict[str, Path]) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install openvino")
    x = np.random.default_rng(0).standard_normal((3, 256), dtype=np.float32)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    dense, packed = made["OpenVINO (default precision)"], made["OpenVINO, packed (--portable)"]
    assert packed.stat().st_size < dense.stat().st_size / 4
    wanted, got = (openvino.Core().compile_model(str(p), "CPU", options)(x)[0] for p in (dense, packed))
    assert np.array_equal(got, wanted)


def test_peer_that_cannot_be_made_is_a_note(models: dict[str, Path], tmp_path: Path) -> None:
    notes = [note for subject, note in peers.make(models["dense"], tmp_path, 0, None) if subject is None]
    assert any(n == "sparse_initializer: not made (no weight has two thirds of zeros)" for n in notes)
