"""Rules for the entries of a zip that stores tensors: stored as they are, named alike by every reader."""

from __future__ import annotations

import re

from ...errors import CorruptFileError, UnsupportedError
from ...text import shown
from .zip_entries import FLAG_DESCRIPTOR, FLAG_UTF8, Entry

_NAME = re.compile(r"[^\x00-\x1f\x7f\\:/]+(?:/[^\x00-\x1f\x7f\\:/]+)*")


def prove_plain(entry: Entry, size: int, where: str) -> None:
    """Stored as it is: neither encrypted nor compressed, nor larger than the file of `size` bytes."""
    name = f"{where}: '{shown(entry.name)}'"
    if entry.flags & ~(FLAG_DESCRIPTOR | FLAG_UTF8):
        raise CorruptFileError(f"{name} is encrypted, patched or of a strange kind (flags {entry.flags:#x})")
    if entry.method:
        raise CorruptFileError(
            f"{name} is compressed ({entry.stored:,} to {entry.size:,} bytes); torch.save never does"
            " that, refusing to inflate it"
        )
    if entry.size != entry.stored or entry.offset + entry.size > size:
        raise CorruptFileError(
            f"{name} claims {entry.size:,} bytes at offset {entry.offset:,} of a file of {size:,}"
        )


def refuse_script(entries: list[Entry], where: str) -> None:
    """Refuse a TorchScript archive: its pickles are of another kind."""
    tails = [entry.name.partition("/")[2] for entry in entries]
    if "constants.pkl" in tails or any(tail.startswith("code/") for tail in tails):
        raise UnsupportedError(
            f"{where}: a TorchScript archive; save its weights with"
            " torch.save(torch.jit.load(FILE).state_dict(), 'state.pt') and give that"
        )


def prove_names(entries: list[Entry], where: str) -> None:
    """Names in one folder, each once whatever the case, that every reader spells alike."""
    seen: set[str] = set()
    root = entries[0].name.partition("/")[0]
    for entry in entries:
        folded = entry.name.casefold()
        if folded in seen:
            raise CorruptFileError(f"{where}: two zip entries are called '{shown(entry.name)}'")
        seen.add(folded)
        parts = entry.name.split("/")
        if not _NAME.fullmatch(entry.name) or len(entry.raw) > 1024 or {".", ".."} & set(parts):
            raise CorruptFileError(f"{where}: '{shown(entry.name)}' is no name for a zip entry")
        if len(parts) < 2 or parts[0] != root:
            raise CorruptFileError(
                f"{where}: a zip file without data.pkl in one folder, so not written by torch.save:"
                f" '{shown(entry.name)}'"
            )
