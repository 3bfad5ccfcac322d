"""Two readers must not see two files in one: every zip that lets them is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from sparse_export.exporter import checkpoint
from sparse_export.exporter.files import zip_file

from .builders import EMPTY, central, checkpoint_of, end, local, name, records, refused, zipped

EVIL = b"\x80\x02}(X\x01\0\0\0a" + name("builtins", "bytearray") + b"J\x00\x94\x35\x77\x85Ru."


def two_directories() -> bytes:
    """Python's reader takes the last directory, torch's the one that the end points to."""
    good, evil = records(), records(EVIL)
    body = b""
    places = []
    for (label, data), (_, other) in zip(good, evil, strict=True):
        places.append((len(body), label, data, other))
        body += local(label, data)
        if data != other:
            body += local(label, other)
    first = b"".join(central(n, o, at) for at, n, _, o in places)
    second = b"".join(central(n, d, at) for at, n, d, _ in places)
    return body + first + second + end(len(places), len(first), len(body))


def with_gap() -> bytes:
    members = records()
    body, entries = b"", b""
    for label, data in members:
        entries += central(label, data, len(body))
        body += local(label, data) + b"gap!"
    return body + entries + end(len(members), len(entries), len(body))


def overlapping() -> bytes:
    members = records()
    body = local(*members[0])
    entries = b"".join(central(members[0][0][:-1] + bytes([c]), members[0][1], 0) for c in b"lk")
    return body + entries + end(2, len(entries), len(body))


def other_local_name() -> bytes:
    data = zipped(records())
    return data.replace(b"a/version", b"a/versioM", 1)


def uncounted_entry() -> bytes:
    members = records()
    body, entries = b"", b""
    for label, data in members:
        entries += central(label, data, len(body))
        body += local(label, data)
    return body + entries + end(len(members) - 1, len(entries), len(body))


def zip64(**changes: int) -> bytes:
    members = records()
    body, entries = b"", b""
    for label, data in members:
        entries += central(label, data, len(body))
        body += local(label, data)
    count, size, start = len(members), len(entries), len(body)
    field = {"count": count, "size": size, "start": start, "length": 44, "disk": 0} | changes
    end64 = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", field["length"], 45, 45, field["disk"], 0,
        field["count"], field["count"], field["size"], field["start"],
    )  # fmt: skip
    place = changes.get("place", start + size)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, place, 1)
    return body + entries + end64 + locator + end(count, size, start)


CASES = {
    "two directories": (two_directories(), "does not end where it should"),
    "data before": (b"junk" + zipped(records()), "a checkpoint|does not end where"),
    "another zip before": (zipped(records(EVIL)) + zipped(records()), "does not end where it should"),
    "an archive behind": (zipped(records()) + b"trailing", "something follows"),
    "a comment": (zipped(records())[:-2] + b"\x05\x00hello", "something follows|comment"),
    "a gap between": (with_gap(), "not at|belong to no entry"),
    "overlapping records": (overlapping(), "begins at 0|overlap"),
    "encrypted": (zipped(records(), flags=1), "encrypted, patched"),
    "patched": (zipped(records(), flags=0x20), "encrypted, patched"),
    "strongly encrypted": (zipped(records(), flags=0x41), "encrypted, patched"),
    "masked header": (zipped(records(), flags=0x2000), "encrypted, patched"),
    "descriptor that is missing": (zipped(records(), flags=8), "no proper record"),
    "deflated": (zipped(records(), method=8), "is compressed"),
    "unknown method": (zipped(records(), method=99), "is compressed"),
    "one name twice": (zipped([*records(), (b"a/version", b"9")]), "two zip entries are called"),
    "names that fold to one": (zipped([*records(), (b"a/DATA.PKL", EVIL)]), "two zip entries are called"),
    "name that is no text": (zipped([*records(), (b"a/\xff", b"")]), "not UTF-8"),
    "name that claims to be text": (zipped([*records(), (b"a/\xc3\x28", b"")], flags=0x800), "not UTF-8"),
    "name that climbs": (zipped([*records(), (b"a/../b", b"")]), "no name for a zip entry"),
    "name with a backslash": (zipped([*records(), (b"a/b\\c", b"")]), "no name for a zip entry"),
    "name with a control character": (zipped([*records(), (b"a/b\nc", b"")]), "no name for a zip entry"),
    "two folders": (zipped([*records(), (b"b/data.pkl", EVIL)]), "in one folder"),
    "a record that is none of torch's": (zipped([*records(), (b"a/readme", b"")]), "no record of torch.save"),
    "another name in its place": (other_local_name(), "another entry in the directory"),
    "an entry that is not counted": (uncounted_entry(), "does not count|does not end"),
    "no entries": (b"PK\3\4" + end(0, 0, 4), "empty|damaged"),
    "zip64 with other counts": (zip64(count=2), "two zip directories differ"),
    "zip64 with another start": (zip64(start=1), "two zip directories differ"),
    "zip64 elsewhere": (zip64(place=7), "not where it should be"),
    "zip64 of a strange length": (zip64(length=45), "unusual zip64"),
    "directory of four billion entries": (zip64(count=0xFFFFFFFF), "differ|entries"),
}


@pytest.mark.parametrize(("data", "what"), CASES.values(), ids=CASES)
def test_container_with_two_truths_is_refused(tmp_path: Path, data: bytes, what: str) -> None:
    import re

    path = tmp_path / "model.pt"
    path.write_bytes(data)
    message = refused(tmp_path, lambda: checkpoint.load(path))
    assert re.search(what, message), message


def test_plain_and_zip64_containers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for data in (zipped(records()), zip64()):
        path.write_bytes(data)
        with zip_file.ZipFile(path) as archive:
            assert archive.read("data.pkl") == EMPTY and archive.root == "a"


def test_members_are_read_where_the_directory_was_proved(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.arange(4.0)}, path)
    with zip_file.ZipFile(path) as archive:
        path.unlink()  # the file that was opened, not whatever has its name now
        path.write_bytes(checkpoint_of(b"}"))
        assert archive.read("data/0") == torch.arange(4.0).numpy().tobytes()
