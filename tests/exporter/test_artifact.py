"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sparse_export.errors import InputError
from sparse_export.exporter.files import atomic
from sparse_export.exporter.files.atomic import atomic_file


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as file:
        file.write(b"abc")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out").read_bytes() == b"abc"
    assert leftovers(tmp_path) == ["out"]


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(target, force=True) as file:
        file.write(b"new")
        raise RuntimeError
    assert target.read_bytes() == b"old" and leftovers(tmp_path) == ["out"]


def test_caller_can_reopen_before_the_name_is_taken(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as file:
        file.write(b"abc")
        file.flush()
        assert Path(file.name).read_bytes() == b"abc"


def test_refuses_existing_target_without_force(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(InputError, match="--force"), atomic_file(target):
        pass
    assert target.read_bytes() == b"old"


def test_refuses_output_that_is_the_input(tmp_path: Path) -> None:  # H67
    source = tmp_path / "model"
    source.write_bytes(b"weights")
    link = tmp_path / "link"
    link.hardlink_to(source)
    for target in (source, link):
        with (
            pytest.raises(InputError, match="overwrite the input"),
            atomic_file(target, force=True, source=source),
        ):
            pass
    assert source.read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/out", "no such directory"),
        ("folder", "is a directory"),
        ("x" * 256, "longer than 255"),
        ("fifo", "regular"),
    ],
)
def test_refuses_impossible_target(name: str, message: str, tmp_path: Path) -> None:  # H68
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    before = leftovers(tmp_path)
    with (
        pytest.raises((InputError, OSError), match=f"{message}|File name too long"),
        atomic_file(tmp_path / name),
    ):
        pass
    assert leftovers(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_refuses_read_only_directory(tmp_path: Path) -> None:  # H68
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="not writable"), atomic_file(tmp_path / "out"):
        pass
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["with space", "ünïcode", "-dash", "new\nline"])
def test_takes_unusual_names(name: str, tmp_path: Path) -> None:  # H68
    with atomic_file(tmp_path / name) as file:
        file.write(b"x")
    assert leftovers(tmp_path) == [name]


def test_respects_umask_and_keeps_mode_of_existing_target(tmp_path: Path) -> None:  # H75
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "new") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    with atomic_file(tmp_path / "new", force=True) as file:
        file.write(b"y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


@pytest.mark.parametrize("call", ["fsync", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_failed_system_call_leaves_nothing(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # H69, H70
    real = getattr(os, call)

    def fail(*args: object, **kwargs: object) -> object:
        if call == "open" and ".sparse-export-" not in str(args[0]):
            return real(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(InputError, match=os.strerror(code)), atomic_file(tmp_path / "out") as file:
        file.write(b"x")
    monkeypatch.undo()
    assert leftovers(tmp_path) == []


def test_file_size_limit_is_one_clear_error(tmp_path: Path) -> None:  # H69, H72
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from sparse_export.exporter.files.atomic import atomic_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with atomic_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'x' * 100000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True)
    assert "InputError" in done.stderr and "cannot be written" in done.stderr
    assert leftovers(tmp_path) == []


def test_kill_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:  # H71
    code = (
        "import os, sys; from pathlib import Path\n"
        "from sparse_export.exporter.files.atomic import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'x'); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=False)
    assert not (tmp_path / "out").exists()
    with atomic_file(tmp_path / "out") as file:  # the next run cleans up
        file.write(b"y")
    assert leftovers(tmp_path) == ["out"]
