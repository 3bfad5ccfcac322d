"""A function of ours on untrusted bytes, in a forked child that can neither hang nor eat the machine.

The child has limits on its address space, processor time, stack and core file. Its small result, or its
error, comes back over a pipe; its death by a signal, by memory or by time becomes one line. One that hangs
is asked again.

NOTES
-----
Without `os.fork` (Windows) the function runs in this process: the checks of the readers still hold, the last
line of defence does not. Inside a child another `run` stays in it, under the limits that are in force.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

from ...errors import CorruptFileError, SparseExportError
from ...text import shown
from . import answer

ResultT = TypeVar("ResultT")

#: Deep recursion in a library ends here, as it would in a shell's default.
_STACK = 8 << 20
#: Waiting is not working: a busy machine gets this much more on the clock than on the processor.
_PATIENCE = 5.0
#: Asleep for so many seconds, a child waits for what nobody will do: free a lock that another thread held
#: when it was forked. A fresh child is asked, once.
_IDLE = 10.0
_inside = False


def run(
    function: Callable[..., ResultT],
    *arguments: Any,
    memory: int,
    seconds: float,
    subject: object = "the file",
    doing: str = "reading it",
    **options: Any,
) -> ResultT:
    """What ``function(*arguments, **options)`` returns, worked out in a child under limits.

    Parameters
    ----------
    memory : int
        Bytes of address space on top of what this process already has.
    seconds : float
        Processor time; the clock may show twice as much, and five seconds.
    subject, doing : object, str
        The file and what is done with it, for messages.

    Returns
    -------
    object
        Numbers, text, containers of them, numpy arrays and dataclasses of this package; see `answer`.

    Raises
    ------
    SparseExportError
        The function's own, as it was raised.
    CorruptFileError
        If the child died, took more than it may, or failed in a way that is none of ours.
    """
    limits = _Limits(memory, seconds, shown(subject), doing)
    if _inside or not hasattr(os, "fork"):
        return _in_process(function, arguments, options, limits)
    kind, value, status = _ask_child(function, arguments, options, limits)
    if kind == "idle":
        kind, value, status = _ask_child(function, arguments, options, limits)
    if kind == "result":
        return cast("ResultT", value)
    raise _error(kind, value, status, limits)


@contextlib.contextmanager
def here() -> Iterator[None]:
    """Let `run` run in this process: for a program that is itself a child under limits, such as fuzzing."""
    global _inside
    before, _inside = _inside, True
    try:
        yield
    finally:
        _inside = before


@dataclass(frozen=True)
class _Limits:
    memory: int
    seconds: float
    subject: str
    doing: str

    @property
    def clock(self) -> float:
        """Seconds to wait for the child."""
        return 2 * self.seconds + _PATIENCE


def _ask_child(
    function: Callable[..., Any], arguments: Any, options: Any, limits: _Limits
) -> tuple[str, Any, int]:
    """What a child says: the kind of its answer, the answer, its exit code."""
    reading, writing = os.pipe()
    pid = _fork()
    if pid == 0:
        os.close(reading)
        _child(writing, function, arguments, options, limits)
    os.close(writing)
    trouble: str | None = "late"
    try:
        text, trouble = _receive(reading, pid, limits.clock)
    finally:
        os.close(reading)
        status = _end(pid, kill=trouble is not None)
    if trouble:
        return trouble, None, 0
    return (*(answer.unpack(text) if text else ("died", None)), status)


def _in_process(function: Callable[..., ResultT], arguments: Any, options: Any, limits: _Limits) -> ResultT:
    try:
        return function(*arguments, **options)
    except SparseExportError:
        raise
    except MemoryError as error:
        raise _error("memory", None, 0, limits) from error
    except Exception as error:
        raise _error("foreign", f"{type(error).__name__}: {error}", 0, limits) from error


def _fork() -> int:
    """As `os.fork`; in the child the parent's garbage is never collected.

    What finalizes it may wait for threads that the child does not have, and so may an import: what the child
    needs itself is imported here.
    """
    import faulthandler  # noqa: F401
    import resource  # noqa: F401
    import warnings

    import psutil  # noqa: F401

    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            # Of other threads: the child starts none of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            gc.freeze()
    finally:
        if collecting:
            gc.enable()
    return pid


def _child(
    writing: int, function: Callable[..., Any], arguments: Any, options: Any, limits: _Limits
) -> NoReturn:
    """Run in the child: never returns, says nothing, runs no exit handler of the parent."""
    global _inside
    _inside = True
    try:
        _put_in_force(limits)
        try:
            text = answer.pack("result", function(*arguments, **options))
        except SparseExportError as error:
            text = answer.pack("error", error)
        except MemoryError:
            text = answer.pack("memory", None)
        except RecursionError:
            text = answer.pack("depth", None)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = answer.pack("foreign", f"{type(error).__name__}: {error} ({where.name}:{where.lineno})")
        view = memoryview(text)
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def _put_in_force(limits: _Limits) -> None:
    """Put the limits in force and take what the parent had set up out of force."""
    import faulthandler
    import resource

    import psutil

    faulthandler.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.clock + _PATIENCE)  # also when the parent is gone
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # the parent's threads are not here: waiting for them would be for ever
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(limits.seconds) + 1,
        resource.RLIMIT_STACK: _STACK,
        resource.RLIMIT_AS: psutil.Process().memory_info().vms + limits.memory,
    }
    for limit, value in wanted.items():
        _, hard = resource.getrlimit(limit)
        with contextlib.suppress(ValueError, OSError):  # a system that does not know it
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _receive(reading: int, pid: int, seconds: float) -> tuple[bytes, str | None]:
    """What the child wrote, and "late" if it took too long or wrote too much, "idle" if it hangs."""
    parts: list[bytes] = []
    size, end = 0, time.monotonic() + seconds
    worked = _processor_seconds(pid)
    while size <= answer.MAX_BYTES:
        left = max(0.0, end - time.monotonic())
        ready, _, _ = select.select([reading], [], [], min(left, _IDLE))
        if not ready:
            before, worked = worked, _processor_seconds(pid)
            if worked is not None and worked == before:
                return b"", "idle"
            if left <= _IDLE:
                return b"", "late"
            continue
        part = os.read(reading, 1 << 20)
        if not part:
            return b"".join(parts), None
        parts.append(part)
        size += len(part)
    return b"", "late"


def _processor_seconds(pid: int) -> float | None:
    """What a process has worked so far; None where it has ended, waits for a disk or for its turn."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_SLEEPING:
            return None
        used = process.cpu_times()
    except psutil.Error:
        return None
    return float(used.user + used.system)


def _end(pid: int, *, kill: bool) -> int:
    """Exit code of the child, negative for a signal."""
    if kill:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # SIGCHLD is ignored here: nobody can know
        return 0


def _error(kind: str, value: Any, status: int, limits: _Limits) -> SparseExportError:
    if kind == "error" and isinstance(value, SparseExportError):
        return value
    memory = (
        f"the limit of {max(1, limits.memory >> 20):,} MB for untrusted files; raise it with --max-memory"
    )
    seconds = f"{limits.seconds:g} s, the limit for untrusted files"
    if kind in ("late", "idle"):
        text = f"{limits.doing} was not done after {seconds}"
    elif kind == "depth":
        text = "nested too deeply to be read"
    elif kind == "foreign":
        text = f"{limits.doing} failed: {shown(value)}"
    elif status == -signal.SIGXCPU:
        text = f"{limits.doing} took more processor time than {seconds}"
    elif kind == "memory" or status == -signal.SIGKILL:
        text = f"{limits.doing} takes more memory than {memory}"
    else:
        name = signal.Signals(-status).name if status < 0 else f"code {status}"
        text = f"{limits.doing} ended a process with {name}: damaged, or over {memory}"
    return CorruptFileError(f"{limits.subject}: {text}")
