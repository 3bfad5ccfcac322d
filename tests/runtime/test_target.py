"""The instruction set that the cost model asks for is the one that the kernels use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparse_export.errors import MissingDependencyError
from sparse_export.runtime import target
from sparse_export.runtime.session import library_path

# The build's own list: these tests run where no library is built, too.
LIST = Path(__file__).resolve().parents[2] / "runtime" / "native" / "targets.cmake"
KNOWN = {"reference", *re.findall(r"^sparse_export(?:_neon)?_target\((\w+)", LIST.read_text(), re.MULTILINE)}


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(target.VARIABLE, "avx2")
    assert target.kernel_target() == "avx2"


def test_the_library_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(target.VARIABLE, raising=False)
    try:
        library_path()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert target.kernel_target() in KNOWN


def test_without_a_library_the_processor_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(target.VARIABLE, raising=False)
    monkeypatch.setattr(target, "_by_library", lambda: None)
    assert target.kernel_target() in KNOWN


def test_the_list_of_the_build_is_read() -> None:
    assert {"scalar", "avx2", "avx512", "neon", "neondot"} <= KNOWN
