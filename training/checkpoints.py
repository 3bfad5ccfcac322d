"""Ordinary `.pt` checkpoints in and out: state dicts, read without pickle's dangers, written atomically."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CorruptFileError, InputError
from ..exporter.artifact import atomic_file
from .models import MODELS, create

State = dict[str, torch.Tensor]

#: Keys under which training scripts nest the state dict.
NESTS = ("state_dict", "model", "net", "model_state_dict", "module")


def write(path: str | os.PathLike[str], value: Any, *, force: bool = True) -> None:
    """Save a value with torch.save so that the path holds either the old file or the whole new one."""
    with atomic_file(Path(path), force=force) as handle:
        torch.save(value, handle)


def read_raw(path: str | os.PathLike[str]) -> Any:
    """What a torch file holds, tensors and plain containers only.

    Raises
    ------
    InputError, CorruptFileError
        If there is no such file, or it is not one that torch can read without running code from it.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"no such checkpoint: {source}")
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CorruptFileError(f"{source}: not a readable torch checkpoint") from error
    except Exception as error:  # the unpickler's refusals have no common class
        raise InputError(
            f"{source}: holds more than tensors and containers; save model.state_dict()"
        ) from error


def read_state(path: str | os.PathLike[str]) -> State:
    """The state dict of a checkpoint, unnested, prefixes dropped, pruning masks folded into the weights.

    Raises
    ------
    InputError
        If the file holds no state dict.
    """
    value = read_raw(path)
    while isinstance(value, Mapping) and not _is_state(value):
        nested = next((value[key] for key in NESTS if isinstance(value.get(key), Mapping)), None)
        if nested is None:
            break
        value = nested
    if not (isinstance(value, Mapping) and _is_state(value)):
        raise InputError(f"{path}: no state dict in it (looked under {', '.join(NESTS)})")
    state = {key.removeprefix("_orig_mod.").removeprefix("module."): tensor for key, tensor in value.items()}
    return fold_masks(state)


def _is_state(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(isinstance(k, str) and isinstance(t, torch.Tensor) for k, t in value.items())


def fold_masks(state: Mapping[str, torch.Tensor]) -> State:
    """`weight_orig` and `weight_mask` become `weight`; masked entries are +0.0 (a -0.0 has a bit set)."""
    folded: State = {}
    for key, tensor in state.items():
        if key.endswith("_orig") and f"{key.removesuffix('_orig')}_mask" in state:
            base = key.removesuffix("_orig")
            folded[base] = tensor.masked_fill(state[f"{base}_mask"] == 0, 0.0)
        elif not (key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in state):
            folded[key] = tensor
    return folded


def digest(path: str | os.PathLike[str]) -> str:
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


def load_model(path: str | os.PathLike[str], arch: str | None = None) -> tuple[nn.Module, str]:
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
