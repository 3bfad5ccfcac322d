"""Pruning masks under any name: recognised by shape and 0/1 values, applied, named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sparse_export.exporter import checkpoint

from .saved import saved, told


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "conv.weight": (8, 4, 3, 3),
        "conv.bias": (8,),
        "head.0.weight": (6, 8),
        "head.2.weight": (6, 6),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def mask_of(tensor: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed)) < 0.3


CONV, HEAD = "conv.weight", "head.0.weight"


@pytest.mark.parametrize(
    "name",
    [
        *("{module}.weight_mask", "{module}.__weight_mma_mask", "{module}.mask", "{module}.mask_weight"),
        *("{module}.pre_ops.0.op._binary_mask", "{module}.pre_ops.0.op.binary_mask", "masks.{module}.weight"),
        *("{flat}_weight_mask", "{flat}_mask", "mask_{flat}_weight", "pruner.masks.{module}"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.uint8, torch.float16])
def test_masks_among_the_tensors_are_applied(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    state = weights()
    masks = {
        name.format(module=module, flat=module.replace(".", "_")): mask_of(state[f"{module}.weight"]).to(
            dtype
        )
        for module in ("conv", "head.0")
    }
    loaded = checkpoint.load(saved(tmp_path, state | masks))
    assert list(loaded.tensors) == list(state)
    for weight, mask in zip((CONV, HEAD), masks.values(), strict=True):
        assert torch.equal(loaded.tensors[weight], state[weight] * mask.float())
        assert not torch.signbit(loaded.tensors[weight][mask == 0]).any()
    assert f"pruning masks applied to 2 tensors (the masks {', '.join(masks)}): {CONV}, {HEAD}" in told(
        loaded
    )


@pytest.mark.parametrize("key", ["{}.weight", "{}", "module.{}.weight", "{}.weight_mask", "net.{}.weight"])
@pytest.mark.parametrize("entry", ["mask_dict", "masks", "pruner", "sparse_state"])
def test_masks_of_an_entry_of_their_own_are_applied(tmp_path: Path, key: str, entry: str) -> None:
    state = weights()
    masks = {
        key.format(module): mask_of(state[f"{module}.weight"]) for module in ("conv", "head.0", "head.2")
    }
    value: Any = masks if entry == "mask_dict" else {"masks": masks} if entry == "pruner" else masks
    loaded = checkpoint.load(saved(tmp_path, {"state_dict": state, entry: value, "epoch": 3}))
    for weight, mask in zip((CONV, HEAD, "head.2.weight"), masks.values(), strict=True):
        assert torch.equal(loaded.tensors[weight], state[weight] * mask)
    where = f"{entry}.masks" if entry == "pruner" else entry
    assert f"pruning masks applied to 3 tensors (the masks of '{where}')" in told(loaded)
    assert "other weights" not in told(loaded)


def test_a_list_of_masks_goes_in_the_order_of_the_weights(tmp_path: Path) -> None:
    state = weights()
    names = [CONV, HEAD, "head.2.weight"]
    masks = [mask_of(state[name]).float() for name in names]
    loaded = checkpoint.load(saved(tmp_path, {"model": state, "mask": [*masks, None]}))
    for name, mask in zip(names, masks, strict=True):
        assert torch.equal(loaded.tensors[name], state[name] * mask)


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("conv.weight_mask", torch.ones(8, 1, 1, 1)),
        ("head.0.weight_mask", torch.full((6, 8), 0.5)),
        ("attention.mask", torch.ones(6, 6).tril()),
        ("attn_mask", torch.ones(6, 8)),
        ("padding_mask", torch.ones(1, 9, dtype=torch.bool)),
        ("head.0.weight_mask", torch.zeros(6, 8)),
    ],
)
def test_what_only_looks_like_a_mask_is_left_alone(tmp_path: Path, name: str, mask: torch.Tensor) -> None:
    state = weights()
    loaded = checkpoint.load(saved(tmp_path, state | {name: mask}))
    assert list(loaded.tensors) == [*state, name]
    assert all(torch.equal(loaded.tensors[n], t) for n, t in state.items())
    assert "applied" not in told(loaded)


def test_a_mask_of_what_was_pruned_is_not_taken_for_what_is_kept(tmp_path: Path) -> None:
    state = weights()
    gone = mask_of(state[CONV])
    state[CONV] = state[CONV].masked_fill(gone, 0.0)
    loaded = checkpoint.load(saved(tmp_path, state | {"conv.weight_mask": gone}))
    assert torch.equal(loaded.tensors[CONV], state[CONV])


def test_masks_in_an_entry_that_do_not_fit_are_told(tmp_path: Path) -> None:
    value = {"state_dict": weights(), "masks": {"elsewhere.weight": torch.ones(3, 3)}}
    loaded = checkpoint.load(saved(tmp_path, value))
    assert all(torch.equal(loaded.tensors[n], t) for n, t in weights().items())
    assert (
        "warn: masks in the file not applied (they fit no weight, or hold more than 0 and 1): masks"
        in told(loaded)
    )


def test_tied_weights_under_one_mask_stay_tied(tmp_path: Path) -> None:
    shared, mask = torch.randn(5, 5), torch.eye(5)
    state = {"a.weight": shared, "b.weight": shared, "a.weight_mask": mask, "b.weight_mask": mask}
    tensors = checkpoint.load(saved(tmp_path, state)).tensors
    assert list(tensors) == ["a.weight", "b.weight"]
    assert tensors["a.weight"].data_ptr() == tensors["b.weight"].data_ptr()
