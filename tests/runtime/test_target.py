"""The instruction set that the cost model asks for is the one that the kernels use."""

from __future__ import annotations

import pytest

from sparse_export.errors import MissingDependencyError
from sparse_export.runtime import target
from sparse_export.runtime.session import library_path

from ..native.listed_targets import AARCH64, TARGETS

KNOWN = {"reference", *TARGETS}


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
    assert {"scalar", "avx2", "avx512"} <= set(TARGETS)
    assert set(AARCH64) == {name for name in TARGETS if name.startswith("neon")} != set()
