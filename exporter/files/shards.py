"""Checkpoints of several files, as Hugging Face writes them: an `*.index.json` of shards, or a folder.

NOTES
-----
Nothing is opened here but the index, which is read strictly; a shard's name is a plain name beside it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import CorruptFileError, InputError
from ...text import listed, shown
from . import kinds
from .container.strict_json import strict_json

_SUFFIX = ".index.json"
_SHARD = re.compile(r"[^/\\\0]+\.(safetensors|bin|pt|pth)")
_MAX_INDEX = 64 << 20
#: What a folder may hold as one file, the safest to read first.
_SINGLE = ("model.safetensors", "pytorch_model.safetensors", "diffusion_pytorch_model.safetensors")
_PICKLES = ("pytorch_model.bin", "model.pt", "model.pth")


@dataclass(frozen=True)
class Shards:
    """An index: which tensor lies in which file beside it, in the index's order."""

    path: Path
    weight_map: dict[str, str]

    @property
    def files(self) -> dict[str, Path]:
        """Name to path of every shard, in the order of their first tensors."""
        return {name: self.path.parent / name for name in dict.fromkeys(self.weight_map.values())}

    def check(self, held: dict[str, list[str]]) -> None:
        """Raise unless every shard holds exactly the tensors that the index says.

        Raises
        ------
        CorruptFileError
            Naming a tensor that is missing, or that the index leaves out.
        """
        for name, file in self.weight_map.items():
            if name not in held[file]:
                raise CorruptFileError(
                    f"{shown(self.path)}: tensor '{shown(name)}' is not in shard '{shown(file)}'"
                )
        for file, names in held.items():
            for name in names:
                if self.weight_map.get(name) != file:
                    raise CorruptFileError(
                        f"{shown(self.path)}: shards hold tensors the index leaves out: {shown(name)}"
                    )


def locate(path: Path) -> Path:
    """The file that stands for `path`: itself, or what a folder holds (an index of shards, or one file).

    Raises
    ------
    InputError
        If the folder holds no checkpoint, or several.
    """
    if not _is_folder(path):
        return path
    try:
        names = sorted(item.name for item in path.iterdir())
    except OSError as error:
        raise InputError(f"{shown(path)}: is a directory that cannot be read ({error.strerror})") from error
    indexes = [name for name in names if name.endswith(_SUFFIX)]
    single = [name for name in _SINGLE if name in names]
    # A folder may hold the same weights twice, as .safetensors and as .bin: the safer one is read.
    found = (
        [name for name in indexes if ".safetensors" in name]
        or single[:1]
        or [name for name in names if name.endswith(".safetensors")]
        or indexes
        or [name for name in _PICKLES if name in names][:1]
    )
    if not found:
        raise InputError(
            f"{shown(path)}: is a directory without a checkpoint (no *.index.json, model.safetensors or"
            " pytorch_model.bin); give a model file"
        )
    if len(found) > 1:
        raise InputError(
            f"{shown(path)}: is a directory with several checkpoints ({listed(found)}); give one"
        )
    return path / found[0]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no system takes: the reader of the file says so
        return False


def is_index(path: Path) -> bool:
    """Whether the file is an index of shards, by its name."""
    return path.name.endswith(_SUFFIX)


def identify(path: Path) -> str:
    """What `kinds.identify` says of the file that stands for `path`; "shards" for an index."""
    path = locate(path)
    return "shards" if is_index(path) else kinds.identify(path)


def read_index(path: Path) -> Shards:
    """The index, with every shard's name proved to stay in its folder.

    Raises
    ------
    CorruptFileError
        If it is no such index.
    """
    size = kinds.regular_file(path)
    if size > _MAX_INDEX:
        raise CorruptFileError(f"{shown(path)}: index is over {_MAX_INDEX >> 20} MB")
    index = strict_json(path.read_bytes(), shown(path))
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(v, str) for v in names.values()):
        raise CorruptFileError(f"{shown(path)}: no 'weight_map' of tensor names to files")
    for file in dict.fromkeys(names.values()):
        if not _SHARD.fullmatch(file):
            raise CorruptFileError(
                f"{shown(path)}: shard '{shown(file)}' is not a file name beside the index"
            )
        if not os.path.lexists(path.parent / file):
            raise InputError(
                f"{shown(path)}: shard '{shown(file)}' is not beside the index; fetch all shards"
            )
    return Shards(path, names)


def files(path: Path) -> list[Path]:
    """Every file that reading `path` reads: what must not be written over, and what is weighed."""
    path = locate(path)
    if is_index(path):
        return [path, *read_index(path).files.values()]
    return [path]


def size(path: Path) -> int:
    """Bytes of the checkpoint at `path`, all shards together."""
    return sum(file.stat().st_size for file in files(path))


def stem(path: Path) -> str:
    """Name of the checkpoint without what says its kind: `model` for `model.safetensors.index.json`."""
    name = path.name
    for suffix in (".safetensors" + _SUFFIX, ".bin" + _SUFFIX, _SUFFIX):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return path.resolve().name if _is_folder(path) else path.stem
