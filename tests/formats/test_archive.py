"""The archive: every tensor back bit for bit, whatever the checkpoint looks like."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.nn.utils.prune

from sparse_export.errors import UnsupportedError
from sparse_export.exporter import archive

from .archives import pruned, round_trip, same


def test_state_dict_comes_back_bit_for_bit_in_order(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 4))
    model[0].weight.data = pruned((8, 3, 3, 3))
    state = model.state_dict()
    back = round_trip(state, tmp_path)
    assert type(back) is OrderedDict and list(back) == list(state)
    assert all(same(back[name], state[name]) for name in state)
    assert back._metadata == state._metadata


@pytest.mark.parametrize(
    "dtype",
    [
        *(
            torch.float32,
            torch.float16,
            torch.bfloat16,
            torch.float64,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
        ),
        *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool),
        *(torch.uint16, torch.uint32, torch.uint64),
    ],
)
def test_every_dtype_round_trips_at_every_density(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {}
    for density in (0.0, 0.02, 0.4, 0.97, 1.0):
        values = pruned((37, 29), density) * 100
        tensors[str(density)] = (
            (values != 0) if dtype == torch.bool else values.to(torch.float64).abs().to(dtype)
        )
    back = round_trip(tensors, tmp_path)
    assert all(same(back[name], tensors[name]) for name in tensors)


def test_special_values_negative_zeros_and_payloads_are_kept(tmp_path: Path) -> None:
    bits = torch.zeros(4, 64, dtype=torch.int32)
    bits[:, ::7] = torch.tensor([-(2**31), 0x7FC00001, 1, -1])[:, None].to(torch.int32)
    tensors = {
        "special": bits.view(torch.float32),
        "signed zeros": torch.tensor([0.0, -0.0] * 50),
        "all negative zeros": torch.full((33,), -0.0),
        "half": bits.clone().view(torch.float16),
    }
    back = round_trip(tensors, tmp_path, exact_zeros=True)
    assert all(same(back[name], tensors[name]) for name in tensors)


def test_odd_shapes_layouts_and_empty_tensors(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "one": torch.ones(1),
        "rank 7": pruned((2, 1, 3, 1, 2, 1, 5)),
        "channels last": pruned((4, 3, 5, 5), 0.5).to(memory_format=torch.channels_last),
        "transposed": pruned((6, 9), 0.5).t(),
        "repeated": torch.full((100, 100), 3.25),
    }
    back = round_trip(tensors, tmp_path)
    assert all(same(back[name], tensors[name]) for name in tensors)


def test_tied_tensors_stay_tied(tmp_path: Path) -> None:
    weight = pruned((20, 20))
    back = round_trip({"a.weight": weight, "b.weight": weight, "c.weight": weight.clone()}, tmp_path)
    assert back["a.weight"].data_ptr() == back["b.weight"].data_ptr() != back["c.weight"].data_ptr()
    report = archive.info(tmp_path / "m.packed.safetensors")
    assert report.tied == {"b.weight": "a.weight"} and report.dense_bytes == 3200


def test_nested_checkpoint_keeps_plain_data_and_notes_the_rest(tmp_path: Path) -> None:
    value = {
        "net": OrderedDict(w=pruned((8, 8))),
        "acc": 91.07,
        "epoch": 3,
        "names": ["a", ("b", None, True)],
        "big": 2**70,
        "nan": float("inf"),
        5: torch.arange(3),
        "set": {1, 2},
    }
    back = round_trip(value, tmp_path)
    assert (
        back["acc"] == 91.07 and back["epoch"] == 3 and back["big"] == 2**70 and back["nan"] == float("inf")
    )
    assert back["names"] == ["a", ("b", None, True)] and type(back["names"][1]) is tuple
    assert same(back[5], value[5]) and back["set"] is None
    assert any("set" in note for note in archive.info(tmp_path / "m.packed.safetensors").notes)


def test_pruning_masks_fold_by_default_and_stay_on_request(tmp_path: Path) -> None:
    layer = torch.nn.utils.prune.l1_unstructured(torch.nn.Linear(30, 20), "weight", amount=0.9)
    state = layer.state_dict()
    back = round_trip(state, tmp_path)
    assert list(back) == ["bias", "weight"]
    assert (
        torch.equal(back["weight"], layer.weight)
        and not torch.signbit(back["weight"][back["weight"] == 0]).any()
    )
    folded = (tmp_path / "m.packed.safetensors").stat().st_size
    kept = round_trip(state, tmp_path, fold_masks=False)
    assert all(same(kept[name], state[name]) for name in state)
    assert (tmp_path / "m.packed.safetensors").stat().st_size > folded


def test_signs_of_a_pruned_weights_zeros_are_dropped_and_kept_on_request(tmp_path: Path) -> None:
    weight = pruned((300, 100), 1.0) * (pruned((300, 100), 0.1, seed=1) != 0)
    count = int(torch.signbit(weight[weight == 0]).sum())
    plain = round_trip({"w": weight}, tmp_path)["w"]
    assert torch.equal(plain, weight) and not torch.signbit(plain[plain == 0]).any()
    smaller = archive.info(tmp_path / "m.packed.safetensors")
    assert smaller.notes[0].startswith(f"{count:,} negative zeros of 1 pruned tensors stored as 0")
    assert same(round_trip({"w": weight}, tmp_path, exact_zeros=True)["w"], weight)
    assert smaller.file_bytes < 0.8 * archive.info(tmp_path / "m.packed.safetensors").file_bytes


def test_signs_of_zeros_elsewhere_are_kept(tmp_path: Path) -> None:
    dense = pruned((40, 40), 1.0)
    dense[3, 5] = -0.0
    tensors = {"dense": dense, "bias": torch.tensor([-0.0] * 30 + [1.0]), "counts": torch.zeros(8, 8).int()}
    back = round_trip(tensors, tmp_path)
    assert all(same(back[name], tensors[name]) for name in tensors)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_sparse_tensors_come_back_in_their_layout(tmp_path: Path) -> None:
    weight = pruned((24, 36))
    tensors = {
        "coo": weight.to_sparse().coalesce(),
        "hybrid": weight.to_sparse(1).coalesce(),
        "csr": weight.to_sparse_csr(),
        "csc": weight.to_sparse_csc(),
        "bsr": weight.to_sparse_bsr((4, 6)),
        "half": weight.half().to_sparse_csr(),
    }
    back = round_trip(tensors, tmp_path)
    for name, tensor in tensors.items():
        assert back[name].layout == tensor.layout and back[name].dtype == tensor.dtype
        assert torch.equal(back[name].to_dense(), tensor.to_dense())
    assert torch.equal(back["csr"].crow_indices(), tensors["csr"].crow_indices())
    assert archive.info(tmp_path / "m.packed.safetensors").notes == []
    notes = archive.unpack(tmp_path / "m.packed.safetensors", tmp_path / "flat.safetensors")
    assert "sparse tensors are written dense" in notes[-1]


def test_what_a_sparse_tensor_loses_is_said(tmp_path: Path) -> None:
    twice = torch.sparse_coo_tensor(torch.tensor([[0, 0], [1, 1]]), torch.tensor([1.0, 2.0]), (3, 4))
    back = round_trip({"w": twice}, tmp_path)["w"]
    assert torch.equal(back.to_dense(), twice.to_dense())
    assert "coalesced" in archive.info(tmp_path / "m.packed.safetensors").notes[0]


def test_a_sparse_tensor_that_would_not_fit_is_refused(tmp_path: Path) -> None:
    huge = torch.sparse_coo_tensor(torch.tensor([[0], [1]]), torch.tensor([1.0]), (1 << 20, 1 << 20))
    torch.save({"w": huge}, tmp_path / "m.pt")
    with pytest.raises(UnsupportedError, match="when dense"):
        archive.write(tmp_path / "m.pt", tmp_path / "p.safetensors")


def test_a_mask_of_other_numbers_is_not_folded(tmp_path: Path) -> None:
    state = {"weight_orig": torch.ones(4, 4), "weight_mask": torch.full((4, 4), 0.5)}
    assert list(round_trip(state, tmp_path)) == list(state)


def test_binary_and_ternary_layers_take_one_or_two_bits_a_weight(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, (256, 64, 3, 3), generator=generator) * 2.0 - 1
    alphas = torch.rand(256, 1, 1, 1, generator=generator) + 0.1
    ternary = signs * (torch.rand(signs.shape, generator=generator) < 0.5)
    tensors = {"binary": signs * alphas, "ternary": ternary * alphas + 0.0}
    back = round_trip(tensors, tmp_path)
    assert all(same(back[name], tensors[name]) for name in tensors)
    sizes = archive.info(tmp_path / "m.packed.safetensors").tensors
    assert sizes["binary"]["dense_bytes"] / sizes["binary"]["packed_bytes"] > 29
    assert sizes["ternary"]["dense_bytes"] / sizes["ternary"]["packed_bytes"] > 18
