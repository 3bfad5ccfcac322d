"""A function on untrusted bytes: its result comes back, and its death is one line."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparse_export import InputError, UnsupportedError
from sparse_export.errors import CorruptFileError
from sparse_export.exporter.files import answer, sandbox
from sparse_export.notes import Note

MEMORY = 256 << 20


def run(function: Callable[..., Any], *arguments: Any, seconds: float = 20, **options: Any) -> Any:
    return sandbox.run(function, *arguments, memory=MEMORY, seconds=seconds, subject=Path("m.pt"), **options)


def refused(function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(CorruptFileError) as caught:
        run(function, *arguments, **options)
    message = str(caught.value)
    assert message.startswith("m.pt: ") and "\n" not in message and caught.value.exit_code == 2
    return message


def test_returns_what_the_function_returns() -> None:
    note = Note("info", "one line")
    assert run(lambda a, b=0: {"sum": (a + b, note)}, 2, b=3) == {"sum": (5, note)}
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert np.array_equal(run(lambda: array), array)


def test_runs_in_another_process_with_limits_in_force() -> None:
    def limits() -> Any:
        names = (resource.RLIMIT_CORE, resource.RLIMIT_AS, resource.RLIMIT_STACK)
        return os.getpid(), [resource.getrlimit(name)[0] for name in names]

    pid, (core, space, stack) = run(limits)
    assert pid != os.getpid() and core == 0 and 0 < space < 1 << 46 and stack == 8 << 20


@pytest.mark.parametrize("error", [InputError("say --arch"), UnsupportedError("a tar")])
def test_raises_our_own_errors_as_they_are(error: InputError) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=f"^{error}$"):
        run(fail)


def test_foreign_errors_become_ours() -> None:
    assert "reading it failed: KeyError: 'a'" in refused(lambda: {}["a"])
    assert "cannot be returned" in refused(lambda: lambda: 0)
    assert "no usable answer" in refused(lambda: open)


def test_memory_is_limited_and_the_option_is_named() -> None:
    assert "--max-memory" in refused(bytearray, 2 * MEMORY)
    assert "the limit of 256 MB" in refused(lambda: np.ones(MEMORY // 4))
    assert refused(torch.ones, MEMORY // 2)


def test_processor_time_and_waiting_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    def spin() -> None:
        while True:
            pass

    monkeypatch.setattr(sandbox, "_PATIENCE", 0.1)
    start = time.monotonic()
    assert "0.5 s" in refused(spin, seconds=0.5)
    assert "not done after 0.2 s" in refused(time.sleep, 60, seconds=0.2)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_death_by_a_signal_is_one_line(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert signal.Signals(number).name in refused(lambda: os.kill(os.getpid(), number))
    assert capfd.readouterr() == ("", "")


def test_endless_recursion_in_a_library_ends_the_child_alone() -> None:
    def nest() -> int:
        deep: Any = ()
        for _ in range(3_000_000):
            deep = (deep,)
        return hash(deep)

    assert "SIGSEGV" in refused(nest)


def test_is_silent_and_leaves_no_process_and_no_descriptor(capfd: pytest.CaptureFixture[str]) -> None:
    def shout() -> None:
        print("loud")
        print("louder", file=sys.stderr)
        os.write(1, b"!")

    before = len(list(Path("/proc/self/fd").iterdir()))
    run(shout)
    assert capfd.readouterr() == ("", "")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_run_inside_a_run_stays_in_the_child() -> None:
    def outer() -> bool:
        return run(os.getpid) == os.getpid()

    assert run(outer)


def test_runs_in_this_process_where_there_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    assert run(os.getpid) == os.getpid()
    assert "reading it failed: KeyError" in refused(lambda: {}["a"])


def test_torch_computes_in_the_child_after_it_did_here() -> None:
    expected = float((torch.ones(300, 300) @ torch.ones(300, 300)).sum())
    assert run(lambda: float((torch.ones(300, 300) @ torch.ones(300, 300)).sum())) == expected


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


@pytest.mark.parametrize(
    "text",
    [
        pickle.dumps(("result", Evil())),
        b"\x80\x04\x8c\x25sparse_export.exporter.files.sandbox\x8c\x03run\x93.",
        b"\x80\x04\x8c\x25sparse_export.exporter.files.sandbox\x8c\x09os.system\x93.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b"nothing",
    ],
)
def test_an_answer_cannot_run_code(text: bytes) -> None:
    kind, value = answer.unpack(text)
    assert kind == "foreign" and "no usable answer" in value


class Stuck:
    """Garbage, whose end would wait for ever where the threads that it waits for are not."""

    def __init__(self) -> None:
        self.itself, self.home = self, os.getpid()

    def __del__(self) -> None:
        while os.getpid() != self.home:
            time.sleep(60)


def test_garbage_of_the_parent_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_IDLE", 0.3)
    gc.disable()
    try:
        Stuck()
        assert run(gc.collect) >= 0
    finally:
        gc.enable()
    assert gc.get_freeze_count() == 0


def test_a_child_imports_nothing_for_itself() -> None:
    """Another thread may be importing the same at the fork, and never goes on in the child."""
    program = """
import sys
from sparse_export.exporter.files import sandbox
there = sandbox.run(lambda: list(sys.modules), memory=1 << 28, seconds=20)
print(*sorted(set(there) - set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_child_that_waits_for_ever_is_asked_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(times: int) -> int:
        asked = len(list(tmp_path.iterdir()))
        (tmp_path / str(asked)).touch()
        while asked < times:
            time.sleep(60)
        return asked

    monkeypatch.setattr(sandbox, "_IDLE", 0.3)
    assert run(hang, 1) == 1
    assert "was not done after 20 s" in refused(hang, 9)
    assert len(list(tmp_path.iterdir())) == 4
