"""What a file holds as its reader gives it: one `Raw`, whatever the kind; nothing is cleaned here.

The readers here need more than the file: rules of archives, classes of torchvision, the shards of an index.
Of any other kind the row of `files.kinds.KINDS` names the reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, UnsupportedError
from ...notes import Note
from ...text import counted, shown
from ..files import kinds, shards, torch_file
from ..files.raw import Raw, Reading
from ..nets import torchvision

if TYPE_CHECKING:
    import torch

#: What an archive may unpack to.
MAX_ARCHIVE = 1 << 40


def read(path: Path, reading: Reading) -> Raw:
    """What the file (or the folder, or the files of an index) at `path` holds.

    Raises
    ------
    InputError
        If it cannot be opened, or would run code.
    CorruptFileError
        If it breaks its own format.
    """
    path = shards.locate(path)
    kind = shards.identify(path)
    return _READERS[kind](path, reading) if kind in _READERS else kinds.read(path, kind, reading)


def _onnx(path: Path, reading: Reading) -> Raw:
    return Raw("onnx")  # its own reader opens it when the model is asked for


def _safetensors(path: Path, reading: Reading) -> Raw:
    from ..archive import is_archive, load

    if is_archive(path):
        told = Note("info", "a sparse-export archive, unpacked")
        return Raw("state-dict", load(path), limit=MAX_ARCHIVE, notes=[told])
    tensors, _ = torch_file.read_safetensors(path)
    return Raw("safetensors", tensors, limit=path.stat().st_size)


def _torch(path: Path, reading: Reading) -> Raw:
    zipped = kinds.identify(path) == "torch-zip"
    if reading.trust:  # a whole module may be one of torchvision's
        torchvision.importable()
    try:
        value = torch_file.read_torch(path, zipped=zipped, trust=reading.trust, mmap=reading.mmap)
    except InputError as error:
        if re.search(r"\btorchao\b", str(error)) is None:
            raise
        raise UnsupportedError(
            f"{shown(path)}: holds torchao tensors, whose classes a safe reader does not know: load it where"
            " torchao is, and save {name: w.dequantize() for name, w in state.items()}"
        ) from error
    return Raw("state-dict", value, limit=path.stat().st_size)


def _shards(path: Path, reading: Reading) -> Raw:
    """All shards of an index as one flat dict, in the index's order; each read as a file of its own is."""
    index = shards.read_index(path)
    held = {name: _tensors(file, reading) for name, file in index.files.items()}
    index.check({name: list(tensors) for name, tensors in held.items()})
    tensors = {name: held[file][name] for name, file in index.weight_map.items()}
    notes = [Note("info", f"{counted(len(held), 'shard')} read as {shown(path.name)} lists them")]
    kind = "safetensors" if all(name.endswith(".safetensors") for name in held) else "state-dict"
    return Raw(kind, tensors, limit=shards.size(path), notes=notes)


def _tensors(path: Path, reading: Reading) -> dict[str, torch.Tensor]:
    """The tensors of one shard."""
    from . import statedict

    kind = kinds.identify(path)
    if kind == "safetensors":
        return torch_file.read_safetensors(path)[0]
    raw = _torch(path, reading)
    return statedict.tensors_of(statedict.mapping(raw.value, path))[0]


_READERS: dict[str, Callable[[Path, Reading], Raw]] = {
    "onnx": _onnx,
    "safetensors": _safetensors,
    "torch-zip": _torch,
    "torch-legacy": _torch,
    "shards": _shards,
}
