"""What a name in a pickle stands for: a function of ours, a value, or nothing that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ....errors import InputError


class ForbiddenGlobal(InputError):
    """A pickle names something that is not data; `name` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, eq=False)
class Global:
    """A name in a pickle: `call` makes an object of its arguments, or `value` is one.

    `new` makes an empty instance, for pickles that give it its state afterwards.
    """

    name: str
    call: Callable[..., Any] | None = None
    value: Any = None
    new: Callable[..., Any] | None = None
