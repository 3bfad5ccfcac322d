"""What reading a stranger's file may cost: one place for every limit of every reader.

A file costs what it has: time goes with its bytes, and memory with what is kept of it. What a file only
declares (a shape, a count, a repeat) is charged before it is made. `--max-dense` and `--max-memory` raise
the two limits that an honest file can meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from ...errors import CorruptFileError, UnsupportedError

#: Bytes that reading may take beside three times what is kept.
SLACK = 200 << 20
#: Address space that libraries reserve and do not use: arenas, stacks, code.
_LIBRARIES = 100 << 20
#: A pickle beside its storages: 100,000 tensors take about 15 MB.
MAX_PICKLE = 64 << 20
#: The header of a safetensors file: 100,000 tensors take about 12 MB.
MAX_HEADER = 32 << 20
#: Entries of a zip: torch writes one a storage.
MAX_MEMBERS = 200_000
#: Opcodes of a pickle: about 45 a tensor, and one a number of a plain list.
MAX_OPCODES = 1_500_000
OPCODES_A_STORAGE = 100
#: How deep lists, dicts and tuples may lie in each other: whoever reads on takes a frame for each.
MAX_DEPTH = 200
#: Objects when what is shared is counted at every place it stands: so many, or so many times what is there.
MAX_EXPANDED = 100_000
MAX_GROWTH = 8
#: Keys of a dict whose hash an attacker can choose (tuples): a collision costs the square of them.
MAX_TUPLE_KEYS = 1_000
#: Characters of a tensor's name: the keys that lead to it, and of all names together.
MAX_NAME = 4096
MAX_NAMES = 64 << 20
#: JSON of an archive's index: so many bytes, or so many times what is stored.
INDEX_BYTES = 4 << 20
INDEX_TIMES = 32
#: Dimensions of a tensor, and the largest of them.
MAX_RANK = 64
MAX_DIMENSION = 1 << 48


#: What a file may become without being asked: so many bytes, or so many times its own.
GROWTH_BYTES = 64 << 20
GROWTH_TIMES = 1000
#: The same for tensors that lie on each other's bytes.
SHARED_TIMES = 3


@dataclass(frozen=True)
class Budget:
    """What reading one file may take.

    Attributes
    ----------
    dense : int or None
        Bytes of tensors that a file may expand to (constant tensors of an archive, sparse tensors, folded
        constants); None for `GROWTH_BYTES` or `GROWTH_TIMES` the file.
    memory : int
        Bytes that reading may take beside three times the file.
    seconds : float
        Processor time of a child that reads, beside what the size of the file earns.
    """

    dense: int | None = None
    memory: int = SLACK
    seconds: float = 20.0

    def address_space(self, size: int) -> int:
        """Bytes a child may take for a file of `size` bytes."""
        return self.memory + 3 * size + _LIBRARIES

    def time(self, size: int) -> float:
        """Seconds a child may take for a file of `size` bytes."""
        return self.seconds + size / 20e6

    def growth(self, size: int, times: int = GROWTH_TIMES) -> int:
        """Bytes of tensors that a file of `size` bytes may become."""
        return max(GROWTH_BYTES, times * size) if self.dense is None else self.dense

    def refuse_growth(self, total: int, size: int, where: str, times: int = GROWTH_TIMES) -> None:
        """Raise CorruptFileError unless a file of `size` bytes may become `total` bytes of tensors."""
        limit = self.growth(size, times)
        if total > limit:
            raise CorruptFileError(
                f"{where}: {size:,} bytes become {total:,} bytes of tensors, over the limit of {limit:,};"
                " raise it with --max-dense"
            )


_current: ContextVar[Budget] = ContextVar("budget", default=Budget())  # noqa: B039 (frozen)


def current() -> Budget:
    """The budget in force here."""
    return _current.get()


@contextmanager
def raised(dense: int | None = None, memory: int | None = None) -> Iterator[None]:
    """Other limits while the block runs; None leaves one as it is.

    Parameters
    ----------
    dense, memory : int
        Bytes, as in `Budget`.
    """
    budget = current()
    if dense is not None:
        budget = replace(budget, dense=dense)
    if memory is not None:
        budget = replace(budget, memory=memory, seconds=max(budget.seconds, memory / 20e6))
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)


class Purse:
    """Memory that objects made from a file may take, counted down as they are made."""

    def __init__(self, size: int, where: str) -> None:
        self.left = current().memory + size
        self.where = where

    def take(self, size: int) -> None:
        """Charge `size` bytes.

        Raises
        ------
        UnsupportedError
            If the file asks for more than it may.
        """
        self.left -= size
        if self.left < 0:
            raise UnsupportedError(
                f"{self.where}: its objects take more memory than the limit of {current().memory >> 20:,} MB;"
                " raise it with --max-memory"
            )
