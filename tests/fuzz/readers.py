"""Damaged files through every reader and the whole export, by the hundred thousand: `make fuzz-readers`.

Persistent workers read mutated files in their own process, without the child that guards a user: so what the
checks alone let through is seen. A case that ends a worker, takes more than 2 s of processor time or 500 MB,
or raises what is not ours, is read once more as a user would read it: if that gives one line, it counts as
guarded.

    python -m tests.fuzz.readers --cases 1000000
    python -m tests.fuzz.readers --only 1234 --kind pt       (one case again)
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import multiprocessing as mp
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_export.errors import InputError, SparseExportError
from sparse_export.exporter import api, archive, checkpoint
from sparse_export.exporter.files import sandbox
from sparse_export.quiet import quiet

from . import seeds
from .mutate import mutate

#: Of a thousand cases.
SHARES = {
    "safetensors": 240, "archive": 240, "pt": 260, "legacy": 80,
    "onnx": 110, "packed": 50, "pt2": 15, "export": 5,
}  # fmt: skip
SUFFIXES = {
    "safetensors": ".safetensors",
    "archive": ".safetensors",
    "pt": ".pt",
    "legacy": ".pt",
    "pt2": ".pt2",
}
SECONDS, BYTES = 2.0, 500 << 20
#: Without a word for so long a worker hangs.
SILENCE = 60.0
OUTSIDE = "outside the families"


def kind_of(number: int) -> str:
    """The kind of the case of that number."""
    return random.Random(number).choices(list(SHARES), list(SHARES.values()))[0]


def case(kind: str, number: int, seed: bytes) -> bytes:
    """The damaged file of that number."""
    return mutate(kind, seed, random.Random(number * 31 + 7))


def read(kind: str, path: Path) -> None:
    """Everything that a user could do with the file."""
    if kind == "export":
        api.export(path, output=path.with_name("out.onnx"), force=True)
    elif kind in ("onnx", "packed"):
        _ = checkpoint.load(path).onnx_model
        api.inspect(path)
    elif kind == "archive":
        archive.arrays(path, threads=1)
        archive.load(path, threads=1)
    else:
        checkpoint.load(path)


def outcome(kind: str, path: Path) -> str:
    """ "read", "refused", or what went wrong."""
    started = time.process_time()
    try:
        with quiet():
            read(kind, path)
        result = "read"
    except InputError as error:
        text = str(error)
        result = "refused" if text.isprintable() and len(text) < 4000 else f"not one line: {text[:80]!r}"
        if "--max-memory" in text or "more memory than there is" in text:
            result = "memory: refused only because there was none"
    except SparseExportError:
        result = "refused"  # a verification that failed
    except BaseException as error:
        result = f"{OUTSIDE}: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    spent = time.process_time() - started
    return result if spent <= SECONDS else f"time: {spent:.1f} s ({result})"


def work(link: Any, files: dict[str, bytes], folder: Path) -> None:
    """Read case after case until there are no more."""
    faulthandler.disable()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    import torch

    torch.set_num_threads(1)
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, now + BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with sandbox.here():
        while (number := link.recv()) is not None:
            kind = kind_of(number)
            path = folder / f"case{SUFFIXES.get(kind, '.onnx')}"
            path.write_bytes(case(kind, number, files[kind]))
            link.send(outcome(kind, path))


@dataclass
class Worker:
    """One process and the case it is at."""

    process: Any
    link: Any
    folder: Path
    number: int = -1
    since: float = 0.0


def start(context: Any, files: dict[str, bytes], folder: Path) -> Worker:
    """A fresh worker."""
    own = Path(tempfile.mkdtemp(dir=folder))
    mine, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, files, own), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, mine, own)


def guarded(kind: str, data: bytes, folder: Path) -> str:
    """What a user would see of the case: read in a fresh process, children under limits and all."""
    path = folder / f"again{SUFFIXES.get(kind, '.onnx')}"
    path.write_bytes(data)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            faulthandler.disable()
            result = outcome(kind, path)
            os._exit(0 if result in ("read", "refused") or result.startswith("memory") else 1)
        os._exit(2)
    return "guarded" if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 else "unguarded"


def run_cases(cases: int, workers: int, first: int, found: Path, say: Any) -> dict[str, Any]:
    """Run the cases; what was found lies in the folder `found`."""
    context = mp.get_context("fork")
    counts: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with quiet():
            files = seeds.make(folder)
        numbers = iter(range(first, first + cases))
        crew = [start(context, files, folder) for _ in range(workers)]
        active = [worker for worker in crew if give(worker, numbers)]
        while active:
            for worker in list(active):
                result = take(worker)
                if result is None:
                    continue
                kind = kind_of(worker.number)
                good = result in ("read", "refused")
                counts[f"{kind}: {result if good else result.partition(':')[0]}"] += 1
                if not good:
                    data = case(kind, worker.number, files[kind])
                    again = guarded(kind, data, folder)
                    findings.append({"kind": kind, "case": worker.number, "what": result, "user": again})
                    found.mkdir(parents=True, exist_ok=True)
                    (found / f"{kind}-{worker.number}").write_bytes(data)
                    say(f"{kind} {worker.number}: {result} ({again})")
                if not worker.process.is_alive():
                    fresh = start(context, files, folder)
                    active[active.index(worker)] = worker = fresh
                if not give(worker, numbers):
                    active.remove(worker)
            done = sum(counts.values())
            if done and done % 5000 < workers:
                say(f"{done:,} of {cases:,} cases, {done / (time.monotonic() - started):,.0f} a second")
        for worker in crew:
            worker.process.kill()
    seconds = time.monotonic() - started
    return {
        "cases": sum(counts.values()), "seconds": round(seconds), "counts": dict(sorted(counts.items())),
        "findings": findings, "unguarded": sum(f["user"] == "unguarded" for f in findings),
    }  # fmt: skip


def give(worker: Worker, numbers: Any) -> bool:
    """Hand the next case on; False if there is none."""
    number = next(numbers, None)
    with contextlib.suppress(BrokenPipeError):
        worker.link.send(number)
    worker.number, worker.since = (-1 if number is None else number), time.monotonic()
    return number is not None


def take(worker: Worker) -> str | None:
    """The outcome of the worker's case, or None if it is still at it."""
    try:
        if worker.link.poll(0.02):
            return str(worker.link.recv())
    except (EOFError, ConnectionResetError):
        worker.process.join(5)
        return f"crash: exit code {worker.process.exitcode}"
    if time.monotonic() - worker.since > SILENCE:
        worker.process.kill()
        worker.process.join(5)
        return f"hang: over {SILENCE:g} s"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="one case, in this process")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz-readers"))
    options = parser.parse_args()
    if options.only is not None:
        with tempfile.TemporaryDirectory() as name:
            files, kind = seeds.make(Path(name)), kind_of(options.only)
            path = Path(name) / f"case{SUFFIXES.get(kind, '.onnx')}"
            path.write_bytes(case(kind, options.only, files[kind]))
            with sandbox.here():
                print(kind, outcome(kind, path))
        return 0
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    result = run_cases(options.cases, options.workers, options.first, options.found, say)
    print(json.dumps(result, indent=1))
    return 1 if result["unguarded"] else 0


if __name__ == "__main__":
    sys.exit(main())
