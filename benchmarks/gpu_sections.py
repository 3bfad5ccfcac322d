"""The sections of ``gpu.py``, each run as ``python -m gpu_sections NAME OUTPUT DEVICE [--small]``.

A section that cannot be run here leaves its reason in a file for the parent and ends with code 0; one that
fails leaves it too and ends with 1. Ctrl-C (the parent's clock) makes it write what it has.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from gpu_layers import run_layers
from gpu_nets import run_onnxruntime, run_resnet50, run_vgg11, run_vit
from gpu_sessions import run_sessions
from gpu_setting import ROOT, NotHereError, Setting

from sparse_export.errors import MissingDependencyError

#: Files with tests of a GPU.
TESTS = ("measure/test_cuda.py", "runtime/test_gpu_session.py")


def run_tests(setting: Setting) -> None:
    """The tests marked gpu, in pytest of their own."""
    if find_spec("pytest") is None:
        raise NotHereError("pytest is not installed")
    marked = ["-m", "gpu"] if setting.device == "cuda" else ["-k", "csr_variant"]
    options = ["-q", "-p", "no:cacheprovider", "-o", "timeout=90"]
    if find_spec("pytest_timeout") is None:
        options = options[:-2]
    files = [str(ROOT / "tests" / name) for name in TESTS]
    command = [sys.executable, "-m", "pytest", *files, *options]
    done = subprocess.run([*command, *marked], cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"pytest ended with code {done.returncode}")


RUNS: dict[str, Callable[[Setting], None]] = {
    "tests": run_tests,
    "layers": run_layers,
    "vgg11": run_vgg11,
    "vit": run_vit,
    "onnxruntime": run_onnxruntime,
    "sessions": run_sessions,
    "resnet50": run_resnet50,
}


def main() -> int:
    """Run one section; leave the reason where it did not get through."""
    parser = argparse.ArgumentParser()
    parser.add_argument("section", choices=RUNS)
    parser.add_argument("output", type=Path)
    parser.add_argument("device")
    parser.add_argument("--small", action="store_true")
    setting = parser.parse_args(namespace=Setting())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script starts with &
    try:
        RUNS[setting.section](setting)
    except KeyboardInterrupt:
        return 1
    except (Exception, SystemExit) as error:  # whatever it is, the parent shall know
        reason = str(error) or type(error).__name__
        (setting.output / f".{setting.section}.reason").write_text(reason)
        return 0 if isinstance(error, NotHereError | MissingDependencyError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
