"""A float model quantized on calibration data, then packed: what comes out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import sparse_export
from sparse_export.errors import InputError
from sparse_export.exporter.files import held
from sparse_export.exporter.rewrite.packed_nodes import find
from tests.exporter.quantized.qdq import Qdq, residual
from tests.onnx_models import model, pruned, residual_net

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


def of_kinds(rng: Rng, *kinds: str) -> onnx.ModelProto:
    """One weight of 64 x 64 for each kind of node, one behind the other; X is [n] indices or floats."""
    nodes, constants, last = [], {}, "X"
    for place, kind in enumerate(kinds):
        weight = pruned(rng, 64, 64)
        name, result = f"{kind}.w", "Y" if place == len(kinds) - 1 else f"{kind}.y"
        if kind == "Gather":
            nodes.append(helper.make_node(kind, [name, last], [result]))
        elif kind == "GRU":
            weight = pruned(rng, 1, 48, 64)
            constants["r"] = pruned(rng, 1, 48, 16)
            nodes.append(helper.make_node(kind, [last, name, "r"], [result], hidden_size=16))
        elif kind == "half":
            weight = weight.astype(np.float16)
            nodes.append(helper.make_node("Cast", [last], ["h"], to=onnx.TensorProto.FLOAT16))
            nodes.append(helper.make_node("MatMul", ["h", name], ["p"]))
            nodes.append(helper.make_node("Cast", ["p"], [result], to=onnx.TensorProto.FLOAT))
        elif kind == "ConvTranspose":
            weight = weight.reshape(64, 16, 2, 2)
            constants["bias"] = rng.standard_normal(64).astype(np.float32)
            nodes.append(helper.make_node(kind, [last, name, "bias"], [result], group=4))
        else:
            weight = weight.reshape(64, 64, 1, 1) if kind == "Conv" else weight
            nodes.append(helper.make_node(kind, [last, name], [result]))
        constants[name], last = weight, result
    x = {"Gather": ["n"], "GRU": ["n", 1, 64], "Conv": ["n", 64, 3, 3]}.get(kinds[0], ["n", 64])
    made = model(nodes, constants, x, 2, opset=17)
    made.graph.input[0].type.tensor_type.elem_type = 7 if kinds[0] == "Gather" else 1
    return made


@pytest.mark.parametrize("kinds", [("Gather", "MatMul"), ("half", "MatMul"), ("Conv", "ConvTranspose")])
def test_what_the_quantizer_takes_wrongly_keeps_its_zeros(
    kinds: tuple[str, ...], rng: Rng, tmp_path: Path
) -> None:
    source = of_kinds(rng, *kinds)
    onnx.save(source, tmp_path / "net.onnx")
    shape = [24, *(dim.dim_value for dim in source.graph.input[0].type.tensor_type.shape.dim[1:])]
    x = rng.integers(0, 64, shape) if kinds[0] == "Gather" else rng.standard_normal(shape).astype(np.float32)
    report = sparse_export.export(tmp_path / "net.onnx", activations="int8", calibrate={"X": x})
    assert report.verification and report.density < 0.2


def test_a_net_without_a_layer_for_integers_is_refused(rng: Rng, tmp_path: Path) -> None:
    onnx.save(of_kinds(rng, "GRU"), tmp_path / "net.onnx")
    x = rng.standard_normal((8, 1, 64)).astype(np.float32)
    with pytest.raises(InputError, match="nothing in it becomes integers"):
        sparse_export.export(tmp_path / "net.onnx", activations="int8", calibrate={"X": x})
