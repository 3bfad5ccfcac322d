"""A disk that fills while torch writes a checkpoint is one line with the path and the system's words."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from sparse_export.cli import run
from sparse_export.errors import InputError
from sparse_export.exporter import archive
from sparse_export.training import checkpoints


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow beyond 8 kB: only inside the block, for the test's own output may be a longer file."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [3000, 300_000])
def test_checkpoint(size: int, tmp_path: Path) -> None:
    refused = rf"out.pt: cannot be written: {os.strerror(errno.EFBIG)}"
    with small_disk(), pytest.raises(InputError, match=refused):
        checkpoints.write(tmp_path / "out.pt", {"weight": torch.ones(size)})
    assert not list(tmp_path.iterdir())


def test_unpack_command_ends_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.from_numpy(np.arange(9000.0))}, tmp_path / "a.pt")
    archive.write(tmp_path / "a.pt", tmp_path / "a.packed.safetensors")
    for name in ("b.pt", "b.safetensors"):
        arguments = ["unpack", str(tmp_path / "a.packed.safetensors"), "-o", str(tmp_path / name)]
        with small_disk():
            assert run(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{name}: cannot be written: {os.strerror(errno.EFBIG)}" in line
    assert len(list(tmp_path.iterdir())) == 2
