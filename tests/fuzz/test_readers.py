"""A few hundred mutated files of every kind in the gate; the million is `make fuzz-readers`."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sparse_export.exporter.files import sandbox

from . import readers, seeds
from .mutate import mutate

#: Cases of each kind: what a second or two reads.
CASES = {"pt2": 12, "export": 4, "onnx": 80, "packed": 40}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return seeds.make(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("kind", seeds.KINDS)
def test_seed_is_read(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    path = tmp_path / f"seed{readers.SUFFIXES.get(kind, '.onnx')}"
    path.write_bytes(files[kind])
    assert readers.outcome(kind, path) == "read"


@pytest.mark.parametrize("kind", seeds.KINDS)
def test_mutated_files_are_read_or_refused(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    counts: Counter[str] = Counter()
    path = tmp_path / f"case{readers.SUFFIXES.get(kind, '.onnx')}"
    with sandbox.here():
        for number in range(CASES.get(kind, 150)):
            path.write_bytes(mutate(kind, files[kind], random.Random(number)))
            counts[readers.outcome(kind, path)] += 1
    assert set(counts) <= {"read", "refused"} and counts["refused"] > 1


def test_run_counts_its_cases_and_finds_crashes_hangs_and_foreign_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def planted(kind: str, path: Path) -> None:
        number = int(path.read_bytes())
        if number == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 5:
            raise KeyError("foreign")

    def lines(kind: str, number: int, seed: bytes) -> bytes:
        return str(number).encode()

    said: list[str] = []
    monkeypatch.setattr(readers, "read", planted)
    monkeypatch.setattr(readers, "case", lines)
    monkeypatch.setattr(readers.seeds, "make", lambda folder: dict.fromkeys(seeds.KINDS, b""))
    result: dict[str, Any] = readers.run_cases(9, 1, 0, tmp_path / "found", said.append)
    assert result["cases"] == 9 and result["unguarded"] == 2
    whats = {finding["case"]: finding["what"] for finding in result["findings"]}
    assert whats[3] == "crash: exit code -11" and "KeyError" in whats[5]
    assert len(list((tmp_path / "found").iterdir())) == 2


def test_a_case_is_the_same_again(files: dict[str, bytes]) -> None:
    kind = readers.kind_of(12)
    assert readers.case(kind, 12, files[kind]) == readers.case(kind, 12, files[kind])
