"""Which net a checkpoint is, and the inputs it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparse_export import InputError
from sparse_export.exporter import checkpoint
from sparse_export.exporter.checkpoint import Checkpoint
from sparse_export.exporter.nets import recognise
from sparse_export.exporter.nets import torchvision as vision
from sparse_export.exporter.nets.cifar import MODELS
from sparse_export.exporter.nets.recognise import Match
from sparse_export.exporter.trace import resolve as architecture
from sparse_export.exporter.trace.resolved import Resolved

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
    blueprint = recognise.Blueprint(name, lambda **o: vision.build(name, **o), {"num_classes": 12})
    have = recognise.shapes_of(blueprint.empty().state_dict())
    found = recognise.recognise(have)
    assert isinstance(found, Match)
    assert found.blueprint.name == name
    assert found.blueprint.options["num_classes"] == 12


def test_a_vision_transformer_tells_its_image_size() -> None:
    blueprint = recognise.Blueprint("vit", lambda: vision.build("vit_b_16", image_size=96))
    found = recognise.recognise(recognise.shapes_of(blueprint.empty().state_dict()))
    assert isinstance(found, Match) and found.blueprint.name == "vit_b_16"
    assert found.blueprint.input_shape == (1, 3, 96, 96)


def test_inception_without_its_auxiliary_head_is_recognised() -> None:
    blueprint = recognise.Blueprint("i", lambda: vision.build("inception_v3", aux_logits=False))
    found = recognise.recognise(recognise.shapes_of(blueprint.empty().state_dict()))
    assert isinstance(found, Match) and found.blueprint.name == "inception_v3"
    assert found.blueprint.input_shape == (1, 3, 299, 299)


def test_factory_in_a_file_gets_the_class_count(factory: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(FACTORY, namespace)
    net = resolved(namespace["Net"](9).state_dict(), f"{factory}:Net", input_shapes=[(1, 1, 8, 8)])
    assert net.module(net.example_inputs[0]).shape == (1, 9)


def test_factory_in_a_module(vgg: dict[str, torch.Tensor]) -> None:
    state = vgg
    net = resolved(state, "sparse_export.exporter.nets.cifar:vgg11_cifar", input_shapes=[(1, 3, 32, 32)])
    assert net.arch_name == "sparse_export.exporter.nets.cifar:vgg11_cifar"


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
