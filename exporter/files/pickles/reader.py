"""One pickle read: its operations run and counted, whatever goes wrong told as damage."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from ....errors import CorruptFileError, UnsupportedError
from ....text import shown
from .. import budget
from .machine import Machine
from .names import Global
from .opcodes import OPCODES, STOP
from .shape import prove_shape


class PickleReader(Machine):
    """One pickle at the start of `data`, from byte `start`.

    Parameters
    ----------
    table
        Globals by name.
    persistent
        What stands for a persistent id: a storage.
    build
        What an object becomes with a state (`object, state -> object`), or raises.
    opcodes
        At most so many.

    Raises
    ------
    ForbiddenGlobal
        If the pickle names what is not in the table.
    CorruptFileError
        If it is no pickle, or not one of data.
    """

    def __init__(
        self,
        data: bytes,
        where: str,
        table: Mapping[str, Global],
        persistent: Callable[[Any], Any],
        build: Callable[[Any, Any], Any],
        purse: budget.Purse,
        *,
        start: int = 0,
        opcodes: int = budget.MAX_OPCODES,
    ) -> None:
        super().__init__(data, where, table, persistent, build, purse, start)
        self.opcodes = opcodes

    def load(self) -> Any:
        """The object; `at` is then the first byte behind its pickle."""
        left, data, table = self.opcodes, self.data, OPCODES
        try:
            while True:
                code = data[self.at]
                self.at += 1
                if code == STOP:
                    return self._last()
                left -= 1
                if left < 0:
                    raise UnsupportedError(
                        f"{self.where}: its pickle has more than {self.opcodes:,} operations;"
                        " save only the state dict"
                    )
                table[code](self)
        except (IndexError, struct.error) as error:
            raise CorruptFileError(f"{self.where}: its pickle is damaged or ends too early") from error
        except KeyError as error:
            raise self.broken(f"operation {error} is none of a checkpoint's") from error
        except RecursionError:
            raise
        except (UnicodeDecodeError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            text = shown(" ".join(str(error).split()))  # torch's own are RuntimeErrors
            raise self.broken(text) from error

    def _last(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise self.broken("it leaves objects over")
        value = self.plain(self.stack.pop())
        prove_shape(value, self.where)
        return value
