"""A handful of kills and faults; `make crash-test` does thousands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("scenario", ["pair over a pair with a copy", "archive over another"])
def test_no_kill_or_fault_tears_a_file_or_leaves_one(scenario: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    amount = ["--kills", "3", "--faults", "3", "--stride", "23"]
    program = [sys.executable, "-m", "tests.crash.every_call"]
    command = [*program, *amount, "--only", scenario, "--json", str(result)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    assert found["kills"] >= 3 and found["faults"] >= 3 and "-9" in found["exit_codes"]
