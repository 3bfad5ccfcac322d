"""One reader a file type; each gives back what the file holds, or one clear error.

NOTES
-----
Without `trust` nothing here runs code from the file: pickles go through torch's weights-only reader.
"""

from __future__ import annotations

import argparse
import collections
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...quiet import quiet
from ...text import shown
from ..nets import torchvision as vision
from .kinds import MAX_PICKLE

if TYPE_CHECKING:
    import torch

#: What the weights-only reader says when a pickle asks for a global outside its list.
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|Unsupported class ([\w.]+)")
_BYTEARRAY = re.compile(rb"c(?:__builtin__|builtins)\nbytearray\n")
#: Modules whose classes make a whole pickled model, as opposed to an attack or stray metadata.
_MODEL_MODULES = ("torch.nn.", "torchvision.", "__main__.", "transformers.", "timm.", "models.")


def _harmless() -> list[Any]:
    """Classes that only hold data and often lie beside a state dict (`acc` as a numpy scalar, `args`)."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    dtypes = {
        type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?")
    }
    return [scalar, np.dtype, *dtypes, argparse.Namespace, collections.defaultdict]


def read_torch(path: Path, *, zipped: bool, trust: bool, mmap: bool) -> Any:
    """The object that `torch.save` wrote.

    Raises
    ------
    InputError
        If reading it would run code and `trust` is off.
    CorruptFileError
        If the file is truncated or breaks torch's format.
    """
    import torch

    if not trust:
        _refuse_bytearray(path, zipped)
    options: dict[str, Any] = {"map_location": "cpu", "mmap": mmap and zipped}
    invariants = torch.sparse.check_sparse_tensor_invariants(enable=True)  # type: ignore[no-untyped-call]
    try:
        with quiet(), invariants, torch.serialization.safe_globals(_harmless()):
            return torch.load(path, weights_only=True, **options)
    except Exception as error:  # every failure of the reader is the file's, whatever its type
        wanted = _wanted_global(error)
        if wanted is None:
            raise _torch_error(path, error) from error
        if not trust:
            raise InputError(_untrusted(path, wanted)) from error
    vision.importable()
    try:
        with quiet(), invariants:
            return torch.load(path, weights_only=False, **options)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InputError(
            f"{shown(path)}: its pickle needs code that cannot be imported ({shown(error)}); set PYTHONPATH"
            " to that code, or give a state dict and --arch"
        ) from error
    except Exception as error:  # a pickle can raise anything
        raise _torch_error(path, error) from error


def _refuse_bytearray(path: Path, zipped: bool) -> None:
    """Raise if the pickle calls bytearray: weights-only lets it, so a few bytes could take all memory."""
    if zipped:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            try:
                found = any(_BYTEARRAY.search(archive.read(name)) for name in names)
            except (zipfile.BadZipFile, EOFError, OSError) as error:
                raise CorruptFileError(f"{shown(path)}: data.pkl is damaged ({shown(error)})") from error
    else:
        with path.open("rb") as file:
            found = _BYTEARRAY.search(file.read(MAX_PICKLE)) is not None
    if found:
        raise InputError(_untrusted(path, "builtins.bytearray"))


def _wanted_global(error: Exception) -> str | None:
    """Name of the class or function that the weights-only reader refused, if that is why it stopped."""
    import pickle

    if not isinstance(error, pickle.UnpicklingError):
        return None
    match = _GLOBAL.search(str(error))
    return next((group for group in match.groups() if group), None) if match else None


def _untrusted(path: Path, wanted: str) -> str:
    what = "holds a whole pickled module" if wanted.startswith(_MODEL_MODULES) else "is not only weights"
    return (
        f"{shown(path)}: {what} (its pickle calls {shown(wanted)}) and reading it runs its code; save a state"
        " dict (torch.save(model.state_dict(), FILE)), or use --trust-checkpoint if you trust the file"
    )


def _torch_error(path: Path, error: Exception) -> InputError:
    text = " ".join(str(error).split())
    if isinstance(error, (RecursionError, MemoryError)):
        text = type(error).__name__
    if isinstance(error, UnsupportedError):
        return error
    # The reader's own advice (weights_only=False, safe_globals) is not ours to give.
    text = re.split(
        r"(?<=[.:;]) (?:In PyTorch|Please file|Check the documentation|\(1\)|This file can)", text
    )[0]
    return CorruptFileError(f"{shown(path)}: torch cannot read it: {shown(text) or type(error).__name__}")


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors of a safetensors file (memory-mapped), and its string metadata.

    Raises
    ------
    CorruptFileError
        If the header breaks a rule of the format.
    UnsupportedError
        If a tensor has a dtype torch cannot hold.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (AttributeError, KeyError, TypeError) as error:
        raise UnsupportedError(
            f"{shown(path)}: a tensor has a dtype torch cannot hold: {shown(error)}"
        ) from error
    except Exception as error:  # SafetensorError, and UnicodeDecodeError from below it
        text = shown(str(error).removeprefix("Error while deserializing header: "))
        raise CorruptFileError(f"{shown(path)}: not a valid safetensors file: {text}") from error
