"""The graph that is made of a net: its weights bit for bit, its batch free, its outputs the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils import prune

from sparse_export import UnsupportedError
from sparse_export.exporter import checkpoint
from sparse_export.exporter.checkpoint import Checkpoint
from sparse_export.exporter.nets import torchvision as vision
from sparse_export.exporter.nets.cifar import MODELS
from sparse_export.exporter.trace import resolve as architecture
from sparse_export.exporter.trace.to_onnx import to_onnx


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def run(model: onnx.ModelProto, *inputs: torch.Tensor) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {node.name: value.numpy() for node, value in zip(session.get_inputs(), inputs, strict=True)}
    return np.asarray(session.run(None, feeds)[0])


def shaken(module: nn.Module) -> nn.Module:
    """`module` with statistics and biases that show a fold that should not have been."""
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(0, 0.1)
    return module.eval()


def test_several_inputs_and_dtypes() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(10, 8), nn.Linear(8, 3)

        def forward(self, words: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return self.head(self.table(words) * scale.unsqueeze(-1))

    loaded = Checkpoint(Path("two.pt"), "module", Two().state_dict(), Two())
    net = architecture.resolve(loaded, None, [(1, 5), (1, 5)], ["int64", "float32"])
    assert [item.dtype for item in net.example_inputs] == [torch.int64, torch.float32]
    model = to_onnx(net)
    words, scale = torch.randint(0, 10, (3, 5)), torch.randn(3, 5)
    with torch.no_grad():
        assert np.allclose(run(model, words, scale), net.module(words, scale).numpy(), atol=1e-6)
    weight = weights_of(model)["head.weight"]
    assert np.array_equal(weight, net.module.get_parameter("head.weight").numpy())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("vgg11-cifar", (1, 3, 32, 32)), ("tiny_mobilenet", (1, 3, 32, 32)), ("tiny_vit", (1, 3, 32, 32))],
)
def test_graph_keeps_every_weight_bit_for_bit_and_the_batch_free(
    capfd: Any, name: str, shape: tuple[int, ...]
) -> None:
    if name == "vgg11-cifar":
        module = shaken(MODELS[name](10))
        net = architecture.resolve(Checkpoint(Path("m.pt"), "state-dict", module.state_dict()))
    else:
        models = vision.models()
        module = shaken(
            models.VisionTransformer(32, 16, 2, 2, 16, 32)
            if name == "tiny_vit"
            else models.MobileNetV2(10, 0.25, [[6, 16, 2, 2]])
        )
        loaded = Checkpoint(Path("m.pt"), "module", module.state_dict(), module)
        net = architecture.resolve(loaded, None, [shape])
    capfd.readouterr()
    model = to_onnx(net)
    out, err = capfd.readouterr()
    assert out == "" and err == ""
    held = weights_of(model)
    for key, tensor in module.state_dict().items():
        if "num_batches" not in key:
            assert held[key].tobytes() == tensor.numpy().tobytes(), key
    kinds = [node.op_type for node in model.graph.node]
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    assert kinds.count("BatchNormalization") == norms
    assert model.opset_import[0].version == 18 and model.ir_version <= 10
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for batch in (1, 3):
        x = torch.randn(batch, *shape[1:])
        with torch.no_grad():
            assert np.allclose(run(model, x), net.module(x).numpy(), atol=1e-4)


def test_tied_weights_are_one_initializer() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(32, 32, bias=False), nn.Linear(32, 32, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).relu())

    loaded = Checkpoint(Path("m.pt"), "module", Tied().state_dict(), Tied())
    model = to_onnx(architecture.resolve(loaded, None, [(1, 32)]))
    assert sum(value.size == 1024 for value in weights_of(model).values()) == 1


def test_net_that_fixes_its_batch_is_exported_so_with_a_note() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.reshape(1, 8))

    loaded = Checkpoint(Path("m.pt"), "module", Fixed().state_dict(), Fixed())
    net = architecture.resolve(loaded, None, [(1, 8)])
    model = to_onnx(net)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert any(note.text.startswith("exported with a fixed batch of 1") for note in net.notes)


def test_net_that_cannot_be_traced_is_one_clear_error(capfd: Any) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x) if float(x.sum()) > 0 else x

    loaded = Checkpoint(Path("m.pt"), "module", Loop().state_dict(), Loop())
    capfd.readouterr()
    with pytest.raises(UnsupportedError, match=r"'.*Loop' cannot be traced: .*; -v shows more") as caught:
        to_onnx(architecture.resolve(loaded, None, [(1, 8)]))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_exported_program_keeps_its_names_and_its_free_batch(tmp_path: Path) -> None:
    module = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    program = torch.export.export(
        module, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},)
    )
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = checkpoint.load(tmp_path / "model.pt2")
    assert loaded.kind == "pt2"
    net = architecture.resolve(loaded)
    model = to_onnx(net)
    x = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        assert np.allclose(run(model, x), module(x).numpy(), atol=1e-5)
    assert weights_of(model)["0.weight"].tobytes() == loaded.tensors["0.weight"].numpy().tobytes()


def test_exported_program_with_pruning_in_it_has_plain_sparse_weights(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    prune.l1_unstructured(module[0], "weight", 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = checkpoint.load(tmp_path / "model.pt2")
    assert "pruning masks folded into 1 tensor: 0.weight" in [note.text for note in loaded.notes]
    model = to_onnx(architecture.resolve(loaded))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"]
    weight = weights_of(model)["0.weight"]
    assert np.count_nonzero(weight) == 22 and not np.signbit(weight[weight == 0]).any()
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert np.allclose(run(model, x), module(x).numpy(), atol=1e-5)
