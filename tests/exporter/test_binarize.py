"""Binary nets are recognised in a graph; latent weights become binary on request, never silently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from sparse_export.errors import InputError
from sparse_export.exporter import api
from sparse_export.exporter.graph import latent as binarize
from sparse_export.runtime.session import InferenceSession
from sparse_export.runtime.stock import Session

from ..onnx_models import model

Nodes = list[onnx.NodeProto]


def binary_weight(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """alpha of each output channel times random signs."""
    alpha = rng.uniform(0.1, 2, (shape[0], *[1] * (len(shape) - 1)))
    return (alpha * rng.choice([-1, 1], shape)).astype(np.float32)


def node(op: str, *names: str, **attributes: object) -> onnx.NodeProto:
    """A node whose last name is its output."""
    return helper.make_node(op, list(names[:-1]), [names[-1]], **attributes)


SIGNS: dict[str, Nodes] = {
    "where": [node("GreaterOrEqual", "n", "zero", "c"), node("Where", "c", "one", "minus", "s")],
    "where mirrored": [node("LessOrEqual", "zero", "n", "c"), node("Where", "c", "one", "minus", "s")],
    "where less": [node("Less", "n", "zero", "c"), node("Where", "c", "minus", "one", "s")],
    "where not": [
        node("Less", "n", "zero", "d"),
        node("Not", "d", "c"),
        node("Where", "c", "one", "minus", "s"),
    ],
    "where reversed": [node("GreaterOrEqual", "n", "zero", "c"), node("Where", "c", "minus", "one", "s")],
    "sign": [node("Sign", "n", "s")],
    "sign of hardtanh": [node("Clip", "n", "minus", "one", "h"), node("Sign", "h", "s")],
    "sign of tanh": [node("Tanh", "n", "h"), node("Sign", "h", "s")],
    "straight-through": [
        node("Clip", "n", "minus", "one", "h"),
        node("Sign", "n", "g"),
        node("Sub", "g", "h", "d"),
        node("Add", "h", "d", "s"),
    ],
    "doubled": [
        node("GreaterOrEqual", "n", "zero", "c"),
        node("Cast", "c", "f", to=1),
        node("Mul", "f", "two", "d"),
        node("Sub", "d", "one", "s"),
    ],
    "scaled": [node("Sign", "n", "g"), node("Mul", "g", "two", "s")],
    "clipped": [node("Sign", "n", "g"), node("Clip", "g", "minus", "one", "s")],
}
SCALARS = {
    "zero": np.float32(0),
    "one": np.float32(1),
    "minus": np.float32(-1),
    "two": np.float32(2),
}


def net(rng: np.random.Generator, signs: Nodes, first: Nodes | None = None) -> onnx.ModelProto:
    """BatchNorm, a sign, a padded binary convolution, BatchNorm, Relu."""
    norm = {name: rng.uniform(0.5, 1.5, 32).astype(np.float32) for name in ("g", "b", "m", "v")}
    norm |= {f"{name}2": rng.uniform(0.5, 1.5, 48).astype(np.float32) for name in ("g", "b", "m", "v")}
    constants = {f"norm.{name}": array for name, array in norm.items()} | SCALARS
    constants["w"] = binary_weight(rng, 48, 32, 3, 3)
    before = [node("BatchNormalization", "X", "norm.g", "norm.b", "norm.m", "norm.v", "n")]
    after = [
        node("Conv", "s", "w", "y", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "y", "norm.g2", "norm.b2", "norm.m2", "norm.v2", "z"),
        node("Relu", "z", "Y"),
    ]
    used = {name for step in [*(first or before), *signs, *after] for name in step.input}
    kept = {name: np.asarray(array) for name, array in constants.items() if name in used}
    return model([*(first or before), *signs, *after], kept, [1, 32, 9, 9], 4)


def exported(built: onnx.ModelProto, folder: Path, **options: object) -> onnx.ModelProto:
    source = folder / "net.onnx"
    onnx.save(built, source)
    api.export(source, format="bitpack", output=folder / "out.onnx", force=True, optimize="memory", **options)  # type: ignore[arg-type]
    return onnx.load(folder / "out.onnx")


def same_everywhere(
    written: onnx.ModelProto, built: onnx.ModelProto, shape: tuple[int, ...] = (1, 32, 9, 9)
) -> None:
    """Stock onnxruntime, the library and the float graph agree."""
    x = {"X": np.random.default_rng(7).standard_normal(shape).astype(np.float32)}
    data = written.SerializeToString()
    stock = Session(data).run(x)[0]
    float_graph = Session(built.SerializeToString()).run(x)[0]
    native = InferenceSession(data, threads=1).run(None, x)[0]
    largest = np.abs(float_graph).max()
    assert np.abs(stock - float_graph).max() < 1e-5 * largest
    assert np.abs(native - stock).max() < 1e-5 * largest


@pytest.mark.parametrize("form", SIGNS)
def test_a_sign_before_a_binary_layer_is_taken_in(
    form: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    built = net(rng, SIGNS[form])
    written = exported(built, tmp_path)
    assert [step.op_type for step in written.graph.node] == ["BatchNormalization", "XnorConvRelu"]
    same_everywhere(written, built)


@pytest.mark.parametrize(
    ("signs", "first"),
    [
        (SIGNS["sign"], [node("Relu", "X", "n")]),  # zeros are common, and sign(0) = 0
        (
            [node("Greater", "n", "zero", "c"), node("Where", "c", "one", "minus", "s")],
            [node("Relu", "X", "n")],
        ),
        ([node("GreaterOrEqual", "n", "one", "c"), node("Where", "c", "one", "minus", "s")], None),
        ([node("GreaterOrEqual", "n", "zero", "c"), node("Where", "c", "two", "minus", "s")], None),
        ([node("Clip", "n", "minus", "one", "s")], None),
    ],
    ids=["sign of zeros", "strict", "another threshold", "not symmetric", "no sign"],
)
def test_what_is_no_such_sign_stays_a_node(
    signs: Nodes, first: Nodes | None, rng: np.random.Generator, tmp_path: Path
) -> None:
    built = net(rng, signs, first)
    written = exported(built, tmp_path)
    assert written.graph.node[-1].op_type == "BinaryWeightConvRelu"
    same_everywhere(written, built)


def test_a_sign_that_others_read_stays_for_them(rng: np.random.Generator, tmp_path: Path) -> None:
    built = net(rng, [*SIGNS["where"], node("Conv", "s", "w", "other", pads=[1, 1, 1, 1])])
    del built.graph.node[-1]
    built.graph.node.extend([node("MaxPool", "s", "pooled", kernel_shape=[1, 1]), node("Relu", "z", "Y")])
    built.graph.output.append(helper.make_tensor_value_info("pooled", 1, [1, 32, 9, 9]))
    written = exported(built, tmp_path)
    kinds = [step.op_type for step in written.graph.node]
    assert "Where" in kinds and "XnorConvRelu" in kinds


def test_a_normalisation_with_a_gamma_of_zero_stays_a_node(rng: np.random.Generator, tmp_path: Path) -> None:
    built = net(rng, SIGNS["where"])
    for tensor in built.graph.initializer:
        if tensor.name == "norm.g2":
            gamma = numpy_helper.to_array(tensor).copy()
            gamma[3] = 0
            tensor.CopyFrom(numpy_helper.from_array(gamma, tensor.name))
    written = exported(built, tmp_path)
    assert [step.op_type for step in written.graph.node][1:3] == ["XnorConv", "BatchNormalization"]
    same_everywhere(written, built)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_linear_layers_take_signs_too(op: str, rng: np.random.Generator, tmp_path: Path) -> None:
    constants = {"w": np.ascontiguousarray(binary_weight(rng, 40, 70).T), "shift": rng.random(70)} | SCALARS
    constants["shift"] = constants["shift"].astype(np.float32)
    used = {"w", "shift", "zero", "one", "minus"}
    steps = [node("Add", "X", "shift", "n"), *SIGNS["where"], node(op, "s", "w", "Y")]
    built = model(steps, {k: np.asarray(v) for k, v in constants.items() if k in used}, ["N", 70], 2)
    written = exported(built, tmp_path)
    assert [step.op_type for step in written.graph.node] == ["Add", "XnorMatMul"]
    same_everywhere(written, built, (5, 70))


def test_qonnx_bipolar_quant_is_a_sign(rng: np.random.Generator, tmp_path: Path) -> None:
    built = net(rng, SIGNS["scaled"])
    quant = helper.make_node("BipolarQuant", ["n", "two"], ["s"], domain="qonnx.custom_op.general")
    steps = [built.graph.node[0], quant, *list(built.graph.node)[3:]]
    copies = [onnx.NodeProto.FromString(step.SerializeToString()) for step in steps]
    del built.graph.node[:]
    built.graph.node.extend(copies)
    built.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    written = exported(built, tmp_path)
    assert [step.op_type for step in written.graph.node] == ["BatchNormalization", "XnorConvRelu"]
    same_everywhere(written, binarize.lower_bipolar(built))


def test_a_weight_that_the_graph_computes_is_folded(rng: np.random.Generator, tmp_path: Path) -> None:
    latent = rng.standard_normal((16, 64)).astype(np.float32)
    constants = {"latent": latent, "alpha": np.abs(latent).mean(1, keepdims=True)}
    steps = [
        node("Sign", "latent", "bits"),
        node("Mul", "bits", "alpha", "scaled"),
        node("Transpose", "scaled", "w", perm=[1, 0]),
        node("MatMul", "X", "w", "Y"),
    ]
    built = model(steps, constants, ["N", 64], 2)
    written = exported(built, tmp_path)
    assert [step.op_type for step in written.graph.node] == ["BinaryWeightMatMul"]
    same_everywhere(written, built, (3, 64))


class Latent(nn.Module):
    """Three convolutions whose weights are latent."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 32, 3, padding=1)
        self.last = nn.Linear(32 * 64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.middle(torch.relu(self.first(x))))
        return self.last(torch.flatten(x, 1))  # type: ignore[no-any-return]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    torch.save(Latent().state_dict(), tmp_path / "latent.pt")
    (tmp_path / "nets.py").write_text("from tests.exporter.test_binarize import Latent as make\n")
    return tmp_path / "latent.pt"


@pytest.mark.parametrize("alpha", ["mean", "one"])
def test_latent_weights_become_binary_on_request(checkpoint: Path, alpha: str) -> None:
    report = api.export(
        checkpoint,
        arch=f"{checkpoint.parent / 'nets.py'}:make",
        input_shape=[(1, 3, 8, 8)],
        binarize=["middle"],
        binarize_alpha=alpha,
    )
    assert report.verification is not None and report.verification.reference == "torch"
    assert any("middle.weight: binarized on request" in text for _, text in report.notes)
    formats = {row["name"]: row["format"] for row in report.layers}
    assert formats == {"first.weight": "dense", "middle.weight": "bitpack", "last.weight": "dense"}


def test_latent_weights_are_never_binarized_silently(checkpoint: Path) -> None:
    arch = f"{checkpoint.parent / 'nets.py'}:make"
    report = api.export(checkpoint, arch=arch, input_shape=[(1, 3, 8, 8)], dry_run=True)
    assert {row["format"] for row in report.layers} == {"dense"}


def test_alpha_is_the_mean_magnitude_of_each_output() -> None:
    weight = np.array([[1, -3, 0, 2], [-0.0, 1, 1, 0]], np.float32)
    assert binarize.binarize_array(weight, "mean").tolist() == [[1.5, -1.5, 1.5, 1.5], [0.5, 0.5, 0.5, 0.5]]
    assert binarize.binarize_array(weight, "one").tolist() == [[1, -1, 1, 1], [1, 1, 1, 1]]


def test_a_glob_without_a_weight_is_refused(rng: np.random.Generator) -> None:
    built = net(rng, SIGNS["where"])
    with pytest.raises(InputError, match="no weight has such a name"):
        binarize.binarize_model(built, ["features.*"], "mean")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="infinite or not a number"):
        binarize.binarize_array(np.array([[1, bad]], np.float32), "one")


def test_a_binary_file_takes_one_bit_a_weight(rng: np.random.Generator, tmp_path: Path) -> None:
    written = exported(net(rng, SIGNS["where"]), tmp_path)
    sizes = {tensor.name: len(tensor.raw_data) for tensor in written.graph.initializer}
    assert sizes["w.bits"] == 48 * 32 * 9 // 8
    dense = 48 * 32 * 9 * 4
    assert dense / (sizes["w.bits"] + 4 * 48) > 28  # 288 weights for each scale; wider layers pass 31
