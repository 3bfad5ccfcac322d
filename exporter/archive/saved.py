"""What goes into an archive: every tensor of a checkpoint, readable in pieces, and the tree that holds them.

Tensors are read on demand: safetensors with positioned reads, zipped `.pt` through torch's memory map,
whose pages are given back after use. So a checkpoint of any size passes through a bounded memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import InputError, UnsupportedError
from ...formats.base import Array
from ...text import shown
from ..files import budget, kinds, shards, torch_file
from ..files.container import Container
from ..files.container.header import DTYPE_NAMES
from ..files.tensors import identity, refuse_growth
from ..nets import torchvision
from . import sparse
from .index_rules import fills
from .tree import Leaf, Tree, build, leaves


@dataclass
class SavedTensor:
    """One tensor: `read(start, stop)` gives the bit patterns of a range of its elements, row-major.

    `layout` is how torch held a sparse one (`sparse.py`).
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[int, int], Array]
    release: Callable[[], None] = lambda: None
    strides: tuple[int, ...] | None = None
    layout: str | None = None


@dataclass
class Saved:
    """A checkpoint opened for archiving.

    Attributes
    ----------
    tree
        The object that was saved, tensors replaced by `Leaf(index)` into `tensors`.
    notes
        What was changed or could not be kept, one line each.
    """

    tensors: list[SavedTensor]
    tree: Tree
    notes: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


def open_saved(path: Path, *, trust_checkpoint: bool = False) -> Saved:
    """Open a `.pt`, `.safetensors` or sharded `*.index.json` checkpoint.

    Raises
    ------
    InputError
        If it cannot be read, or is no checkpoint of tensors.
    """
    path = shards.locate(path)
    if shards.is_index(path):
        return _sharded(path, trust_checkpoint)
    kind = kinds.identify(path)
    if kind == "safetensors":
        return _safetensors(path)
    if kind not in ("torch-zip", "torch-legacy"):
        raise UnsupportedError(
            f"{shown(path)}: an archive holds a checkpoint; export this file without --archive"
        )
    if trust_checkpoint:  # a whole module may be one of torchvision's
        torchvision.importable()
    loaded = torch_file.read_torch(path, zipped=kind == "torch-zip", trust=trust_checkpoint, mmap=True)
    # Code of the file's own may have written to what torch mapped: only our reader's map is clean.
    return _torch(loaded, path, mapped=kind == "torch-zip" and not trust_checkpoint)


def _safetensors(path: Path) -> Saved:
    container = Container(path)
    tensors = [_entry(container, name) for name in container.entries]
    tree = {name: Leaf(i) for i, name in enumerate(container.entries)}
    return Saved(tensors, tree, metadata=container.metadata)


def _entry(container: Container, name: str) -> SavedTensor:
    entry = container.entries[name]

    def read(start: int, stop: int) -> Array:
        return container.read(name, start, stop).view(f"u{entry.dtype.itemsize}")

    if entry.dtype.kind == "c":
        raise UnsupportedError(f"{container.path}: tensor '{name}': complex tensors are not supported")
    return SavedTensor(DTYPE_NAMES[entry.dtype], entry.shape, read)


def _sharded(path: Path, trust: bool) -> Saved:
    """All shards that the index names, in its order; every shard must hold exactly what it says."""
    index = shards.read_index(path)
    opened = {name: open_saved(file, trust_checkpoint=trust) for name, file in index.files.items()}
    held = {name: dict(leaves(saved.tree)) for name, saved in opened.items()}
    index.check({name: list(tensors) for name, tensors in held.items()})
    places: dict[tuple[str, int], int] = {}
    tensors: list[SavedTensor] = []
    layout: dict[str, Tree] = {}
    for name, file in index.weight_map.items():
        key = (file, held[file][name])
        if key not in places:  # tied within a shard
            places[key] = len(tensors)
            tensors.append(opened[file].tensors[key[1]])
        layout[name] = Leaf(places[key])
    notes = [f"{len(opened)} shards become one archive; unpack writes one file"]
    notes += [note for saved in opened.values() for note in saved.notes]
    return Saved(tensors, layout, notes, next(iter(opened.values())).metadata)


def _torch(loaded: Any, path: Path, *, mapped: bool) -> Saved:
    """Everything inside an object that torch loaded; the same tensor twice is one tensor."""
    import torch

    notes: list[str] = []
    where, size = shown(path), path.stat().st_size
    if isinstance(loaded, torch.nn.Module):
        notes.append("a whole module was given: its state dict is archived, its code is not")
        loaded = loaded.state_dict()
    found: list[Any] = []
    known: dict[Any, int] = {}

    def leaf(tensor: Any) -> Leaf:
        if tensor.is_meta or tensor.is_quantized or tensor.is_complex():
            raise UnsupportedError(f"{where}: meta, quantized and complex tensors cannot be archived")
        dense = tensor.layout == torch.strided
        key = (*identity(tensor), tensor.is_neg()) if dense and tensor.numel() else id(tensor)
        if key not in known:
            known[key] = len(found)
            found.append(tensor)
        return Leaf(known[key])

    layout = build(loaded, leaf, notes)
    if not found:
        raise InputError(f"{where}: holds no tensors, nothing to archive")
    strided = [tensor for tensor in found if tensor.layout == torch.strided]
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in strided)
    budget.current().refuse_growth(claimed, size, f"{where}: its tensors", times=budget.SHARED_TIMES)
    _note_overlaps(strided, notes)
    maps = _maps_of(path) if mapped else []
    made = [
        _torch_tensor(t, where, maps) if t.layout == torch.strided else _sparse_tensor(t, where, size, notes)
        for t in found
    ]
    return Saved(made, layout, notes)


def _note_overlaps(tensors: list[Any], notes: list[str]) -> None:
    storages = [t.untyped_storage().data_ptr() for t in tensors if t.numel()]
    views = len(storages) - len(set(storages))
    if views:
        notes.append(f"{views} tensors are views of others' memory: archived by value, no longer shared")


def _torch_tensor(tensor: Any, where: str, maps: list[tuple[int, int]]) -> SavedTensor:
    import torch

    names = {str(getattr(torch, name)): code for name, code in _TORCH_DTYPES.items()}
    code = names.get(str(tensor.dtype))
    if code is None:
        raise UnsupportedError(f"{where}: dtype {tensor.dtype} cannot be archived")
    size = tensor.element_size()
    pattern = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[size]
    tensor = tensor.detach().resolve_neg()
    strides = (
        None if tensor.is_contiguous() or not fills(tensor.shape, tensor.stride()) else tuple(tensor.stride())
    )

    def read(start: int, stop: int) -> Array:
        flat = tensor.contiguous().reshape(-1)[start:stop]
        patterns: Array = flat.view(pattern).numpy().view(f"u{size}")
        return patterns

    storage = tensor.untyped_storage()
    release = _releaser(storage.data_ptr(), storage.nbytes(), maps)
    return SavedTensor(code, tuple(tensor.shape), read, release, strides)


def _sparse_tensor(tensor: Any, where: str, size: int, notes: list[str]) -> SavedTensor:
    """A sparse tensor as its dense values, and the layout that unpack gives it back in."""
    try:
        refuse_growth("a tensor", tensor, size)
    except UnsupportedError as error:
        raise UnsupportedError(f"{where}: {error}") from None
    layout, exact = sparse.layout_of(tensor)
    if not exact:
        notes.append(
            f"a sparse tensor of shape {list(tensor.shape)} comes back with the same values, but"
            + (" dense" if layout is None else " coalesced, without stored zeros, and with 64-bit indices")
        )
    made = _torch_tensor(tensor.to_dense(), where, [])
    return replace(made, layout=layout)


_TORCH_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
}


def torch_dtype(code: str) -> Any:
    """The torch dtype of a safetensors dtype name."""
    import torch

    return getattr(torch, next(name for name, value in _TORCH_DTYPES.items() if value == code))


def _maps_of(path: Path) -> list[tuple[int, int]]:
    """Where in this process's memory the file is mapped: [start, stop) addresses, none off Linux."""
    known, wanted = [], path.stat()
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        addresses, _, _, device, inode = line.split(maxsplit=5)[:5]
        major, minor = (int(part, 16) for part in device.split(":"))
        if (int(inode), os.makedev(major, minor)) == (wanted.st_ino, wanted.st_dev):
            start, stop = (int(part, 16) for part in addresses.split("-"))
            known.append((start, stop))
    return known


def _releaser(address: int, size: int, maps: list[tuple[int, int]]) -> Callable[[], None]:
    """A function that gives the pages of a storage back to the system where it lies on one of the `maps`.

    A storage elsewhere (one that was not aligned in the file, was swapped, or computed) has nothing to be
    read from again: its pages would come back as zeros.
    """
    import ctypes
    import mmap

    page = mmap.PAGESIZE
    start, stop = -(-address // page) * page, (address + size) // page * page
    if stop <= start or not any(first <= start and stop <= last for first, last in maps):
        return lambda: None
    advise = ctypes.CDLL(None, use_errno=True).madvise

    def release() -> None:
        # The map is private and never written: dropped pages are read from the file again if needed.
        advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED)

    return release
