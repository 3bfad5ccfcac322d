"""What the papers name is there, and what they say stands in one place does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAPERS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("runtime/native/**/*.md")]
#: Where a path in a paper may begin, and what it may leave out.
HOMES = (ROOT, ROOT / "runtime" / "native", ROOT / "exporter")
ROOMS = (
    "benchmarks|cli|core|docs|examples|exporter|formats|fuzz|kernels|measure|ops|ort|runtime|src|tests|tools"
    "|training"
)
#: Files of the examples in docs/adding.md, and a folder that has its place but is not there yet.
TO_COME = re.compile(r"\bNAME\b|[<>*{]|/cuda\b|/listed\b|_listed\b")
PACKAGE = ("cli", "exporter", "formats", "measure", "runtime", "src", "training")
#: What is done in one place alone.
ONCE = {
    r"onnxruntime\.InferenceSession\(": "runtime/stock.py",
    r"unicodedata\.category\(": "src/sparse_export/text.py",
}
ONCE_NATIVE = {
    r"y < T\{activation\.low\}": "core/epilogue.h",
    r"y < activation\.low": "core/epilogue_vector.h",
}


def named_paths(text: str) -> Iterator[str]:
    """Paths in backquotes that begin with a room."""
    for match in re.finditer(rf"`((?:{ROOMS})/[^`\s]+)`", text):
        if not TO_COME.search(match[1]):
            yield match[1].rstrip("/.,")


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_and_links_in_papers_lead_somewhere(paper: Path) -> None:
    text = paper.read_text()
    dead = [
        path
        for path in named_paths(text)
        if not any((home / path).exists() or (home / path).with_suffix(".py").exists() for home in HOMES)
        and not any(list(home.glob(f"{path}.*")) for home in HOMES)
    ]
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert dead + [link for link in links if not (paper.parent / link).exists()] == []


def holders(pattern: str, files: Iterator[Path], home: Path) -> list[str]:
    """The files that hold a pattern."""
    return sorted(
        {str(path.relative_to(home)) for path in files if re.search(pattern, path.read_text(), re.MULTILINE)}
    )


@pytest.mark.parametrize(("pattern", "place"), ONCE.items())
def test_the_package_does_it_in_one_place(pattern: str, place: str) -> None:
    files = (path for room in PACKAGE for path in (ROOT / room).rglob("*.py"))
    assert holders(rf"^[^\n#\"'`]*{pattern}", files, ROOT) == [place]


@pytest.mark.parametrize(("pattern", "place"), ONCE_NATIVE.items())
def test_the_epilogue_is_written_once_in_scalar_and_once_in_vector_form(pattern: str, place: str) -> None:
    native = ROOT / "runtime" / "native"
    files = (path for path in native.rglob("*") if path.suffix in {".cpp", ".h"})
    assert holders(pattern, files, native) == [place]
