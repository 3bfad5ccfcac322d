"""What the main command refuses: one line, no file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sparse_export
from sparse_export.cli import run

from .exports import ARCH, CSR, refuse


def test_refuses_a_report_over_an_existing_file_before_working(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = checkpoint.with_name("report.html")
    page.write_text("mine")
    assert "--force" in refuse([str(checkpoint), "--report", str(page), *CSR], capsys)
    assert page.read_text() == "mine" and not checkpoint.with_name("model.csr.onnx").exists()


def test_failed_verification_leaves_no_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(checkpoint.parent.iterdir())
    assert "over the tolerance" in refuse([str(checkpoint), "--rtol", "0", "--atol", "0", *CSR], capsys, 1)
    assert sorted(checkpoint.parent.iterdir()) == before


def test_refuses_nan_weight(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(checkpoint)
    state["2.weight_orig"][0, 0], state["2.weight_mask"][0, 0] = float("nan"), 1
    torch.save(state, checkpoint)
    before = sorted(checkpoint.parent.iterdir())
    assert "2.weight" in refuse([str(checkpoint), *CSR], capsys)
    assert sorted(checkpoint.parent.iterdir()) == before


def test_refuses_an_unknown_goal(checkpoint: Path) -> None:
    with pytest.raises(sparse_export.InputError, match="'size', 'speed' or 'memory'"):
        sparse_export.export(checkpoint, optimize="beauty")


def test_refuses_unknown_architecture_naming_the_three_ways(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse([str(checkpoint)], capsys)
    assert "--arch" in line and ".onnx" in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--layers", "nosuch*=csr"], "nosuch*"),
        (["--layers", "0.*=zip"], "zip"),
        (["--layers", "0.weight"], "GLOB=FORMAT"),
        (["--format", "zip"], "zip"),
        (["--input-shape", "1x-3"], "1x-3"),
        (["--rtol", "nan"], "nan"),
        (["--nosuch"], "--nosuch"),
    ],
)
def test_refuses_bad_options(
    arguments: list[str], word: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert word in refuse([str(checkpoint), *ARCH, *arguments], capsys)


def test_refuses_output_that_is_the_input(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # H67
    before = checkpoint.read_bytes()
    assert "overwrite the input" in refuse([str(checkpoint), "-o", str(checkpoint), "--force", *CSR], capsys)
    assert checkpoint.read_bytes() == before


def test_refuses_existing_output_without_force(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = checkpoint.with_name("model.csr.onnx")
    target.write_bytes(b"mine")
    assert "--force" in refuse([str(checkpoint), *CSR], capsys)
    assert target.read_bytes() == b"mine"
    assert run([str(checkpoint), "-q", "--force", *CSR]) == 0


def test_refuses_unwritable_output(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuse([str(checkpoint), "-o", str(checkpoint / "out.onnx"), *CSR], capsys)
    refuse([str(checkpoint), "-o", "/proc/out.onnx", *CSR], capsys)


def test_control_characters_in_names_cannot_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # H22
    line = refuse([str(tmp_path / "a\x1b[2J\nb.pt")], capsys)
    assert "\x1b" not in line
