"""The archive: every tensor of a checkpoint, bit for bit, near the entropy bound.

A valid safetensors file: one U8 tensor a chunk (`chunk0`, ...) and `index`, a zstd-coded JSON that says how
to read them (docs/format-spec.md). Chunks of about 8 MB are coded in parallel and written as they are
done, so memory does not grow with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..files import atomic
from .masks import drop_signs_of_zeros, fold
from .read import Archive, Report
from .source import open_source
from .unpacker import arrays, load, unpack
from .writer import Plan, write_file

__all__ = ["Report", "arrays", "default_target", "info", "is_archive", "load", "unpack", "write"]
Progress = Callable[[str, int, int], None]


def default_target(source: Path) -> Path:
    """`model.packed.safetensors` in the working directory, for any name of a checkpoint."""
    name = source.name
    for suffix in (".safetensors.index.json", ".index.json", source.suffix):
        if suffix and name.endswith(suffix):
            name = name[: -len(suffix)]
            break
    return Path(f"{name}.packed.safetensors")


def write(
    source: Path,
    out: Path | None = None,
    *,
    force: bool = False,
    fold_masks: bool = True,
    plain_zeros: bool = False,
    trust_checkpoint: bool = False,
    check: bool = True,
    threads: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Archive a checkpoint.

    Parameters
    ----------
    source
        `.pt`, `.pth`, `.safetensors`, or the `*.index.json` of sharded safetensors.
    out
        Target, `default_target(source)` if None.
    fold_masks
        Store `weight_orig` x `weight_mask` as `weight`; otherwise both as they are.
    plain_zeros
        Store -0.0, which weight x mask leaves behind, as 0: not bit for bit, but a bit a zero smaller.
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
    atomic.check_target(target, force=force, sources=[source])
    opened = open_source(source, trust_checkpoint=trust_checkpoint)
    if fold_masks:
        fold(opened)
    if plain_zeros:
        drop_signs_of_zeros(opened)
    with atomic.atomic_file(target, force=force, source=source) as file:
        plan = Plan(opened)
        write_file(file, plan, threads, progress)
        file.flush()
        if check:
            with Archive(Path(file.name)) as archive:
                for _ in archive.chunks(threads, lambda d, t: progress("verifying", d, t)):
                    pass
    with Archive(target) as archive:
        return archive.report()


def info(path: Path) -> Report:
    """Names, sizes and notes of an archive, from its index alone.

    Raises
    ------
    InputError
        If the file is no archive.
    CorruptFileError
        If it breaks a rule.
    """
    with Archive(Path(path)) as archive:
        return archive.report()


def is_archive(path: Path) -> bool:
    """Whether the first bytes of the file are those of an archive."""
    try:
        with Path(path).open("rb") as file:
            return b'"sparse-export archive"' in file.read(512)
    except OSError:
        return False
