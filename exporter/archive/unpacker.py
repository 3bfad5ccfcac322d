"""An archive back as a checkpoint: `.pt` with the object as it was saved, or a flat `.safetensors`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...formats.base import Array
from ..files import atomic, budget
from ..files.container.header import DTYPES, header_bytes, storage_order
from ..files.failures import ours
from . import sparse
from .index import PLAIN
from .read import Archive, Step, silent
from .saved import torch_dtype
from .tree import fill


def unpack(
    path: Path,
    out: Path,
    *,
    force: bool = False,
    threads: int | None = None,
    max_dense: int | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[str]:
    """Write the checkpoint that an archive holds; return what its reader should know.

    Parameters
    ----------
    out
        `.pt` or `.pth` for torch.save, `.safetensors` for a flat file of the tensors.
    max_dense
        Refuse archives that expand to more bytes than this; by default, what the budget in force allows.

    Raises
    ------
    InputError
        If the target cannot be written, or has another suffix.
    CorruptFileError
        If the archive breaks a rule.
    """
    path, out = Path(path), Path(out)
    if out.suffix not in (".pt", ".pth", ".safetensors"):
        raise InputError(f"{out}: give a name that ends with .pt or .safetensors")
    atomic.check_target(out, force=force, sources=[path])
    with Archive(path) as archive:
        _refuse_large(archive, max_dense)

        def step(done: int, total: int) -> None:
            progress("unpacking", done, total)

        with atomic.atomic_file(out, force=force, source=path) as file:
            if out.suffix == ".safetensors":
                return _write_safetensors(archive, file, threads, step)
            import torch

            # torch.save asks the type of what it is given: the plain file behind the named one.
            torch.save(_object(archive, threads, step), file)
        return archive.index.notes


def load(path: Path, *, threads: int | None = None, max_dense: int | None = None) -> Any:
    """The object that was archived, its tensors as torch tensors (tied ones as one)."""
    with ours(path), Archive(Path(path)) as archive:
        _refuse_large(archive, max_dense)
        return _object(archive, threads, silent)


def arrays(path: Path, *, threads: int | None = None, max_dense: int | None = None) -> dict[str, Array]:
    """Dotted name to array of every tensor; torch is not needed."""
    with ours(path), Archive(Path(path)) as archive:
        _refuse_large(archive, max_dense)
        dense = _dense(archive, threads, silent)
        tensors = archive.index.tensors
        return {
            name: dense[i].view(DTYPES[tensors.dtype[i]]).reshape(tensors.shape[i])
            for name, i in archive.names
        }


def _refuse_large(archive: Archive, limit: int | None) -> None:
    tensors = archive.index.tensors
    total = sum(
        math.prod(shape) * DTYPES[d].itemsize for d, shape in zip(tensors.dtype, tensors.shape, strict=True)
    )
    with budget.raised(dense=limit):
        budget.current().refuse_growth(total, archive.path.stat().st_size, str(archive.path))


def _dense(archive: Archive, threads: int | None, step: Step) -> list[Array]:
    """Bit patterns of every tensor, flat."""
    tensors = archive.index.tensors
    sizes = [math.prod(shape) for shape in tensors.shape]
    dense = [
        np.zeros(size, f"u{DTYPES[name].itemsize}") for size, name in zip(sizes, tensors.dtype, strict=True)
    ]

    def place(tensor: int, part: int, start: int, size: int) -> Array | None:
        return dense[tensor][start : start + size] if tensors.kind[tensor] == PLAIN else None

    for tensor, start, patterns in archive.read(threads, step, place):
        if tensors.kind[tensor] != PLAIN:
            dense[tensor][start : start + patterns.size] = patterns
    return dense


def _object(archive: Archive, threads: int | None, step: Step) -> Any:
    import torch

    tensors = archive.index.tensors
    dense = _dense(archive, threads, step)
    made: dict[int, Any] = {}

    def tensor(index: int) -> Any:
        if index not in made:
            patterns = np.require(dense[index], requirements=["W", "C"])
            flat = torch.from_numpy(patterns.view(f"i{patterns.dtype.itemsize}"))
            dtype = torch_dtype(tensors.dtype[index])
            result = (flat.to(torch.bool) if dtype == torch.bool else flat.view(dtype)).reshape(
                tensors.shape[index]
            )
            strides = tensors.strides.get(str(index))
            if strides is not None:
                strided = torch.empty_strided(tensors.shape[index], strides, dtype=dtype)
                result = strided.copy_(result)
            layout = tensors.layouts.get(str(index))
            made[index] = result if layout is None else sparse.restore(result, layout)
        return made[index]

    return fill(archive.index.tree, tensor)


def _write_safetensors(archive: Archive, file: Any, threads: int | None, step: Step) -> list[str]:
    """Stream the tensors to their places in a flat file."""
    tensors, places = archive.index.tensors, {}
    described = {}
    targets: dict[int, list[str]] = defaultdict(list)
    for name, index in archive.names:
        if name in described:
            raise InputError(f"{archive.path}: two tensors would be named '{name}'; unpack to .pt")
        described[name] = (DTYPES[tensors.dtype[index]], tuple(tensors.shape[index]))
        targets[index].append(name)
    header = header_bytes(described, archive.index.metadata or {"format": "pt"})
    offset = len(header)
    for name in storage_order({name: dtype for name, (dtype, _) in described.items()}):
        places[name] = offset
        offset += math.prod(described[name][1]) * described[name][0].itemsize
    file.write(header)
    for index, start, patterns in archive.read(threads, step):
        for name in targets[index]:
            file.seek(places[name] + start * patterns.dtype.itemsize)
            file.write(patterns.data)
    notes = list(archive.index.notes)
    tied = sum(len(names) - 1 for names in targets.values())
    if tied:
        notes.append(f"{tied} tied tensors are written twice: a safetensors file cannot share them; .pt can")
    if archive.index.tensors.strides:
        notes.append("memory layouts other than row-major are not kept in a safetensors file; .pt keeps them")
    if archive.index.tensors.layouts:
        notes.append(
            "sparse tensors are written dense: a safetensors file has no others; .pt keeps them sparse"
        )
    return notes
