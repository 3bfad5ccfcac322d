"""One export in a process of its own, and what that process took."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_RUN = """
import re, sys
from sparse_export.cli import main
try:
    main(sys.argv[1:])
finally:
    status = open("/proc/self/status").read()
    print("VmHWM", re.search(r"VmHWM:\\s+(\\d+)", status)[1], file=sys.stderr)
"""

#: What Python, torch and onnxruntime take before there is a model.
BASE = 0.5e9
#: Of a checkpoint's bytes, and of an .onnx file's.
CHECKPOINT_TIMES, ONNX_TIMES = 3.0, 2.5


def bound(path: Path) -> float:
    """Bytes that exporting a file may take at its peak, without the sessions that prove it."""
    times = ONNX_TIMES if path.suffix == ".onnx" else CHECKPOINT_TIMES
    return BASE + times * path.stat().st_size


@dataclass(frozen=True)
class Run:
    """Peak resident bytes, seconds, and the files that were written."""

    peak: int
    seconds: float
    files: list[Path]


def export(source: Path, folder: Path, *options: str) -> Run:
    """`sparse-export SOURCE` with these options, into an empty folder.

    The proof's sessions are left out: what onnxruntime takes for a model is not the exporter's doing.
    """
    folder.mkdir()
    command = [sys.executable, "-c", _RUN, "export", str(source), "-o", str(folder / "out.onnx")]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--no-verify", "--quiet", *options], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    peak = int(done.stderr.rpartition("VmHWM ")[2].split()[0]) * 1024
    return Run(peak, seconds, sorted(folder.iterdir()))
