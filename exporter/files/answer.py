"""What a sandboxed child may say: data and our own errors, nothing that runs when it is read.

The child has read a stranger's file and may be under its control, so its answer is unpickled with a list of
what it may name: plain data, numpy arrays, dataclasses and errors of this package.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
import sys
from typing import Any

from ...errors import SparseExportError

#: An answer is a verdict, names and a few arrays.
MAX_BYTES = 256 << 20

_ROOT = __package__.partition(".")[0]
_PLAIN = {
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "complex"),
    ("builtins", "slice"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
}


def pack(kind: str, value: Any) -> bytes:
    """`value` and what it is, as bytes; what cannot travel becomes its description."""
    try:
        return pickle.dumps((kind, value), protocol=5)
    except Exception as error:  # a lock, a session, a lambda: a defect of the caller, told as one
        return pickle.dumps(("foreign", f"{type(value).__name__} cannot be returned: {error}"), protocol=5)


def unpack(text: bytes) -> tuple[str, Any]:
    """The kind and the value that `pack` was given; "foreign" if the bytes name anything that is not data."""
    try:
        kind, value = _Reader(io.BytesIO(text)).load()
    except Exception as error:
        return "foreign", f"no usable answer: {type(error).__name__}: {error}"
    return str(kind), value


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        if (module == _ROOT or module.startswith(_ROOT + ".")) and "." not in name:
            found = vars(sys.modules[module]).get(name)  # imports nothing
            if isinstance(found, type) and found.__module__ == module and _is_data(found):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no data")


def _is_data(found: type) -> bool:
    return (
        issubclass(found, (SparseExportError, enum.Enum))
        or dataclasses.is_dataclass(found)
        or (issubclass(found, tuple) and hasattr(found, "_fields"))
    )
