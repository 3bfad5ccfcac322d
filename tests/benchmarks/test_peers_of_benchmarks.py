"""A benchmark races the packed model with the same peers that `sparse-export bench` makes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest


@pytest.fixture
def linear(common: ModuleType, tmp_path: Path) -> Path:
    """A linear layer with a tenth of its weights."""
    path = tmp_path / "linear.onnx"
    model = common.layer_model(common.pruned(np.random.default_rng(0), (64, 256), 0.1))
    for value, size in zip([*model.graph.input, *model.graph.output], (256, 64), strict=True):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, [1, size]))
    onnx.save(model, path)
    return path


def test_dense_and_packed_are_measured_in_processes_of_their_own(common: ModuleType, linear: Path) -> None:
    times = common.measure(common.subjects(linear), (1, 256), 1, 0.0, rounds=1)
    assert list(times) == ["dense", "sparse"]
    assert all(value > 0 for value in times.values())


def test_int8_is_quantized_per_channel_and_kept(common: ModuleType, linear: Path) -> None:
    ((path, runtime),) = common.int8(linear).values()
    model = onnx.load(path)
    assert runtime == "onnxruntime"
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert any(list(t.dims) == [64] for t in model.graph.initializer if t.name.endswith("_scale"))
    made = path.stat().st_mtime_ns
    common.int8(linear)
    assert path.stat().st_mtime_ns == made


def test_four_bits_are_in_their_fast_setting(common: ModuleType, linear: Path) -> None:
    ((path, _),) = common.four_bits(linear).values()
    (node,) = (node for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits")
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert (options["bits"], options["block_size"], options["accuracy_level"]) == (4, 128, 4)


def test_a_peer_that_cannot_be_made_is_left_out(
    common: ModuleType, linear: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such operator")

    monkeypatch.setattr(common.peer_int8, "make_int8", fail)
    assert common.int8(linear) == {}
    assert "no int8 of linear.onnx: no such operator" in capsys.readouterr().err


def test_openvino_is_optional(common: ModuleType, linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "find_spec", lambda name: None)
    assert common.openvino(linear) == {}
    monkeypatch.setattr(common, "find_spec", lambda name: name)
    assert common.openvino(linear) == {"openvino": (linear, "openvino")}


def test_openvino_computes_in_float32(common: ModuleType, linear: Path) -> None:
    pytest.importorskip("openvino")
    from sparse_export.measure.runners.make import make_runner

    runner = make_runner({"path": linear, "runtime": "openvino", "threads": 1, "precision": "f32"})
    runner.load()
    x = np.random.default_rng(0).standard_normal((1, 256), dtype=np.float32)
    weight = onnx.numpy_helper.to_array(onnx.load(linear).graph.initializer[0])
    (y,) = runner.run({"x": x})
    np.testing.assert_allclose(y, x @ weight.T, rtol=1e-5, atol=1e-5)


def test_a_failing_process_ends_the_benchmark_with_its_message(common: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(SystemExit, match=r"broken.onnx in onnxruntime failed"):
        common.measure({"dense": (tmp_path / "broken.onnx", "onnxruntime")}, (1,), 1, 0.0, rounds=1)


@pytest.mark.parametrize("only", ["", "vgg11-cifar"])
def test_a_part_of_the_models_does_not_replace_the_results(
    common: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, only: str
) -> None:
    models = importlib.import_module("models")
    times = {"dense": 2.0, "sparse": 1.0, "int8": 0.5}
    monkeypatch.setattr(models.Net, "path", lambda self: tmp_path / "net.onnx")
    for name in ("subjects", "int8", "openvino"):
        monkeypatch.setattr(common, name, lambda path: {})
    monkeypatch.setattr(common, "measure", lambda *_: times)
    monkeypatch.setattr("sys.argv", ["models.py", "--threads", "1", "2", *(["--only", only] if only else [])])
    models.main()
    assert (tmp_path / "results" / "models.json").exists() == (not only)
    if not only:
        rows = json.loads((tmp_path / "results" / "models.json").read_text())["rows"]
        assert len(rows) == 14 and {row["fastest"] for row in rows} == {"int8"}
