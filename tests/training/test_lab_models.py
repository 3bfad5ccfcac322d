"""The lab's nets are exactly the lab's, and any other net can be named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparse_export.errors import InputError
from sparse_export.exporter.nets import cifar
from sparse_export.training import checkpoints, prune


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_densenet_has_the_counts_of_the_report() -> None:
    net = cifar.densenet_cifar()
    assert parameters(net) == 1_000_618
    assert prune.count_nonzero(net)[1] == 969_288


def test_vgg11_has_eight_convolutions_and_one_linear_layer() -> None:
    net = cifar.vgg11_cifar()
    assert parameters(net) == 9_231_114
    assert len(prune.prunable(net)) == 9


@pytest.mark.parametrize("name", cifar.MODELS)
def test_every_built_in_net_maps_images_to_classes_and_is_recognised(name: str) -> None:
    net = cifar.create(name, 7).eval()
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert checkpoints.recognise(net.state_dict()) == name


def test_sign_is_plus_one_at_zero_and_passes_gradients_inside_the_clip_only() -> None:
    sign = cifar.Sign()
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    y = sign(x)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert y.tolist() == sign.eval()(x).tolist() == [-1, -1, 1, 1, 1]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_names_torchvision_nets_and_factories(tmp_path: Path) -> None:
    source = tmp_path / "nets.py"
    source.write_text("import torch\ndef plain():\n    return torch.nn.Linear(2, 3)\nnumber = 3\n")
    assert cifar.create("squeezenet1_1", 5)(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    assert isinstance(cifar.create(f"{source}:plain", 10), torch.nn.Linear)
    for wrong in (
        f"{source}:number",
        f"{source}:absent",
        f"{tmp_path}/none.py:plain",
        "no_such_net",
        "no.such:f",
    ):
        with pytest.raises(InputError):
            cifar.create(wrong)
