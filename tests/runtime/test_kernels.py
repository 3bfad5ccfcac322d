"""Every target this CPU has computes what float64 numpy computes, on random shapes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_export.runtime.session import library_path

from ..native.tables import KERNELS, TARGETS

PROGRAM = Path(__file__).parent / "random_layers.py"


def run_random_layers(target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Random layers under a forced target and the library this process would use."""
    variables = {"SPARSE_EXPORT_TARGET": target, "SPARSE_EXPORT_LIBRARY": str(library_path())}
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("target", ("reference", *KERNELS["f32_csr"]))
def test_target_agrees_with_float64(target: str) -> None:
    done = run_random_layers(target, "--cases", "50", "--seed", "20")
    if "this CPU lacks it" in done.stderr:
        pytest.skip(f"this CPU has no {target}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_unknown_target_is_an_error_that_lists_the_targets() -> None:
    done = run_random_layers("sse9", "--cases", "1")
    assert done.returncode != 0
    assert all(target in done.stderr for target in TARGETS)
