"""What the built library says of itself: targets, kernels, operators. Nothing lists them a second time."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from typing import Any

from sparse_export.runtime.session import library_path


@dataclass(frozen=True)
class Operator:
    """One registered operator; ``x`` and ``y`` are ONNX element types of its first input and its output."""

    name: str
    kernel: str
    prefix: str
    layer: str
    suffix: str
    components: tuple[str, ...]
    x: int
    y: int

    @property
    def integers(self) -> bool:
        """Whether its activations are integers; F: those of Q, computed in floats."""
        return self.layer in ("QConv", "QMatMul", "FConv", "FMatMul")

    @property
    def conv(self) -> bool:
        """Whether it is a convolution, not a matrix product."""
        return self.layer.endswith("Conv")


def _load() -> dict[str, Any]:
    library = ctypes.CDLL(str(library_path()))
    library.SparseExportTables.restype = ctypes.c_char_p
    tables: dict[str, Any] = json.loads(library.SparseExportTables())
    return tables


_TABLES = _load()

#: Every target of the build in ascending order, and those that this CPU has.
TARGETS: tuple[str, ...] = tuple(target["name"] for target in _TABLES["targets"])
SUPPORTED: tuple[str, ...] = tuple(target["name"] for target in _TABLES["targets"] if target["supported"])
#: The targets that a kernel has tables of its own for.
KERNELS: dict[str, tuple[str, ...]] = {
    kernel["name"]: tuple(kernel["targets"]) for kernel in _TABLES["kernels"]
}
OPERATORS: tuple[Operator, ...] = tuple(
    Operator(**{**entry, "components": tuple(entry["components"])}) for entry in _TABLES["operators"]
)
