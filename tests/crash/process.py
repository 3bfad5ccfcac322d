"""One command in a process forked from this warm one, with a fault armed in the preloaded shim.

NOTES
-----
torch, onnx and onnxruntime are imported once, here; a forked child needs milliseconds where a fresh Python
needs seconds. Nothing in this process may start their threads, which a fork would not take along.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
COUNT, KILL_BEFORE, KILL_AFTER, FAIL_ONCE, FAIL_ON, SHORT_ON = range(6)
KILLED = -9


@dataclass(frozen=True)
class Fault:
    """What happens at which system call of a writer; number 0 only counts."""

    action: int = COUNT
    at: int = 0
    code: int = 0

    def __str__(self) -> str:
        names = ("none", "kill before", "kill after", "fail once", "fail from", "short writes from")
        text = f"{names[self.action]} call {self.at}"
        return f"{text} with {errno.errorcode[self.code]}" if self.code else text


@dataclass(frozen=True)
class Ending:
    """How a command ended: exit code (-9: killed), what it said on stderr, calls counted."""

    code: int
    said: str
    calls: int


def build_shim(folder: Path) -> Path | None:
    """The compiled shim, or None where there is no compiler for it."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = folder / "shim.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, HERE / "shim.c", "-o", library, "-ldl"], check=True)
    return library


def preloaded_environment(library: Path) -> dict[str, str]:
    """Environment of a Python that runs the writers."""
    # One thread: pools of threads would not survive a fork.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "80"}
    return {**os.environ, **threads, "LD_PRELOAD": str(library)}


def warm_up(commands: list[Callable[[], int]], folder: Path) -> None:
    """Import here what the commands import, as children of this process show; they must succeed."""
    importlib.import_module("torch").set_num_threads(1)
    for command in commands:
        names = folder / "modules"

        def told(command: Callable[[], int] = command, names: Path = names) -> int:
            code = command()
            names.write_text("\n".join(sys.modules))
            return code

        outcome = forked(told, folder / "nowhere")
        assert outcome.code == 0, outcome.said
        for name in names.read_text().splitlines():
            if name not in sys.modules and not name.startswith("__"):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        names.unlink()


def forked(action: Callable[[], int], folder: Path, fault: Fault | None = None) -> Ending:
    """Run `action` in a child with the fault armed for `folder`."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as counted:
        child = os.fork()
        if child == 0:
            _run_in_child(action, folder, fault or Fault(), said.fileno(), counted.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        counted.seek(0)
        return Ending(code, said.read().decode(errors="replace"), int(counted.read() or 0))


def _run_in_child(action: Callable[[], int], folder: Path, fault: Fault, said: int, counted: int) -> None:
    code = 70
    with contextlib.suppress(BaseException):
        os.dup2(said, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        shim = ctypes.CDLL(None)
        shim.crash_count.restype = ctypes.c_long
        shim.crash_arm(os.fsencode(folder), ctypes.c_long(fault.at), fault.action, fault.code)
        code = action()
        sys.stdout.flush()
        sys.stderr.flush()
        calls = shim.crash_count()
        shim.crash_arm(b"", ctypes.c_long(0), COUNT, 0)
        os.write(counted, str(calls).encode())
    os._exit(code)
