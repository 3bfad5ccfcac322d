"""Kills and faults at every system call of every writer: python -m tests.crash.every_call --help.

After each case every file must be the old one or the new one, whole; the exit code must fit; and the next run
must leave exactly what an undisturbed run leaves.
"""

from __future__ import annotations

import argparse
import errno
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from sparse_export.exporter.files import temporary

from . import process
from .process import FAIL_ON, FAIL_ONCE, KILL_AFTER, KILL_BEFORE, KILLED, SHORT_ON, Fault
from .scenarios import SCENARIOS, Scenario, make_sources

KILLS = [(KILL_BEFORE, 0), (KILL_AFTER, 0)]
FAULTS = [
    (FAIL_ONCE, errno.EIO),
    (FAIL_ONCE, errno.ENOSPC),
    (FAIL_ON, errno.ENOSPC),
    (FAIL_ON, errno.EIO),
    (SHORT_ON, 0),
    (FAIL_ONCE, errno.EINTR),
]
Files = dict[str, bytes]


@dataclass
class Stage:
    """A scenario with its files: what it finds, and what it leaves when nothing happens."""

    scenario: Scenario
    folder: Path
    before: Path
    old: Files
    new: Files
    calls: int

    @classmethod
    def set(cls, scenario: Scenario, root: Path) -> Stage:
        """Prepare the files, run once undisturbed, count the system calls."""
        before, folder = root / "before", root / "case"
        for old in (before, folder):
            shutil.rmtree(old, ignore_errors=True)
        before.mkdir()
        process.warm_up([lambda: scenario.prepare(before)], root)
        shutil.copytree(before, folder)
        process.warm_up([scenario.command(folder)], root)
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        clean = process.forked(scenario.command(folder), folder)
        assert clean.code == 0, f"{scenario.name}: {clean.said}"
        return cls(scenario, folder, before, contents(before), contents(folder), clean.calls)

    def reset(self) -> None:
        """Put the files there again that the command finds."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.before, self.folder)


@dataclass
class Findings:
    """What was run and what was wrong."""

    kills: int = 0
    faults: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    left_over: int = 0
    wrong: list[str] = field(default_factory=list)


def contents(folder: Path) -> Files:
    """Name to bytes of every file."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def cases(stage: Stage, seed: int) -> Iterator[Fault]:
    """Two kills and two faults at each system call; the kinds of faults take turns over calls and seeds."""
    for at in range(1, stage.calls + 1):
        turn = (at + seed) % (len(FAULTS) // 2)
        for action, code in [*KILLS, *FAULTS[turn :: len(FAULTS) // 2]]:
            yield Fault(action, at, code)


def run_case(stage: Stage, fault: Fault, findings: Findings) -> None:
    """One fault, the state it leaves, the next run, the state that leaves."""
    stage.reset()
    outcome = process.forked(stage.scenario.command(stage.folder), stage.folder, fault)
    killing = fault.action in (KILL_BEFORE, KILL_AFTER)
    findings.kills += killing
    findings.faults += not killing
    findings.codes[outcome.code] += 1
    found = contents(stage.folder)
    problems = [*_whole(stage, found), *_fits(stage, fault, outcome, found)]
    findings.left_over += bool(set(found) - set(stage.old) - set(stage.new))
    again = process.forked(stage.scenario.command(stage.folder, "--force"), stage.folder)
    if again.code != 0:
        problems.append(f"the next run ended with {again.code}: {again.said.strip()}")
    else:
        after = contents(stage.folder)
        problems += [f"after the next run: {text}" for text in _whole(stage, after)]
        if set(after) != set(stage.new):
            problems.append(f"the next run left {sorted(after)}, not {sorted(stage.new)}")
        stale = [name for name in stage.new if not _is_new(stage, after, name)]
        problems += [f"the next run left an old {name}" for name in stale]
    findings.wrong += [f"{stage.scenario.name}, {fault}: {text}" for text in problems]


def _whole(stage: Stage, found: Files) -> Iterator[str]:
    """Every file is as it was or as it should be, and every model has its data."""
    for name, data in found.items():
        if temporary.NAME.fullmatch(name):
            continue
        if name not in stage.old and name not in stage.new and not name.endswith(".resume"):
            yield f"{name} came from nowhere"
        elif not _is_old(stage, found, name) and not _is_new(stage, found, name):
            yield f"{name} is neither the old nor the new one ({len(data)} bytes)"
        if name.endswith(".onnx"):
            yield from _dangling(name, data, found)
    missing = [name for name in stage.old if name in stage.new and name not in found]
    yield from (f"{name} is gone" for name in missing)


def _dangling(name: str, data: bytes, found: Files) -> Iterator[str]:
    model = onnx.ModelProto.FromString(data)
    entries = (e for tensor in model.graph.initializer for e in tensor.external_data if e.key == "location")
    yield from (f"{name} refers to {value}" for value in {e.value for e in entries} if value not in found)


def _is_old(stage: Stage, found: Files, name: str) -> bool:
    return stage.old.get(name) == found.get(name)


def _is_new(stage: Stage, found: Files, name: str) -> bool:
    data, new = found.get(name), stage.new.get(name)
    if data is None:
        return False
    if name.endswith(".html"):  # it says how long the export took
        whole = data.startswith(b"<!doctype html>") and data.endswith(b"</html>")
        return whole and data != stage.old.get(name)
    return data == new or name.endswith(".resume")


def _fits(stage: Stage, fault: Fault, outcome: process.Ending, found: Files) -> Iterator[str]:
    """The exit code says what happened, in one line of ours where it is not 0."""
    if outcome.code == 0:
        if not all(_is_new(stage, found, name) for name in stage.new):
            yield "exit code 0, but not everything was written"
        return
    if fault.action in (KILL_BEFORE, KILL_AFTER):
        if outcome.code != KILLED:
            yield f"exit code {outcome.code} of a killed process"
        return
    lines = outcome.said.strip().splitlines()
    if outcome.code != 2 or len(lines) != 1 or not lines[0].startswith("sparse-export: error: "):
        yield f"exit code {outcome.code}, said: {outcome.said.strip()[-300:]}"
    elif fault.code and os.strerror(fault.code) not in lines[0]:
        yield f"does not say '{os.strerror(fault.code)}': {lines[0]}"
    elif str(stage.folder) not in lines[0]:
        yield f"does not say which file: {lines[0]}"


def run_rounds(
    kills: int, faults: int, root: Path, only: str = "", stride: int = 1, first: int = 0
) -> Findings:
    """At least so many kills and faults, in rounds over all scenarios with models of other sizes.

    Parameters
    ----------
    stride
        Take every so many-th case of a scenario.
    first
        Seed of the first round: two runs of stride 2 that begin with 0 and 1 share the work of one.
    """
    findings = Findings()
    scenarios = [scenario for scenario in SCENARIOS if only in scenario.name]
    for seed in itertools.count(first):
        sources = root / "sources"
        shutil.rmtree(sources, ignore_errors=True)
        process.warm_up([functools.partial(make_sources, sources, seed)], root)
        for scenario in scenarios:
            if seed > first and findings.kills >= kills and findings.faults >= faults:
                return findings
            stage = Stage.set(scenario, root)
            for fault in itertools.islice(cases(stage, seed), seed % stride, None, stride):
                run_case(stage, fault, findings)
            _progress(stage, findings)
    raise AssertionError


def _progress(stage: Stage, findings: Findings) -> None:
    done = f"{findings.kills} kills, {findings.faults} faults, {len(findings.wrong)} wrong so far"
    print(f"{stage.scenario.name}: {stage.calls} calls; {done}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the rounds; the exit code is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="crash-test", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--stride", type=int, default=1, help="take every so many-th case")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--json", type=Path, help="write the result there")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crash-") as root:
        findings = run_rounds(given.kills, given.faults, Path(root), given.only, given.stride, given.seed)
    result = {
        "kills": findings.kills,
        "faults": findings.faults,
        "exit_codes": {str(code): number for code, number in sorted(findings.codes.items())},
        "left_something_for_the_next_run": findings.left_over,
        "wrong": findings.wrong,
        "seconds": round(time.monotonic() - started),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 1 if findings.wrong else 0


def start() -> int:
    """Build the shim and run `main` in a Python that has it preloaded."""
    if os.environ.get("SPARSE_EXPORT_SHIM"):
        return main()
    with tempfile.TemporaryDirectory(prefix="shim-") as folder:
        library = process.build_shim(Path(folder))
        if library is None:
            print("crash-test: needs Linux and a C compiler (cc, or CC)", file=sys.stderr)
            return 77
        environment = process.preloaded_environment(library) | {"SPARSE_EXPORT_SHIM": str(library)}
        command = [sys.executable, "-m", "tests.crash.every_call", *sys.argv[1:]]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(start())
