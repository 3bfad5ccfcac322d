"""Which of a file's tensors are the net's: state dicts to choose from, prefixes, strangers, shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sparse_export import CorruptFileError, InputError, UnsupportedError
from sparse_export.exporter import checkpoint
from sparse_export.exporter.trace import resolve as architecture
from sparse_export.exporter.trace.resolved import Resolved

from .saved import net, saved, told

NETS = """
import torch
from torch import nn
from torch.nn import functional as F

def net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16, 200))

class Masked(nn.Linear):
    def __init__(self, buffer):
        super().__init__(6, 4)
        self.buffer = buffer
        self.register_buffer(buffer, torch.ones(4, 6))
    def forward(self, x):
        return F.linear(x, self.weight * getattr(self, self.buffer), self.bias)

class Unmasked(Masked):
    def forward(self, x):
        return F.linear(x, self.weight, self.bias) + self.mask.sum()

def masked():
    return nn.Sequential(Masked("weight_mask"))

def own():
    return nn.Sequential(Unmasked("mask"))

def hooked():
    from torch.nn.utils import prune
    return nn.Sequential(prune.identity(nn.Linear(6, 4), "weight"))
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(NETS)
    return f"{tmp_path / 'nets.py'}"


def resolved(path: Path, arch: str, strict: bool = False, **options: Any) -> Resolved:
    shapes = [(1, 3, 3, 3)] if arch.endswith(":net") else [(1, 6)]
    return architecture.resolve(checkpoint.load(path, **options), arch, shapes, strict=strict)


def holds(found: Resolved, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(found.module.state_dict()[name], tensor) for name, tensor in state.items())


def other(seed: int = 5) -> dict[str, torch.Tensor]:
    """Other weights of the same net."""
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.rand(t.shape, generator=generator) if t.is_floating_point() else t
        for n, t in net().state_dict().items()
    }


@pytest.mark.parametrize(
    "key", ["ema", "model_ema", "state_dict_ema", "ema_state_dict", "swa_model", "averaged"]
)
def test_averaged_weights_are_taken_on_request(tmp_path: Path, key: str) -> None:
    average = {f"module.{name}": tensor for name, tensor in other().items()}
    path = saved(tmp_path, {"epoch": 1, "state_dict": net().state_dict(), key: average})
    usual, asked = checkpoint.load(path), checkpoint.load(path, weights="ema")
    assert torch.equal(usual.tensors["4.weight"], net().state_dict()["4.weight"])
    assert f"other weights in the file ignored: {key}; --weights {key} takes those instead" in told(usual)
    for loaded in (asked, checkpoint.load(path, weights=key)):
        assert torch.equal(loaded.tensors["4.weight"], other()["4.weight"])
        assert f"weights found under ['{key}']" in told(loaded)
        assert "other weights in the file ignored: state_dict; --weights state_dict" in told(loaded)


def test_averages_of_the_parameters_alone_are_completed(tmp_path: Path) -> None:
    shadow = {name: tensor for name, tensor in other().items() if "running" not in name and "num" not in name}
    path = saved(tmp_path, {"model": net().state_dict(), "ema": {"decay": 0.9, "shadow": shadow}})
    loaded = checkpoint.load(path, weights="ema")
    assert list(loaded.tensors) == list(net().state_dict())
    assert torch.equal(loaded.tensors["0.weight"], shadow["0.weight"])
    assert "3 tensors taken from the other weights" in told(loaded)


def test_weights_that_are_not_there_are_refused_with_what_is(tmp_path: Path) -> None:
    path = saved(tmp_path, {"generator": net().state_dict(), "discriminator": other()})
    assert torch.equal(
        checkpoint.load(path, weights="discriminator").tensors["4.weight"], other()["4.weight"]
    )
    with pytest.raises(InputError, match=r"no weights 'ema' in the file .* holds: generator, discriminator"):
        checkpoint.load(path, weights="ema")


@pytest.mark.parametrize(
    "prefix",
    [
        *("model.", "net.", "student.", "module.", "model.module.", "backbone.net.", "nncf_module."),
        *("_fsdp_wrapped_module.", "_forward_module.", "_orig_mod.model.", "anything."),
    ],
)
def test_the_net_is_found_below_any_prefix(tmp_path: Path, nets: str, prefix: str) -> None:
    path = saved(tmp_path, {prefix + name: t for name, t in net().state_dict().items()})
    assert holds(resolved(path, f"{nets}:net"), net().state_dict())


@pytest.mark.parametrize(
    "part", ["_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_orig_mod", "module"]
)
def test_parts_that_wrappers_put_inside_some_names_are_left_out(tmp_path: Path, nets: str, part: str) -> None:
    state = {
        name.replace(".", f".{part}.") if name.startswith("4") else name: t
        for name, t in net().state_dict().items()
    }
    assert holds(resolved(saved(tmp_path, state), f"{nets}:net"), net().state_dict())


@pytest.mark.parametrize("head", ["module.", "model.", "net.module."])
def test_a_prefix_may_be_on_some_names_only(tmp_path: Path, nets: str, head: str) -> None:
    state = {(head if name.startswith("4") else "") + name: t for name, t in net().state_dict().items()}
    assert holds(resolved(saved(tmp_path, state), f"{nets}:net"), net().state_dict())


def test_a_state_dict_in_a_tuple_is_found(tmp_path: Path) -> None:
    loaded = checkpoint.load(saved(tmp_path, (net().state_dict(), 17)))
    assert list(loaded.tensors) == list(net().state_dict())


def test_packed_quantised_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    state = {"0.scale": torch.ones(()), "0._packed_params._packed_params": (torch.ones(2, 2), None)}
    with pytest.raises(UnsupportedError, match=r"model\.pt: .* quantised by torch: save the float model"):
        checkpoint.load(saved(tmp_path, state))


def test_strangers_are_listed_and_refused_on_request(tmp_path: Path, nets: str) -> None:
    state = {f"model.{name}": tensor for name, tensor in net().state_dict().items()}
    state |= {"criterion.weight": torch.ones(10), "val_acc.tp": torch.zeros(10)}
    path = saved(tmp_path, {"state_dict": state, "loops": {}, "pytorch-lightning_version": "2.5.0"})
    found = resolved(path, f"{nets}:net")
    assert holds(found, net().state_dict())
    notes = [note.text for note in found.notes]
    assert "the net is under the prefix 'model.'" in notes
    assert any(n.endswith("(--strict refuses): criterion.weight, val_acc.tp") for n in notes)
    with pytest.raises(InputError, match=r"2 tensors not of .* \(--strict\): criterion\.weight, val_acc\.tp"):
        resolved(path, f"{nets}:net", strict=True)
    below = checkpoint.load(path, prefix="model")
    assert list(below.tensors) == list(net().state_dict())
    assert "2 tensors outside it left out: criterion.weight, val_acc.tp" in told(below)


def test_of_several_nets_the_student_is_taken_and_the_others_are_named(tmp_path: Path, nets: str) -> None:
    state = {f"teacher.{name}": tensor for name, tensor in other().items()}
    state |= {f"student.{name}": tensor for name, tensor in net().state_dict().items()}
    path = saved(tmp_path, state)
    found = resolved(path, f"{nets}:net")
    assert holds(found, net().state_dict())
    assert any("'teacher.' too: --prefix teacher. takes that" in note.text for note in found.notes)
    assert holds(resolved(path, f"{nets}:net", prefix="teacher."), other())


def test_an_average_beside_the_net_in_one_dict_is_taken_by_its_prefix(tmp_path: Path, nets: str) -> None:
    state = {f"model.{name}": tensor for name, tensor in net().state_dict().items()}
    state |= {f"ema_model.module.{name}": tensor for name, tensor in other().items()}
    path = saved(tmp_path, {"state_dict": state})
    assert holds(resolved(path, f"{nets}:net"), net().state_dict())
    assert holds(resolved(path, f"{nets}:net", weights="ema"), other())


def test_a_prefix_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"model\.pt: no tensor's name starts with 'net\.' .* prefixes: 0\., 1\., 4\."
    ):
        checkpoint.load(saved(tmp_path, net().state_dict()), prefix="net")


def test_a_known_net_is_recognised_among_strangers_but_not_inside_another(tmp_path: Path) -> None:
    from sparse_export.exporter.nets.cifar import densenet_cifar

    state = {f"model.{name}": tensor for name, tensor in densenet_cifar().state_dict().items()}
    found = architecture.resolve(checkpoint.load(saved(tmp_path, state | {"loss.scale": torch.ones(1)})))
    assert found.arch_name == "densenet-cifar"
    path = saved(tmp_path, state | {"model.dense1.0.attention.weight": torch.ones(3, 3)})
    with pytest.raises(InputError, match="no known architecture"):
        architecture.resolve(checkpoint.load(path))


def test_a_net_with_masks_of_its_own_gets_them(tmp_path: Path, nets: str) -> None:
    weight, mask = torch.randn(4, 6), (torch.rand(4, 6) < 0.5).float()
    rest = {"0.weight": weight, "0.bias": torch.zeros(4)}
    x = torch.randn(2, 6)
    found = resolved(saved(tmp_path, rest | {"0.weight_mask": mask}), f"{nets}:masked")
    assert torch.equal(found.module.state_dict()["0.weight_mask"], mask)
    assert torch.allclose(found.module(x), x @ (weight * mask).T, atol=1e-6)
    # Its own buffer, which only by chance has the weight's shape.
    found = resolved(saved(tmp_path, rest | {"0.mask": mask}), f"{nets}:own")
    assert torch.allclose(found.module(x), x @ weight.T + mask.sum(), atol=1e-5)
    pruned = {"0.weight_orig": weight, "0.weight_mask": mask, "0.bias": torch.zeros(4)}
    found = resolved(saved(tmp_path, pruned), f"{nets}:hooked")
    assert torch.allclose(found.module(x), x @ (weight * mask).T, atol=1e-6)


def sharded(folder: Path, kind: str) -> Path:
    """Two shards of the net and their index, as Hugging Face writes them."""
    folder.mkdir(exist_ok=True)
    state = net().state_dict()
    stem, save = {"safetensors": ("model", save_file), "bin": ("pytorch_model", torch.save)}[kind]
    files = {f"{stem}-0000{i}-of-00002.{kind}": list(state)[i - 1 :: 2] for i in (1, 2)}
    for file, names in files.items():
        save({name: state[name] for name in names}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
    path = folder / f"{stem}.{kind}.index.json"
    path.write_text(json.dumps(index))
    return path


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_by_their_index_or_their_folder(tmp_path: Path, nets: str, kind: str) -> None:
    index = sharded(tmp_path / "hf", kind)
    for path in (index, index.parent):
        loaded = checkpoint.load(path)
        assert all(torch.equal(loaded.tensors[n], t) for n, t in net().state_dict().items())
        assert f"2 shards read as {index.name} lists them" in told(loaded)
        assert holds(architecture.resolve(loaded, f"{nets}:net", [(1, 3, 3, 3)]), net().state_dict())


def test_a_folder_prefers_safetensors_and_takes_a_single_file(tmp_path: Path) -> None:
    sharded(tmp_path / "both", "bin")
    safe = sharded(tmp_path / "both", "safetensors")
    assert checkpoint.load(tmp_path / "both").path == safe
    (tmp_path / "one").mkdir()
    torch.save(net().state_dict(), tmp_path / "one" / "pytorch_model.bin")
    (tmp_path / "one" / "config.json").write_text("{}")
    assert checkpoint.load(tmp_path / "one").path.name == "pytorch_model.bin"
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="directory without a checkpoint"):
        checkpoint.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (
            lambda w: w | {"0.weight": "../x.safetensors"},
            CorruptFileError,
            "not a file name beside the index",
        ),
        (lambda w: w | {"0.weight": "absent.safetensors"}, InputError, "is not beside the index"),
        (
            lambda w: {n: f for n, f in w.items() if n != "0.bias"},
            CorruptFileError,
            "the index leaves out: 0.bias",
        ),
        (lambda w: w | {"extra": next(iter(w.values()))}, CorruptFileError, "'extra' is not in shard"),
        (lambda w: {}, CorruptFileError, "no 'weight_map'"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    tmp_path: Path, change: Any, error: Any, says: str
) -> None:
    index = sharded(tmp_path / "hf", "safetensors")
    weight_map = change(json.loads(index.read_text())["weight_map"])
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(error, match=says):
        checkpoint.load(index)


def test_a_shard_that_runs_code_is_refused_as_any_pickle(tmp_path: Path) -> None:
    index = sharded(tmp_path / "hf", "bin")
    torch.save(nn.Linear(2, 2), index.parent / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(InputError, match="whole pickled module"):
        checkpoint.load(index)


def test_tensor_subclasses_are_refused_with_the_way_out() -> None:
    from sparse_export.exporter.files.tensors import refuse_unsupported

    class Quantized(torch.Tensor):
        __module__ = "torchao.dtypes"

    with pytest.raises(UnsupportedError, match=r"'w' is a Quantized \(torchao\.dtypes\): .*dequantize"):
        refuse_unsupported("w", torch.ones(2).as_subclass(Quantized))
