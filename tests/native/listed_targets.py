"""The instruction sets of the build's own list, for tests that have no library to ask."""

from __future__ import annotations

import re
from pathlib import Path

LIST = Path(__file__).resolve().parents[2] / "runtime" / "native" / "targets.cmake"
_ROWS = re.findall(r"^sparse_export(_neon)?_target\((\w+)(.*)", LIST.read_text(), re.MULTILINE)

#: In ascending order, of any processor, and of aarch64's own.
TARGETS = tuple(name for _, name, _ in _ROWS)
AARCH64 = tuple(name for neon, name, rest in _ROWS if neon or "PROCESSOR aarch64" in rest)
