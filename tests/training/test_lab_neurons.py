"""Dead neurons: what no path from input to output crosses goes, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparse_export.errors import InputError, UnsupportedError
from sparse_export.exporter.nets import cifar
from sparse_export.training import checkpoints, neurons, prune
from sparse_export.training.outcome import Outcome
from sparse_export.training.run_prune import run_prune


def ones(net: nn.Module) -> prune.Masks:
    """Masks that keep everything."""
    return {name: torch.ones_like(m.weight, dtype=torch.bool) for name, m in prune.prunable(net).items()}  # type: ignore


def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(20, 2)
    )


def test_an_input_that_feeds_nothing_and_an_output_that_reads_nothing_go() -> None:
    net, masks = chain(), ones(chain())
    masks["0"][1] = False  # channel 1 reads nothing
    masks["3"][:, 2] = False  # nothing reads channel 2
    masks["5"][:, 4:8] = False  # nor the four pixels of the second layer's channel 1
    living = neurons.without_dead(net, masks)
    assert not living["0"][[1, 2]].any() and living["0"][[0, 3]].all()
    assert not living["3"][:, [1, 2]].any() and not living["3"][1].any()
    assert living["3"][[0, 2, 3, 4]][:, [0, 3]].all()
    assert torch.equal(living["5"], masks["5"])


def test_death_spreads_through_the_whole_net() -> None:
    net, masks = chain(), ones(chain())
    masks["3"][:] = False
    assert not any(bool(mask.any()) for mask in neurons.without_dead(net, masks).values())


def test_a_net_without_dead_neurons_stays_as_it_is() -> None:
    for net in (chain(), cifar.densenet_cifar(), cifar.create("vgg11-cifar-xnor")):
        masks = ones(net)
        living = neurons.without_dead(net, masks)
        assert all(torch.equal(living[name], masks[name]) for name in masks)


class Joined(nn.Module):
    """A sum, a concatenation, a grouped convolution, a gate, and pools as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.aside = nn.Conv2d(4, 2, 1)
        self.head = nn.Linear(6 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        y = F.relu(self.again(x)) + x
        y = torch.cat([y, self.aside(y)], 1)
        return self.head(F.avg_pool2d(y, 2).view(y.size(0), -1))


def test_channels_are_followed_through_sums_concatenations_groups_and_pools() -> None:
    net, masks = Joined(), ones(Joined())
    masks["head"][:, 2 * 4 : 3 * 4] = False  # nothing but `aside` reads channel 2 of the sum
    masks["head"][:, 5 * 4 :] = False  # nothing reads channel 1 of `aside`
    living = neurons.without_dead(net, masks)
    assert living["stem"].all() and not living["aside"][1].any() and living["aside"][0].all()
    masks["aside"][:, 2] = False
    living = neurons.without_dead(net, masks)
    assert not living["again"][2].any() and living["again"][[0, 1, 3]].all()
    assert living["stem"].all()  # channel 2 is read by the other channel of its group
    masks["again"][3, 0] = False
    assert not neurons.without_dead(net, masks)["stem"][2].any()


@pytest.mark.parametrize("make", [chain, Joined, cifar.densenet_cifar, cifar.vgg11_cifar])
def test_what_goes_matters_to_no_output(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make().eval()
    for module in net.modules():  # a neuron without inputs gives 0, so that its outputs do not matter
        if getattr(module, "bias", None) is not None and not isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    pruned, connected = copy.deepcopy(net), copy.deepcopy(net)
    masks = prune.masks(net, 0.97, criterion="random")
    living = neurons.without_dead(net, masks)
    prune.apply(pruned, masks)
    prune.apply(connected, living)
    assert prune.count_nonzero(connected)[0] < prune.count_nonzero(pruned)[0]
    x = torch.randn(2, 3, *((4, 4) if make is chain else (8, 8) if make is Joined else (32, 32)))
    with torch.no_grad():
        assert torch.allclose(connected(x), pruned(x), atol=1e-6)
    again = neurons.without_dead(connected, living)
    assert all(torch.equal(again[name], living[name]) for name in living)


@pytest.mark.parametrize(("name", "rate"), [("mobilenet_v2", 0.9), ("densenet121", 0.98)])
def test_torchvision_nets_keep_every_path(name: str, rate: float) -> None:
    net = cifar.create(name).eval()
    masks = prune.masks(net, rate, criterion="random", scope="layer")
    living = neurons.without_dead(net, masks)
    kept, before = (sum(int(mask.sum()) for mask in m.values()) for m in (living, masks))
    assert 0 < kept < before
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.zeros_(norm.bias)
    other = copy.deepcopy(net)
    prune.apply(net, masks)
    prune.apply(other, living)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net(x), other(x), atol=1e-6)


def test_only_the_chosen_layers_lose_weights() -> None:
    net = chain()
    with torch.no_grad():
        net[3].weight[:, 2] = 0  # type: ignore[index, operator]
    living = neurons.without_dead(net, {"0": ones(net)["0"]})
    assert list(living) == ["0"] and not living["0"][2].any() and living["0"][[0, 1, 3]].all()


def test_a_net_whose_graph_depends_on_its_data_is_refused() -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) if x.sum() > 0 else x

    with pytest.raises(UnsupportedError, match="cannot be traced"):
        neurons.without_dead(Choosing(), ones(Choosing()))


def test_prune_counts_what_it_removed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoints.write(tmp_path / "dense.pt", cifar.densenet_cifar().state_dict())

    def pruned(name: str, remove_dead: bool) -> Outcome:
        target = tmp_path / name
        return run_prune(
            tmp_path / "dense.pt",
            target,
            None,
            lambda weights: prune.choose(weights, 0.8),
            remove_dead=remove_dead,
        )

    plain, connected = pruned("plain.pt", False), pruned("connected.pt", True)
    assert plain.dead is None and connected.dead is not None and connected.dead > 0
    assert connected.nonzeros == plain.nonzeros - connected.dead


def test_prune_refuses_to_remove_everything(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "dense.pt", cifar.vgg11_cifar().state_dict())
    with pytest.raises(InputError, match="no path leads from the input"):
        run_prune(
            tmp_path / "dense.pt",
            tmp_path / "out.pt",
            None,
            lambda weights: prune.choose(weights, target_nnz=5),
            remove_dead=True,
        )
    assert not (tmp_path / "out.pt").exists()
