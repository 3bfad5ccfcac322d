"""A model whose names carry escape codes, bidirectional marks and markup, through whatever prints."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from sparse_export.cli import run

from ..onnx_models import model, pruned

Said = Callable[..., str]

NASTY = "w\x1b]0;owned\x07\x1b[2J\u202ethgiew\u200b|[red]x[/nothing]<script>alert(1)</script>`*\r\n\u3164"
FORBIDDEN = "\x1b\x07\x9b\u202e\u200b\u3164\r"


@pytest.fixture
def onnx_file(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Names of everything that has one, and the file's own."""
    nodes = [
        helper.make_node("MatMul", ["X", NASTY], [f"{NASTY}1"], name=f"{NASTY}2"),
        helper.make_node("Relu", [f"{NASTY}1"], ["Y"], name=f"{NASTY}3"),
    ]
    made = model(nodes, {NASTY: pruned(rng, 64, 64)}, ["N", 64], 2)
    made.graph.name = made.producer_name = NASTY
    path = tmp_path / "m\x1b[31m\u202e[red]<b>|.onnx"
    onnx.save(made, path)
    return path


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs a command; everything it put on the terminal, also below Python."""

    def call(*arguments: str | Path, expect: int = 0) -> str:
        assert run([str(argument) for argument in arguments]) == expect
        captured = capfd.readouterr()
        return captured.out + captured.err

    return call


def assert_tame(text: str) -> None:
    assert not set(text) & set(FORBIDDEN)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def assert_tame_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert_tame(text)
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.seen and "thgiew" in text


def assert_tame_markdown(text: str) -> None:
    """Each row of a table has the cells of its head, and no markup of the name's own."""
    assert_tame(text)
    assert "<script" not in text.replace("\\<script", "")
    widths: list[int] = []
    for line in text.splitlines():
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else 0
        widths = [*widths, cells] if cells else []
        assert len(set(widths)) <= 1, line


def test_export_report_and_card(said: Said, onnx_file: Path, tmp_path: Path) -> None:
    page, card = tmp_path / "r.html", tmp_path / "c.md"
    assert_tame(said(onnx_file, "--format", "csr", "-v", "--report", page, "--card", card))
    assert_tame_page(page)
    assert_tame_markdown(card.read_text(encoding="utf-8"))
    packed = next(path for path in tmp_path.glob("*.csr.onnx"))
    assert_tame(said("inspect", packed))
    assert_tame(said("verify", onnx_file, packed))


def test_inspect_and_json(said: Said, onnx_file: Path) -> None:
    text = said("inspect", onnx_file)
    assert_tame(text)
    assert "\\x1b" in text and "\\u202e" in text
    assert_tame(said("inspect", onnx_file, "--json"))


def test_bench(said: Said, onnx_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "b.html"
    quick = ["--rounds", "1", "--warmup", "0", "--min-runs", "2", "--min-seconds", "0"]
    assert_tame(said("bench", onnx_file, *quick, "--html", page, "--csv", tmp_path / "b.csv"))
    assert_tame_markdown(said("bench", onnx_file, *quick, "-q", "--markdown", "-"))
    assert_tame((tmp_path / "b.csv").read_text(encoding="utf-8"))
    assert_tame_page(page)


def test_archive_inspect_and_unpack(said: Said, tmp_path: Path) -> None:
    source, packed = tmp_path / "s.pt", tmp_path / "s.packed.safetensors"
    torch.save({NASTY: torch.ones(64), "b\u202e": torch.zeros(3)}, source)
    assert_tame(said(source, "--archive", "-o", packed))
    assert_tame(said("inspect", packed))
    assert_tame(said("inspect", source))
    assert_tame(said("unpack", packed, "-o", tmp_path / "back.pt"))


def test_errors(said: Said, onnx_file: Path, tmp_path: Path) -> None:
    assert_tame(said(onnx_file, "--layers", f"{NASTY}=csr", "-o", tmp_path / "no\x1b[31m" / "x", expect=2))
    assert_tame(said("verify", onnx_file, tmp_path / "gone\u202e.onnx", expect=2))
    (tmp_path / "bad\x1b[2J.pt").write_bytes(b"\x80\x02nothing")
    assert_tame(said("inspect", tmp_path / "bad\x1b[2J.pt", expect=2))
