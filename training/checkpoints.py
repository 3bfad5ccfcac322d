"""Ordinary `.pt` checkpoints in and out: state dicts, read without pickle's dangers, written atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import nn

from ..errors import InputError
from ..exporter import checkpoint
from ..exporter.files.atomic import atomic_file
from ..exporter.nets.cifar import MODELS, create

State = dict[str, torch.Tensor]


def write(path: str | Path, value: Any, *, force: bool = True, sources: Iterable[Path] = ()) -> None:
    """Save a value so that the path holds either the old file or the whole new one.

    With torch.save, or as safetensors (a state dict, tied tensors written twice) where the name says so.

    Raises
    ------
    InputError
        If the system refuses the write, or the path is one of `sources`, or exists and `force` is not given.
    """
    with atomic_file(Path(path), force=force, sources=sources) as handle:
        if Path(path).suffix == ".safetensors":
            handle.write(serialize({name: t.detach().clone().contiguous() for name, t in value.items()}))
        else:
            torch.save(value, handle)


def read_state(path: str | Path) -> State:
    """The state dict of a checkpoint: found, unprefixed, pruning masks folded, zeros as +0.0.

    Raises
    ------
    InputError, CorruptFileError, UnsupportedError
        If there is no such file, it breaks its format, or it holds no state dict.
    """
    loaded = checkpoint.load(path, mmap=False)
    if loaded.kind in ("onnx", "pt2"):
        raise InputError(f"{path}: the lab reads state dicts (.pt, .pth, .safetensors), not {loaded.kind}")
    # A mask times a negative weight is -0.0, which has a bit set and would count as a non-zero.
    return {k: t.masked_fill(t == 0, 0.0) if t.is_floating_point() else t for k, t in loaded.tensors.items()}


def digest(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def recognise(state: Mapping[str, torch.Tensor]) -> str | None:
    """Name of the built-in net whose keys and shapes (classes apart) these are, or None."""
    for name in MODELS:
        with torch.device("meta"):
            expected = create(name, classes_of(state)).state_dict()
        if {k: v.shape for k, v in expected.items()} == {k: v.shape for k, v in state.items()}:
            return name
    return None


def classes_of(state: Mapping[str, torch.Tensor]) -> int:
    """Rows of the last weight or bias: the number of classes of a classifier."""
    sized = [tensor.shape[0] for key, tensor in state.items() if tensor.dim() and "running" not in key]
    return int(sized[-1]) if sized else 0


def is_known(path: str | Path) -> bool:
    """Whether the checkpoint is of a built-in net."""
    return recognise(read_state(path)) is not None


def load_model(path: str | Path, arch: str | None = None) -> tuple[nn.Module, str]:
    """The net that a checkpoint belongs to, weights loaded, and the name of its architecture.

    Raises
    ------
    InputError
        If the architecture is not given and not a built-in one, or the checkpoint is of another one.
    """
    state = read_state(path)
    name = arch or recognise(state)
    if name is None:
        raise InputError(
            f"{path}: not one of {', '.join(MODELS)}; name its net with --arch NAME or --arch FILE.py:FACTORY"
        )
    model = create(name, classes_of(state))
    load_into(model, state, f"{path} is not a checkpoint of '{name}'")
    return model, name


def load_into(model: nn.Module, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Copy a state dict into a net, or say in one line which tensor does not fit."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    wrong = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    if missing or extra or wrong:
        first = (
            f"'{wrong[0]}' is {list(state[wrong[0]].shape)}, not {list(expected[wrong[0]].shape)}"
            if wrong
            else f"'{missing[0]}' is missing"
            if missing
            else f"'{extra[0]}' is unknown"
        )
        raise InputError(
            f"{what}: {first} ({len(missing)} missing, {len(extra)} unknown, {len(wrong)} of another shape)"
        )
    model.load_state_dict(dict(state))
