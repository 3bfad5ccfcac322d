"""Records of serialized messages, told apart without parsing them."""

from __future__ import annotations

import pytest

from sparse_export.exporter.files.wire import Malformed, head, records


def test_records_of_every_wire_type_are_told_apart() -> None:
    data = b"\x08\x96\x01" + b"\x11" + bytes(8) + head(3, 2) + b"ab" + b"\x25" + bytes(4)
    found = [(record.field, data[record.value : record.end]) for record in records(data, 0, len(data))]
    assert found == [(1, b"\x96\x01"), (2, bytes(8)), (3, b"ab"), (4, bytes(4))]
    assert b"".join(data[record.start : record.end] for record in records(data, 0, len(data))) == data


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_384, 70_000])
def test_a_head_is_read_as_it_was_written(length: int) -> None:
    data = head(5, length) + bytes(length)
    (record,) = records(data, 0, len(data))
    assert (record.field, record.end - record.value) == (5, length)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x08\xff",
        b"\x11\0",
        b"\x1a\x05ab",
        b"\x0b",
        b"\x0c",
        b"\x0e",
        b"\x08" + b"\xff" * 11,
        b"\x80",
    ],
)
def test_what_is_no_row_of_records_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(records(data, 0, len(data)))
