"""The checkpoint itself archived, by either form of the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sparse_export.cli import run

from .exports import ARCH, refuse


def test_archive_gives_the_checkpoint_back(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, back = checkpoint.with_name("model.packed.safetensors"), checkpoint.with_name("back.pt")
    assert run([str(checkpoint), "--archive", "--no-fold"]) == 0
    assert "read back bit for bit" in capsys.readouterr().out
    assert run(["unpack", str(archive), "-o", str(back)]) == 0
    source, got = torch.load(checkpoint), torch.load(back)
    assert list(source) == list(got)
    assert all(source[name].numpy().tobytes() == got[name].numpy().tobytes() for name in source)


def test_archive_command_writes_what_the_short_form_does(checkpoint: Path) -> None:
    files = [checkpoint.with_name(name) for name in ("one.safetensors", "two.safetensors")]
    assert run(["archive", str(checkpoint), "-q", "-o", str(files[0])]) == 0
    assert run([str(checkpoint), "--archive", "-q", "-o", str(files[1])]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_archive_command_names_its_file_and_leaves_another_alone(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["archive", str(checkpoint), "--json", "--no-fold", "--exact-zeros"]) == 0
    assert json.loads(capsys.readouterr().out)["output"].endswith("model.packed.safetensors")
    assert "--force" in refuse(["archive", str(checkpoint)], capsys)
    assert "--arch" in refuse(["archive", str(checkpoint), *ARCH], capsys)


def test_archive_refuses_options_of_a_graph(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--arch does not apply" in refuse([str(checkpoint), "--archive", *ARCH], capsys)
    assert "--no-fold" in refuse([str(checkpoint), "--no-fold", *ARCH], capsys)
