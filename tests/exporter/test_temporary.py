"""Temporary files say by their lock whether their writer lives."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sparse_export.errors import InputError
from sparse_export.exporter.files import temporary
from sparse_export.exporter.files.atomic import atomic_file

STALE = ".sparse-export-0123456789abcdef.tmp"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_another(folder: Path) -> None:
    with atomic_file(folder / "another", force=True) as file:
        file.write(b"x")


def test_unlocked_temporary_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    (tmp_path / STALE).write_bytes(b"half")
    write_another(tmp_path)
    assert names(tmp_path) == ["another"]


def test_live_temporary_survives_however_old_it_is(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as file:
        file.write(b"whole")
        os.utime(file.name, (0, 0))
        write_another(tmp_path)
    assert (tmp_path / "out").read_bytes() == b"whole"


@pytest.mark.parametrize(
    "name",
    [
        "0123456789abcdef.tmp",
        ".sparse-export-notes.tmp",
        f"{STALE}.bak",
        STALE.upper(),
    ],
)
def test_files_with_other_names_are_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"somebody's")
    write_another(tmp_path)
    assert names(tmp_path) == sorted([name, "another"])


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_what_is_no_file_of_ours_is_left_alone(kind: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    {
        "directory": lambda path: path.mkdir(),
        "fifo": os.mkfifo,
        "link": lambda path: path.symlink_to(precious),
    }[kind](tmp_path / STALE)
    write_another(tmp_path)
    assert STALE in names(tmp_path) and precious.read_bytes() == b"kept"


def test_child_that_outlives_a_killed_writer_does_not_keep_its_lock(tmp_path: Path) -> None:
    writer = os.fork()
    if writer == 0:
        with atomic_file(tmp_path / "out") as file:
            file.write(b"half")
            if os.fork() == 0:
                time.sleep(1.5)
                os._exit(0)
            os.kill(os.getpid(), 9)
    os.waitpid(writer, 0)
    write_another(tmp_path)
    assert names(tmp_path) == ["another"]


def test_directory_in_use_is_shared_and_keeps_others_from_having_it_alone(tmp_path: Path) -> None:
    with (
        temporary.directory_in_use(tmp_path),
        temporary.directory_in_use(tmp_path, seconds=0),
        temporary.directory_alone(tmp_path) as alone,
    ):
        assert alone is False
    with temporary.directory_alone(tmp_path) as alone:
        assert alone is True
        with pytest.raises(InputError, match="locked"), temporary.directory_in_use(tmp_path, seconds=0.05):
            pass
