"""What is coded together: streams, and the integers that it takes to read them back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .entropy import Bytes

#: Reads the next stream, given its size before coding.
Reader = Callable[[int], Bytes]


@dataclass(frozen=True)
class Segment:
    """Streams that are coded together, and the integers needed to read them back."""

    parameters: list[int]
    streams: list[bytes]

    @property
    def nbytes(self) -> int:
        return sum(map(len, self.streams))
