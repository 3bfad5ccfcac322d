"""Exporting takes a few times the weights, whatever becomes of them; `make memory-test`: large ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .measured import bound, export
from .sources import linear_checkpoint, matmul_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")


def test_a_checkpoint_of_100_mb_stays_within_the_bound(tmp_path: Path) -> None:
    source, arch = linear_checkpoint(tmp_path, 5000, 1)
    run = export(source, tmp_path / "out", "--format", "auto", "--arch", arch, "--input-shape", "1x5000")
    assert run.peak <= bound(source)


def test_a_model_of_100_mb_stays_within_the_bound(tmp_path: Path) -> None:
    source = matmul_model(tmp_path / "net.onnx", 5000, 1)
    run = export(source, tmp_path / "out", "--format", "auto")
    assert run.peak <= bound(source)
