"""What may be written where: decided before any work is done, and again when the file gets its name."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...text import shown
from . import shards

_MAX_NAME = 255


def check_target(target: Path, *, force: bool = False, sources: Iterable[Path] = ()) -> None:
    """Refuse a target that cannot be written.

    Parameters
    ----------
    sources
        Files that are read: the target may be none of them by any name, `force` or not.

    Raises
    ------
    InputError
        If the target is a source, exists without `force`, is no regular file, or its directory is
        missing or not writable.
    """
    name = shown(target)
    try:
        _check_name(target, name)
        found = target.exists()
        if found and any(_same_file(source, target) for source in sources):
            raise InputError(f"{name}: output would overwrite the input; choose another name with -o")
        if not target.parent.is_dir():
            raise InputError(
                f"{shown(target.parent)}: no such directory; create it or choose another place with -o"
            )
        if target.is_dir():
            raise InputError(f"{name}: is a directory; give a file name with -o")
        if found and not target.is_file():
            raise InputError(f"{name}: is not a regular file")
        if (found or target.is_symlink()) and not force:
            raise InputError(f"{name}: exists; use --force to overwrite it")
    except OSError as error:
        raise InputError(f"{name}: cannot be written: {error.strerror}") from error
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{shown(target.parent)}: directory is not writable")


def _check_name(target: Path, name: str) -> None:
    try:
        encoded = os.fsencode(target)
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: not a usable file name") from error
    if b"\0" in encoded or not target.name:
        raise InputError(f"{name}: not a usable file name")
    if len(os.fsencode(target.name)) > _MAX_NAME:
        raise InputError(f"{shown(target.name)[:40]}…: file name is longer than {_MAX_NAME} bytes")


def check_targets(
    targets: Mapping[str, Path | None], *, force: bool = False, sources: Iterable[Path] = ()
) -> None:
    """`check_target` for several files of one command, of which no two may be the same.

    Parameters
    ----------
    targets
        Option to file; None is an option that was not given.

    Raises
    ------
    InputError
        See `check_target`; also when two options name one file.
    """
    given = {option: path for option, path in targets.items() if path is not None}
    for path in given.values():
        check_target(path, force=force, sources=sources)
    for (one, first), (other, second) in itertools.combinations(given.items(), 2):
        if _same_place(first, second):
            raise InputError(f"{shown(second)}: {one} and {other} name the same file; give each its own")


class SourceFiles(Iterable[Path]):
    """Every file that reading `path` reads: external data of a model, shards of an index, code of `arch`.

    The further files are looked up when first asked for, which is where a target exists. What cannot be read
    names none; whoever reads it next says what is wrong with it.
    """

    def __init__(self, path: Path, arch: str | None = None) -> None:
        self.path, self.arch = path, arch

    def __iter__(self) -> Iterator[Path]:
        yield self.path
        if self.arch and ":" in self.arch:
            yield Path(self.arch.rpartition(":")[0])
        yield from self._named

    @functools.cached_property
    def _named(self) -> list[Path]:
        names: Iterable[str] = ()
        with contextlib.suppress(Exception):
            if self.path.suffix.lower() == ".onnx" and self.path.is_file():
                names = _external_locations(self.path)
            else:
                return [path for path in shards.files(self.path) if path != self.path]
        return [self.path.parent / name for name in sorted(names) if "\0" not in name]


def _external_locations(path: Path) -> set[str]:
    from . import held, streamed

    found = (tensor for tensor in _tensors(streamed.skeleton(path)) if not held.is_held(tensor))
    entries = (entry for tensor in found for entry in tensor.external_data)
    return {entry.value for entry in entries if entry.key == "location"}


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto inside a protobuf message, wherever it is."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in [value] if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield item
            else:
                yield from _tensors(item)


def _same_file(source: Path, target: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return source.samefile(target)
    return False


def _same_place(first: Path, second: Path) -> bool:
    """Whether two names, existing or not, lead to one file."""
    places = {os.path.normcase(os.path.realpath(path)) for path in (first, second)}
    return len(places) == 1 or _same_file(first, second)
