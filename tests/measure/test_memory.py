"""Memory figures agree with the system's own."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_export.measure import memory
from sparse_export.measure.subjects import Options, from_paths, job

TIME = shutil.which("time", path="/usr/bin")


def test_parts_add_up() -> None:
    used = memory.status()
    assert used["peak"] >= used["rss"] >= used["anon"]
    assert used["rss"] >= used["file"]


def test_peak_can_start_again() -> None:
    block = bytearray(80 << 20)
    before = memory.status()["peak"]
    del block
    if not memory.reset_peak():
        pytest.skip("this kernel does not let a process reset its peak")
    assert memory.status()["peak"] < before - (40 << 20)


def test_freed_memory_that_the_allocator_keeps_is_not_counted() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc is told to return memory")
    blocks = [bytearray(b"1" * 60_000) for _ in range(1000)]
    filled = memory.status()["rss"]
    last = blocks.pop()  # lies above the others, so glibc cannot return them by itself
    blocks.clear()
    assert memory.settled()["rss"] < filled - (40 << 20)
    assert len(last) == 60_000


@pytest.mark.skipif(TIME is None, reason="/usr/bin/time is not installed (apt install time)")
def test_peak_agrees_with_usr_bin_time(models: dict[str, Path]) -> None:
    options = Options(rounds=1, warmup=1, min_runs=3, min_seconds=0)
    (subject,) = from_paths([models["allocating"]], None, None)
    done = subprocess.run(
        [str(TIME), "-v", sys.executable, "-P", "-m", "sparse_export.measure.worker"],
        input=json.dumps(job(subject, options, 1, 1, 0)),
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)["memory"]
    ours = max(measured["before"]["peak"], measured["end"]["peak"])
    found = re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)
    assert found
    assert ours == pytest.approx(int(found[1]) * 1024, rel=0.05)


def test_dropped_file_is_reported_as_gone_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    assert memory.drop_from_cache([path]) in (True, False)
    assert path.read_bytes() == bytes(1 << 20)
