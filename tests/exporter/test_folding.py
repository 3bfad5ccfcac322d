"""Reparametrised weights (pruning masks, weight and spectral norm) become the weights they stand for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sparse_export import CorruptFileError, UnsupportedError
from sparse_export.exporter import checkpoint

from .saved import net, saved, told


def test_folds_pruning_masks_in_place_of_the_weights(tmp_path: Path) -> None:
    module = net()
    for layer in (module[0], module[4]):
        prune.l1_unstructured(layer, "weight", 0.9)
    loaded = checkpoint.load(saved(tmp_path, module.state_dict()))
    for layer in (module[0], module[4]):
        prune.remove(layer, "weight")
    assert set(loaded.tensors) == set(module.state_dict())
    assert torch.equal(loaded.tensors["4.weight"], module[4].weight)
    assert not torch.signbit(loaded.tensors["4.weight"][loaded.tensors["4.weight"] == 0]).any()
    assert "pruning masks folded into 2 tensors: 0.weight, 4.weight" in told(loaded)
    assert "90.01% of 3,200 weights are zero" in told(loaded) or "90.00%" in told(loaded)


def test_negative_zeros_of_prune_remove_become_zero_in_memory_only(tmp_path: Path) -> None:
    module = net()
    prune.l1_unstructured(module[4], "weight", 0.9)
    prune.remove(module[4], "weight")
    assert torch.signbit(module[4].weight[module[4].weight == 0]).any()
    path = saved(tmp_path, module.state_dict())
    before = path.read_bytes()
    weight = checkpoint.load(path).tensors["4.weight"]
    assert not torch.signbit(weight[weight == 0]).any()
    assert torch.equal(weight, module[4].weight)
    assert path.read_bytes() == before


def test_warns_of_masks_that_are_not_zero_or_one(tmp_path: Path) -> None:
    state = {"a.weight_orig": torch.full((4, 4), 2.0), "a.weight_mask": torch.full((4, 4), 0.5)}
    loaded = checkpoint.load(saved(tmp_path, state))
    assert torch.equal(loaded.tensors["a.weight"], torch.ones(4, 4))
    assert "warn: masks with values other than 0 and 1 multiplied into 1 tensor: a.weight" in told(loaded)


@pytest.mark.parametrize("old", [True, False])
def test_computes_weight_norm(tmp_path: Path, old: bool) -> None:
    module = net()
    warnings.simplefilter("ignore", FutureWarning)
    norm: Any = torch.nn.utils.weight_norm if old else torch.nn.utils.parametrizations.weight_norm
    norm(module[0])
    loaded = checkpoint.load(saved(tmp_path, module.state_dict()))
    assert torch.allclose(loaded.tensors["0.weight"], module[0].weight, atol=1e-6)
    assert "weight or spectral norm computed for 1 tensor: 0.weight" in told(loaded)


def test_parameters_that_only_look_reparametrised_are_left_alone(tmp_path: Path) -> None:
    state = {
        "pos_g": torch.ones(2),
        "pos_v": torch.ones(2, 2),
        "a_orig": torch.ones(3),
        "a_v": torch.ones(3),
        "b_mask": torch.ones(2),
        "c_u": torch.ones(2),
        "d.weight_orig": torch.ones(2, 2),
    }
    assert list(checkpoint.load(saved(tmp_path, state)).tensors) == list(state)


def test_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    state = {"x.weight_orig": torch.ones(2, 2), "x.weight_mask": torch.ones(2, 3)}
    with pytest.raises(CorruptFileError, match=r"'x\.weight_mask' has shape \[2, 3\], its weight \[2, 2\]"):
        checkpoint.load(saved(tmp_path, state))


@pytest.mark.parametrize("old", [True, False])
def test_computes_spectral_norm(tmp_path: Path, old: bool) -> None:
    module = net()
    norm: Any = torch.nn.utils.spectral_norm if old else torch.nn.utils.parametrizations.spectral_norm
    norm(module[0])
    module(torch.randn(1, 3, 3, 3).expand(2, -1, -1, -1))
    module.eval()
    module(torch.randn(1, 3, 3, 3))
    loaded = checkpoint.load(saved(tmp_path, module.state_dict()))
    assert torch.allclose(loaded.tensors["0.weight"], module[0].weight, atol=1e-6)


def test_refuses_a_parametrization_it_cannot_tell(tmp_path: Path) -> None:
    class Squared(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x

    module = net()
    torch.nn.utils.parametrize.register_parametrization(module[0], "weight", Squared())
    with pytest.raises(
        UnsupportedError, match=r"'0\.weight' is parametrized in a way its state dict does not tell"
    ):
        checkpoint.load(saved(tmp_path, module.state_dict()))
