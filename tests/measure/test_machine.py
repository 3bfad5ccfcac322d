"""The machine that figures are measured on, described."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sparse_export.measure import machine


def test_of_two_builds_of_onnxruntime_the_imported_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "onnxruntime_gpu-9.8.7.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 9.8.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "onnxruntime-gpu" not in machine.package_versions()
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    monkeypatch.setattr(
        machine, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "onnxruntime" / "__init__.py"))
    )
    found = machine.package_versions()
    assert found["onnxruntime-gpu"] == "9.8.7"
    assert "onnxruntime" not in found


def test_a_copy_of_the_runtime_in_front_of_the_path_has_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    monkeypatch.setattr(
        machine, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "onnxruntime" / "__init__.py"))
    )
    assert machine.package_versions()["onnxruntime"]
