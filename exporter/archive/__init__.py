"""The archive: every tensor of a checkpoint, losslessly, near the order-0 entropy.

A valid safetensors file: one U8 tensor a chunk (`chunk0`, ...) and `index`, a zstd-coded JSON that says how
to read them (docs/format-spec.md). Chunks of about 8 MB are coded in parallel and written as they are
done, so memory does not grow with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..files import shards
from ..files.atomic import atomic_file
from ..files.failures import ours
from ..files.targets import SourceFiles, check_target
from .contents import Contents
from .masks import drop_signs_of_zeros, fold
from .read import Archive
from .saved import open_saved
from .tree import leaves
from .unpacker import arrays, load, unpack
from .writer import Cutting, write_file

__all__ = ["Contents", "arrays", "default_target", "info", "is_archive", "load", "unpack", "write"]
Progress = Callable[[str, int, int], None]


def default_target(source: Path) -> Path:
    """`model.packed.safetensors` in the working directory, for any name of a checkpoint."""
    return Path(f"{shards.stem(source)}.packed.safetensors")


def write(
    source: Path,
    out: Path | None = None,
    *,
    force: bool = False,
    fold_masks: bool = True,
    exact_zeros: bool = False,
    trust_checkpoint: bool = False,
    check: bool = True,
    threads: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Contents:
    """Archive a checkpoint.

    Parameters
    ----------
    source
        `.pt`, `.pth`, `.safetensors`, the `*.index.json` of shards, or a folder that holds one of them.
    out
        Target, `default_target(source)` if None.
    fold_masks
        Store `weight_orig` x `weight_mask` as `weight`; otherwise both as they are.
    exact_zeros
        Keep the signs of a pruned weight's zeros too. They are left by weight x mask, cost a bit a zero, and
        no comparison of numbers sees them; everything else is kept bit for bit either way.
    check
        Decode the file that was written and compare every tensor's checksum with the source's before it gets
        its name.

    Raises
    ------
    InputError
        If the source cannot be read or the target not written.
    """
    source = Path(source)
    target = Path(out) if out is not None else default_target(source)
    sources = SourceFiles(source)
    check_target(target, force=force, sources=sources)
    with ours(source):
        opened = open_saved(source, trust_checkpoint=trust_checkpoint)
        leaves(opened.tree)  # refuses names that no archive may have
    if fold_masks:
        fold(opened)
    if not exact_zeros:
        drop_signs_of_zeros(opened)
    with atomic_file(target, force=force, sources=sources) as file:
        cutting = Cutting(opened)
        write_file(file, cutting, threads, progress)
        file.flush()
        with Archive(Path(file.name), trusted=True) as archive:
            if check:
                for _ in archive.chunks(threads, lambda d, t: progress("verifying", d, t)):
                    pass
            held = archive.contents()  # before the file has its name: afterwards nothing may fail
    return replace(held, path=target)


def info(path: Path) -> Contents:
    """Names, sizes and notes of an archive, from its index alone.

    Raises
    ------
    InputError
        If the file is no archive.
    CorruptFileError
        If it breaks a rule.
    """
    with Archive(Path(path)) as archive:
        return archive.contents()


def is_archive(path: Path) -> bool:
    """Whether the first bytes of the file are those of an archive."""
    try:
        with Path(path).open("rb") as file:
            return b'"sparse-export archive"' in file.read(512)
    except OSError:
        return False
