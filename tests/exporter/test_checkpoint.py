"""What is read from each kind of checkpoint, and what the doctor's note says of it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from sparse_export import InputError, UnsupportedError
from sparse_export.exporter import archive, checkpoint
from sparse_export.exporter.checkpoint import Checkpoint
from sparse_export.exporter.nets import torchvision as vision

from .saved import net, saved, told


def same(loaded: Checkpoint, module: nn.Module) -> bool:
    want = module.state_dict()
    return list(loaded.tensors) == list(want) and all(torch.equal(loaded.tensors[k], want[k]) for k in want)


@pytest.mark.parametrize("holder", ["net", "state_dict", "model", "model_state_dict", "ema", "whatever"])
def test_finds_the_state_dict_a_training_script_nests(tmp_path: Path, holder: str) -> None:
    path = saved(tmp_path, {holder: net().state_dict(), "acc": np.float64(91.5), "epoch": 3})
    loaded = checkpoint.load(path)
    assert same(loaded, net())
    assert loaded.kind == "state-dict"
    assert f"weights found under ['{holder}']" in told(loaded)
    assert "metadata ignored: acc, epoch" in told(loaded)


def test_reads_legacy_and_bin_files(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=False)
    assert same(checkpoint.load(path), net())


def test_reads_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({name: t.contiguous() for name, t in net().state_dict().items()}, path)
    loaded = checkpoint.load(path)
    assert loaded.kind == "safetensors"
    assert all(torch.equal(t, net().state_dict()[name]) for name, t in loaded.tensors.items())


def test_prefers_weights_over_ema_and_says_what_is_ignored(tmp_path: Path) -> None:
    module = net()
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    module(torch.randn(2, 3, 3, 3)).sum().backward()
    optimizer.step()
    state = {"ema": net().state_dict(), "optimizer": optimizer.state_dict(), "model": module.state_dict()}
    loaded = checkpoint.load(saved(tmp_path, state))
    assert same(loaded, module)
    assert "info: optimizer and training state ignored: optimizer" in told(loaded)
    assert "warn: other weights in the file ignored: ema" in told(loaded)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_removes_the_prefixes_of_wrappers(tmp_path: Path, prefix: str) -> None:
    path = saved(tmp_path, {prefix + name: t for name, t in net().state_dict().items()})
    loaded = checkpoint.load(path)
    assert same(loaded, net())
    assert "prefix removed from every name" in told(loaded)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    shared = torch.randn(8, 8)
    state = {"a.weight": shared, "b.weight": shared, "c.weight_orig": shared, "d.weight_orig": shared}
    mask = torch.eye(8)
    state |= {"c.weight_mask": mask, "d.weight_mask": mask}
    loaded = checkpoint.load(saved(tmp_path, state))
    assert loaded.tensors["a.weight"].data_ptr() == loaded.tensors["b.weight"].data_ptr()
    assert loaded.tensors["c.weight"].data_ptr() == loaded.tensors["d.weight"].data_ptr()
    assert "tied weights: 2 tensors" in told(loaded)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_widths_are_kept_and_noted(tmp_path: Path, dtype: torch.dtype) -> None:
    loaded = checkpoint.load(saved(tmp_path, net().to(dtype).state_dict()))
    assert loaded.tensors["0.weight"].dtype == dtype
    assert f"weights stored as {str(dtype)[6:]}; the exported graph is float32" in told(loaded)


def test_says_when_nothing_is_sparse(tmp_path: Path) -> None:
    loaded = checkpoint.load(saved(tmp_path, net().state_dict()))
    assert "warn: not sparse: 0.00% of 3,200 weights are zero" in told(loaded)


def test_names_dense_tensors_among_sparse_ones(tmp_path: Path) -> None:
    state = {"a": torch.zeros(64, 64), "b": torch.ones(64, 64)}
    assert "1 of 2 weight tensors are not sparse (under 50% zeros): b" in told(
        checkpoint.load(saved(tmp_path, state))
    )


def test_says_when_zeros_are_only_nearly_zero(tmp_path: Path) -> None:
    weight = torch.full((64, 64), 1e-9)
    weight[:8] = 1.0
    loaded = checkpoint.load(saved(tmp_path, {"a.weight": weight}))
    assert "3,584 weights near zero but not zero" in told(loaded)


def test_nan_weight_is_noted_and_refused_by_name(tmp_path: Path) -> None:
    module = net()
    with torch.no_grad():
        module[4].weight[3, 5] = float("nan")
    loaded = checkpoint.load(saved(tmp_path, module.state_dict()))
    assert "'4.weight' holds 1 NaN of 3,200 values" in told(loaded)
    with pytest.raises(InputError, match=r"model\.pt: '4\.weight' holds 1 NaN") as caught:
        checkpoint.refuse_nan(loaded)
    assert caught.value.exit_code == 2


def test_whole_module_needs_trust(tmp_path: Path) -> None:
    module = net()
    prune.l1_unstructured(module[4], "weight", 0.9)
    path = saved(tmp_path, {"epoch": 1, "model": nn.DataParallel(module)})
    with pytest.raises(InputError, match=r"whole pickled module .* save a state dict .* --trust-checkpoint"):
        checkpoint.load(path)
    loaded = checkpoint.load(path, trust_checkpoint=True)
    assert loaded.kind == "module"
    assert loaded.module is not None and not loaded.module.training
    assert set(loaded.tensors) == set(net().state_dict())
    assert (loaded.tensors["4.weight"] == 0).sum() == 2880
    assert "folded into 1 tensor: 4.weight" in told(loaded)


def test_sparse_tensors_become_dense(tmp_path: Path) -> None:
    weight = torch.eye(64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layouts = (weight.to_sparse(), weight.to_sparse_csr())
    for layout in layouts:
        loaded = checkpoint.load(saved(tmp_path, {"a.weight": layout}))
        assert torch.equal(loaded.tensors["a.weight"], weight)


def test_views_and_channels_last_become_contiguous(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 5, 5)
    state = {
        "a": weight.to(memory_format=torch.channels_last),
        "b": weight[1:3],
        "c": weight.permute(1, 0, 2, 3),
    }
    loaded = checkpoint.load(saved(tmp_path, state))
    for name, tensor in state.items():
        assert loaded.tensors[name].is_contiguous() and torch.equal(loaded.tensors[name], tensor)


@pytest.mark.parametrize(
    ("tensor", "what"),
    [
        (torch.empty(3, device="meta"), "meta tensor"),
        (torch.zeros(3, dtype=torch.complex64), r"complex \(complex64\)"),
        (torch.zeros(3).to(torch.float8_e4m3fn), "dtype float8_e4m3fn"),
        (None, r"quantised \(qint8\)"),
    ],
)
def test_refuses_tensors_nothing_can_pack_by_name(
    tmp_path: Path, tensor: torch.Tensor | None, what: str
) -> None:
    if tensor is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensor = torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)
    with pytest.raises(UnsupportedError, match=rf"model\.pt: 'layer\.weight' .*{what}"):
        checkpoint.load(saved(tmp_path, {"layer.weight": tensor}))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (OrderedDict(), "empty state dict"),
        ({"epoch": 3, "optimizer": {"state": {}}}, "holds no model weights, only: epoch, optimizer"),
        (torch.zeros(3), "a single tensor"),
        ([1, 2], "holds a list"),
    ],
)
def test_says_what_the_file_holds_instead_of_weights(tmp_path: Path, value: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        checkpoint.load(saved(tmp_path, value))


def test_module_without_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tensors: nothing to pack"):
        checkpoint.load(saved(tmp_path, nn.ReLU()), trust_checkpoint=True)


def test_reads_what_sparse_export_archived(tmp_path: Path) -> None:
    module = net()
    prune.l1_unstructured(module[4], "weight", 0.9)
    prune.remove(module[4], "weight")
    path = saved(tmp_path, {"net": module.state_dict(), "epoch": 3})
    target = tmp_path / "model.packed.safetensors"
    archive.write(path, target)
    loaded = checkpoint.load(target)
    assert same(loaded, module)
    assert "a sparse-export archive, unpacked" in told(loaded)


def test_whole_torchvision_modules_load(tmp_path: Path) -> None:
    """In a process that has not imported torchvision: its pickle does."""
    path = saved(tmp_path, vision.models().MobileNetV2(10, 0.25, [[6, 16, 2, 2]]))
    code = (
        "from sparse_export.exporter import checkpoint;"
        f"print(checkpoint.load({str(path)!r}, trust_checkpoint=True).kind)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "module"
