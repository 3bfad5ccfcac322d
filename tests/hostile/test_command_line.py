"""Hostile files at the command line: one line, exit code 2, nothing written; options raise the limits."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from sparse_export import cli
from sparse_export.exporter.files import budget

from .builders import checkpoint_of, zipped
from .test_archive_lies import bomb
from .test_onnx_bombs import fill, many_small
from .test_pickles import doubling_lists
from .test_zip_containers import two_directories

FILES = {
    "bomb.packed.safetensors": bomb(),
    "directories.pt": two_directories(),
    "shared.pt": checkpoint_of(doubling_lists(60)),
    "empty.pt": zipped([(b"a/x", b"")]),
    "fill.onnx": fill().SerializeToString(),
}
COMMANDS = {
    "inspect": ["inspect", "{file}"],
    "export": ["{file}", "-o", "{folder}/out.onnx"],
    "dry run": ["{file}", "--dry-run"],
    "archive": ["{file}", "--archive", "-o", "{folder}/out.packed.safetensors"],
    "verify": ["verify", "{file}", "{file}"],
    "unpack": ["unpack", "{file}", "-o", "{folder}/out.pt"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("name", FILES)
def test_hostile_file_is_one_line_and_exit_code_2(
    tmp_path: Path, name: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if name.startswith("bomb") and "--archive" in command:
        pytest.skip("an archive is a safetensors file, and its chunks can be archived as any tensors")
    (tmp_path / name).write_bytes(FILES[name])
    code = cli.run([part.format(file=tmp_path / name, folder=tmp_path) for part in command])
    out, error = capsys.readouterr()
    assert code == 2 and out == ""
    assert " ".join(error.split()).count("error:") == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_max_dense_raises_what_a_file_may_expand_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.onnx"
    onnx.save(many_small(), path)
    assert cli.run(["inspect", str(path)]) == 2
    assert "--max-dense" in capsys.readouterr().err
    assert cli.run(["inspect", str(path), "--max-dense", "2"]) == 0
    assert budget.current() == budget.Budget()


def test_max_memory_raises_what_reading_may_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "many.pt"
    path.write_bytes(checkpoint_of(b"}X\x01\0\0\0a](" + b"]" * 400_000 + b"es"))
    with budget.raised(memory=20 << 20):
        assert cli.run(["inspect", str(path)]) == 2
        assert "--max-memory" in " ".join(capsys.readouterr().err.split())
        cli.run(["inspect", str(path), "--max-memory", "0.5"])
    assert "no model weights" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["export", "inspect", "verify", "unpack", "tune"])
@pytest.mark.parametrize("option", ["--max-dense", "--max-memory"])
def test_every_reading_command_has_the_limits(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command, "--help"]) == 0
    assert option in capsys.readouterr().out
    assert cli.run([command, "x", option, "-1"]) == 2
