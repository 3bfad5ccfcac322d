"""The scripts of benchmarks/ and docs/ as modules, working in a folder of the test."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """benchmarks/common.py; its models and results go to the test's folder."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = importlib.import_module("common")
    monkeypatch.setattr(module, "MODELS", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return module


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/results.py."""
    return importlib.import_module("tools.results")
