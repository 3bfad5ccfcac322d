"""NaN, infinity, the range of 1-bit layers and batches behave as docs/operators.md says, on every target."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_export.runtime.session import library_path

from ..native.tables import TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", TARGETS)
def test_edges_are_as_documented(target: str) -> None:
    variables = {"SPARSE_EXPORT_TARGET": target, "SPARSE_EXPORT_LIBRARY": str(library_path())}
    command = [sys.executable, "-m", "tests.runtime.edges"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if "this CPU lacks it" in done.stderr:
        pytest.skip(f"this CPU has no {target}")
    assert done.returncode == 0, done.stderr
