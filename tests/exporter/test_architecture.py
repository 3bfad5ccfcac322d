"""Which net a checkpoint is, and the graph that is made of it."""

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

from sparse_export import InputError, UnsupportedError
from sparse_export.exporter import architecture, checkpoint, recognise, vision
from sparse_export.exporter.architecture import Resolved
from sparse_export.exporter.checkpoint import Checkpoint
from sparse_export.training.models import MODELS

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))

def broken():
    raise ValueError("no weights today")

def number():
    return 3
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(FACTORY)
    return path


def resolved(state: dict[str, torch.Tensor], arch: str | None = None, **options: Any) -> Resolved:
    return architecture.resolve(Checkpoint(Path("model.pt"), "state-dict", state), arch, **options)


def saved(path: Path, value: Any) -> Checkpoint:
    torch.save(value, path)
    return checkpoint.load(path)


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


@pytest.fixture(scope="module")
def vgg() -> dict[str, torch.Tensor]:
    """The state dict of the lab's VGG with 7 classes, every weight 0."""
    with torch.device("meta"):
        module = MODELS["vgg11-cifar"](7)
    return {name: torch.zeros_like(tensor, device="cpu") for name, tensor in module.state_dict().items()}


def test_recognises_a_built_in_net_and_its_class_count(vgg: dict[str, torch.Tensor]) -> None:
    net = resolved(vgg)
    assert net.arch_name == "vgg11-cifar"
    assert [tuple(item.shape) for item in net.example_inputs] == [(1, 3, 32, 32)]
    assert not net.module.training
    assert net.module(net.example_inputs[0]).shape == (1, 7)
    texts = [note.text for note in net.notes]
    assert "architecture recognised: vgg11-cifar with 7 classes" in texts


def test_the_name_a_training_script_saved_decides(tmp_path: Path, vgg: dict[str, torch.Tensor]) -> None:
    net = architecture.resolve(saved(tmp_path / "m.pt", {"arch": "vgg11-cifar", "state_dict": vgg}))
    assert net.arch_name == "vgg11-cifar"
    assert any("named in the file: vgg11-cifar" in note.text for note in net.notes)


def test_a_saved_name_runs_no_code(tmp_path: Path, vgg: dict[str, torch.Tensor], factory: Path) -> None:
    assert (
        architecture.resolve(saved(tmp_path / "m.pt", {"arch": f"{factory}:broken", "net": vgg})).arch_name
        == "vgg11-cifar"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "vgg11_bn", "resnet18", "resnext50_32x4d", "densenet121", "squeezenet1_1"),
        *("googlenet", "inception_v3", "shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small"),
        *("mnasnet0_75", "efficientnet_b0", "regnet_y_400mf", "vit_b_32", "swin_t", "swin_v2_t"),
        *("convnext_tiny", "maxvit_t"),
    ],
)
def test_recognises_every_family_of_torchvision_from_shapes(name: str) -> None:
    recipe = recognise.Recipe(name, lambda **o: vision.build(name, **o), {"num_classes": 12})
    have = recognise.shapes_of(recipe.empty().state_dict())
    found, _ = recognise.recognise(have)
    assert found is not None
    assert found.name == name
    assert found.options["num_classes"] == 12


def test_a_vision_transformer_tells_its_image_size() -> None:
    recipe = recognise.Recipe("vit", lambda: vision.build("vit_b_16", image_size=96))
    found, _ = recognise.recognise(recognise.shapes_of(recipe.empty().state_dict()))
    assert found is not None and found.name == "vit_b_16" and found.input_shape == (1, 3, 96, 96)


def test_inception_without_its_auxiliary_head_is_recognised() -> None:
    recipe = recognise.Recipe("i", lambda: vision.build("inception_v3", aux_logits=False))
    found, _ = recognise.recognise(recognise.shapes_of(recipe.empty().state_dict()))
    assert found is not None and found.name == "inception_v3" and found.input_shape == (1, 3, 299, 299)


def test_factory_in_a_file_gets_the_class_count(factory: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(FACTORY, namespace)
    net = resolved(namespace["Net"](9).state_dict(), f"{factory}:Net", input_shapes=[(1, 1, 8, 8)])
    assert net.module(net.example_inputs[0]).shape == (1, 9)


def test_factory_in_a_module(vgg: dict[str, torch.Tensor]) -> None:
    state = vgg
    net = resolved(state, "sparse_export.training.models:vgg11_cifar", input_shapes=[(1, 3, 32, 32)])
    assert net.arch_name == "sparse_export.training.models:vgg11_cifar"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("broken", r"broken\(\) failed: ValueError: no weights today"),
        ("number", r"number\(\) gave int, not a torch\.nn\.Module"),
        ("nothing", "has no callable 'nothing'"),
    ],
)
def test_factory_that_fails_is_named(factory: Path, name: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        resolved({"w": torch.zeros(2)}, f"{factory}:{name}")


def test_factory_may_compute_with_its_own_tensors(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(4, 2)\n"
        "        self.scale = torch.ones(2) * float(torch.ones(1))\n"
        "    def forward(self, x):\n"
        "        return super().forward(x) * self.scale\n"
    )
    net = resolved(nn.Linear(4, 2).state_dict(), f"{path}:Net", input_shapes=[(1, 4)])
    assert net.module(net.example_inputs[0]).shape == (1, 2)


@pytest.mark.parametrize(
    ("arch", "what"),
    [
        ("resnet19", "unknown architecture 'resnet19': did you mean resnet1"),
        ("nowhere.py:f", "no such file: nowhere.py"),
        ("no_such_package:f", "cannot import 'no_such_package': ModuleNotFoundError"),
    ],
)
def test_unknown_architecture_is_named(arch: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        resolved({"w": torch.zeros(2)}, arch)


def test_unrecognisable_state_dict_says_the_three_ways() -> None:
    with pytest.raises(
        InputError, match=r"--arch NAME, give --arch FILE\.py:FACTORY, or give an \.onnx or \.pt2"
    ):
        resolved({"layer.weight": torch.zeros(3, 3)})


def test_nearly_known_net_is_named_with_what_differs(vgg: dict[str, torch.Tensor]) -> None:
    state = dict(vgg)
    state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
    with pytest.raises(InputError, match=r"closest: vgg11-cifar, another shape in features\.0\.weight"):
        resolved(state)


def test_weights_that_do_not_fit_the_named_net_are_listed(vgg: dict[str, torch.Tensor]) -> None:
    state = dict(vgg)
    state["extra.weight"] = state.pop("features.0.weight")
    with pytest.raises(
        InputError, match=r"does not fit 'vgg11-cifar': missing features\.0\.weight; unexpected extra\.weight"
    ):
        resolved(state, "vgg11-cifar")


def test_prefix_of_a_wrapping_module_is_left_out(vgg: dict[str, torch.Tensor]) -> None:
    state = {f"net.{name}": tensor for name, tensor in vgg.items()}
    net = resolved(state)
    assert net.arch_name == "vgg11-cifar"
    assert any("prefix 'net.' left out" in note.text for note in net.notes)


def test_missing_batchnorm_counters_are_allowed(vgg: dict[str, torch.Tensor]) -> None:
    state = {k: v for k, v in vgg.items() if "num_batches" not in k}
    assert any("num_batches_tracked" in note.text for note in resolved(state).notes)


def test_half_precision_weights_run_as_float32(vgg: dict[str, torch.Tensor]) -> None:
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in vgg.items()}
    net = resolved(state)
    assert {p.dtype for p in net.module.parameters()} == {torch.float32}


def test_parameters_share_memory_with_the_checkpoint(tmp_path: Path, vgg: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "model.pt"
    torch.save(vgg, path)
    loaded = checkpoint.load(path)
    net = architecture.resolve(loaded)
    weight = net.module.get_parameter("features.0.weight")
    assert weight.data_ptr() == loaded.tensors["features.0.weight"].data_ptr()


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
    model = architecture.to_onnx(net)
    words, scale = torch.randint(0, 10, (3, 5)), torch.randn(3, 5)
    with torch.no_grad():
        assert np.allclose(run(model, words, scale), net.module(words, scale).numpy(), atol=1e-6)
    weight = weights_of(model)["head.weight"]
    assert np.array_equal(weight, net.module.get_parameter("head.weight").numpy())


@pytest.mark.parametrize(
    ("shapes", "dtypes", "what"),
    [
        (None, None, "does not tell its input: give --input-shape"),
        ([(1, 2)], ["float31"], "unknown input dtype 'float31'"),
        ([(1, 0)], None, "input shape 1x0: every dimension"),
        ([(1, 2)], ["float32", "int64"], "2 input dtypes for 1 inputs"),
    ],
)
def test_inputs_that_cannot_be_are_named(shapes: Any, dtypes: Any, what: str) -> None:
    module = nn.Sequential(nn.Tanh(), nn.Linear(2, 2))
    loaded = Checkpoint(Path("m.pt"), "module", module.state_dict(), module)
    with pytest.raises(InputError, match=what):
        architecture.resolve(loaded, None, shapes, dtypes)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("vgg11-cifar", (1, 3, 32, 32)), ("tiny_mobilenet", (1, 3, 32, 32)), ("tiny_vit", (1, 3, 32, 32))],
)
def test_graph_keeps_every_weight_bit_for_bit_and_the_batch_free(
    capfd: Any, name: str, shape: tuple[int, ...]
) -> None:
    if name == "vgg11-cifar":
        module = shaken(MODELS[name](10))
        net = resolved(module.state_dict())
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
    model = architecture.to_onnx(net)
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
    model = architecture.to_onnx(architecture.resolve(loaded, None, [(1, 32)]))
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
    model = architecture.to_onnx(net)
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
        architecture.to_onnx(architecture.resolve(loaded, None, [(1, 8)]))
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
    model = architecture.to_onnx(net)
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
    model = architecture.to_onnx(architecture.resolve(loaded))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"]
    weight = weights_of(model)["0.weight"]
    assert np.count_nonzero(weight) == 22 and not np.signbit(weight[weight == 0]).any()
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert np.allclose(run(model, x), module(x).numpy(), atol=1e-5)
