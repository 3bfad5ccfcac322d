"""The options that the tests of `export` share, and a command that must be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparse_export.cli import run

HERE = Path(__file__).parents[1]
ARCH = ["--arch", f"{HERE / 'nets.py'}:small", "--input-shape", "1x64"]
CSR = ["--format", "csr", *ARCH]


def refuse(args: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Run a command that must fail with one clear line; return the line."""
    assert run(args) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("sparse-export: error: "), err
    return err
