"""Pruning removes exactly what was asked for, and what torch's own pruning would."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from sparse_export.errors import InputError
from sparse_export.exporter.nets import cifar
from sparse_export.training import checkpoints, prune
from sparse_export.training.run_prune import run_prune
from sparse_export.training.sweep import footprint


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 6, 1), nn.Flatten(), nn.Linear(6, 5))


def test_the_chosen_point_of_the_report_leaves_exactly_74151_nonzeros(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoints.write(tmp_path / "dense.pt", cifar.densenet_cifar().state_dict())
    outcome = run_prune(
        tmp_path / "dense.pt", tmp_path / "pruned.pt", None, lambda weights: prune.choose(weights, 0.9235)
    )
    assert (outcome.arch, outcome.nonzeros, outcome.weights) == ("densenet-cifar", 74_151, 969_288)
    assert footprint.archive_bytes(tmp_path / "pruned.pt") < 74_151 * 32 // 8


@pytest.mark.parametrize("rate", [0.0, 0.37, 0.9])
def test_global_l1_is_torchs_global_unstructured(net: nn.Module, rate: float) -> None:
    other = copy.deepcopy(net)
    prune.apply(net, prune.masks(net, rate))
    weights = [(module, "weight") for module in prune.prunable(other).values()]
    torch_prune.global_unstructured(weights, torch_prune.L1Unstructured, amount=rate)
    for mine, theirs in zip(prune.prunable(net).values(), prune.prunable(other).values(), strict=True):
        assert torch.equal(mine.weight, theirs.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("criterion", prune.CRITERIA)
@pytest.mark.parametrize("scope", prune.SCOPES)
def test_every_scope_and_criterion_reaches_the_rate(net: nn.Module, scope: str, criterion: str) -> None:
    prune.apply(net, prune.masks(net, 0.5, scope=scope, criterion=criterion))
    nonzeros, size = prune.count_nonzero(net)
    assert abs(nonzeros - size / 2) <= 2
    if scope == "layer":
        for module in prune.prunable(net).values():
            assert abs(int(module.weight.count_nonzero()) - module.weight.numel() / 2) <= 1  # type: ignore


def test_target_nnz_keeps_exactly_so_many(net: nn.Module) -> None:
    prune.apply(net, prune.masks(net, target_nnz=123))
    assert prune.count_nonzero(net)[0] == 123


@pytest.mark.parametrize("criterion", prune.CRITERIA)
def test_pruning_again_keeps_the_earlier_zeros(net: nn.Module, criterion: str) -> None:
    prune.apply(net, prune.masks(net, 0.5, criterion=criterion))
    before = [m.weight == 0 for m in prune.prunable(net).values()]
    prune.apply(net, prune.masks(net, 0.7, criterion=criterion, seed=9))
    after = [m.weight == 0 for m in prune.prunable(net).values()]
    assert all(bool((a | ~b).all()) for a, b in zip(after, before, strict=True))  # type: ignore


def test_blocks_go_as_a_whole(net: nn.Module) -> None:
    mask = prune.masks(net, 0.5, structure="block:4x1", layers=["2"])["2"].reshape(6, 10)
    for block in (mask[:4], mask[4:]):
        assert torch.equal(block.any(0), block.all(0))
    assert 0 < int(mask.sum()) < mask.numel()


def test_four_input_channels_at_one_place_of_the_kernel_go_as_a_whole(net: nn.Module) -> None:
    convolution = nn.Sequential(nn.Conv2d(10, 6, 3))
    mask = prune.masks(convolution, 0.5, structure="1x4")["0"]
    for block in (mask[:, :4], mask[:, 4:8], mask[:, 8:]):
        assert torch.equal(block.any(1), block.all(1))
    alone = mask.all(1) | ~mask.any(1)  # places of the kernel are judged apart
    assert not bool(alone.all()) and 0 < int(mask.sum()) < mask.numel()
    kept = prune.masks(net, 0.5, structure="1x4", layers=["4"])["4"]
    assert torch.equal(kept[:, :4].any(1), kept[:, :4].all(1))


def test_channels_go_as_a_whole(net: nn.Module) -> None:
    mask = prune.masks(net, 0.5, structure="channel", layers=["0"])["0"].flatten(1)
    assert torch.equal(mask.any(1), mask.all(1))
    assert int(mask.all(1).sum()) == 5


def test_two_of_four_inputs_stay_and_they_are_the_largest() -> None:
    net = nn.Sequential(nn.Linear(10, 3, bias=False))
    mask = prune.masks(net, structure="2:4")["0"]
    weight = net[0].weight.detach().abs()
    assert mask.shape == (3, 10)
    for row in range(3):
        for start in (0, 4):
            kept = mask[row, start : start + 4]
            assert int(kept.sum()) == 2
            group = weight[row, start : start + 4]
            assert group[kept].min() >= group[~kept].max()
    assert bool(mask[:, 8:].all())  # a ragged last group of two keeps both


def test_zeros_have_no_bits_set(net: nn.Module) -> None:
    prune.apply(net, prune.masks(net, 0.9))
    for module in prune.prunable(net).values():
        weight = module.weight.detach()  # type: ignore[union-attr, operator]
        assert not bool(torch.signbit(weight[weight == 0]).any())


def test_masks_left_in_fold_to_the_same_net(net: nn.Module, tmp_path: Path) -> None:
    masks = prune.masks(net, 0.8)
    checkpoints.write(tmp_path / "plain.pt", net.state_dict())
    prune.attach(net, masks)
    assert "0.weight_mask" in net.state_dict()
    checkpoints.write(tmp_path / "masked.pt", net.state_dict())
    folded = checkpoints.read_state(tmp_path / "masked.pt")
    expected = checkpoints.read_state(tmp_path / "plain.pt")["0.weight"].masked_fill(~masks["0"], 0.0)
    assert torch.equal(folded["0.weight"], expected)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rejects_a_rate_outside_the_unit_interval(net: nn.Module, rate: float) -> None:
    with pytest.raises(InputError, match=r"outside \[0, 1\)"):
        prune.masks(net, rate)


@pytest.mark.parametrize("text", ["4:2", "0:4", "block:0x1", "block:4", "rows", "a:b", "0x4", "1x", ""])
def test_rejects_an_unknown_structure(net: nn.Module, text: str) -> None:
    with pytest.raises(InputError, match="structure"):
        prune.masks(net, 0.5, structure=text)


def test_rejects_unknown_layers_and_missing_or_double_amounts(net: nn.Module) -> None:
    for arguments in (
        {"rate": 0.5, "layers": ["conv*"]},
        {},
        {"rate": 0.5, "target_nnz": 3},
        {"target_nnz": 9999},
    ):
        with pytest.raises(InputError):
            prune.masks(net, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        prune.masks(net, 0.5, structure="2:4")
    with pytest.raises(InputError, match="no convolution"):
        prune.masks(nn.Sequential(nn.ReLU()), 0.5)
