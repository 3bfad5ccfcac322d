"""The pages: self-contained, escaped, and really drawn by a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_export.measure.pages import card, charts, export_page, html

from .browser import CHROMIUM, visit

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (apt install chromium)"
)

REPORT: dict[str, Any] = {
    "source": "model.pt",
    "output": "model.csr.onnx",
    "format": "csr",
    "dense_bytes": 36_900_000,
    "packed_bytes": 4_600_000,
    "file_bytes": 4_640_000,
    "dense_file_bytes": 36_930_000,
    "gzip_bytes": 4_200_000,
    "zstd_bytes": None,
    "lab_bytes": 3_690_000,
    "layers": [
        {
            "name": f"features.{i}.weight",
            "op": "Conv",
            "shape": [64, 64, 3, 3],
            "nnz": 3686,
            "size": 36864,
            "density": 0.1,
            "format": "csr",
            "dense_bytes": 147456,
            "packed_bytes": 18000,
            "reason": "8.2x smaller at density 10.0%",
        }
        for i in range(12)
    ],
    "verification": {"max_abs": 1e-7, "inputs": 3, "passed": True, "top1_agreement": 1.0},
    "notes": [{"level": "warn", "text": "a note"}],
    "command": "sparse-export export model.pt",
    "versions": {"onnx": "1.23"},
}


def external_references(page: str) -> list[str]:
    """Everything in a page that would make a browser ask the network."""
    return re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[^\"')>\s]+|@import|<script", page)


def test_pages_load_nothing(document: dict[str, Any]) -> None:
    for page in (html.render_bench(document), export_page.render_export_report(REPORT)):
        assert external_references(page) == []
        assert "default-src 'none'" in page
        assert "prefers-color-scheme: dark" in page


def test_page_shows_models_command_and_machine(document: dict[str, Any]) -> None:
    page = html.render_bench(document)
    for text in (*(m["label"] for m in document["models"]), document["command"], document["machine"]["cpu"]):
        assert text in page


def test_names_from_files_are_escaped(document: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    models = [{**m, "label": evil} for m in document["models"]]
    assert evil not in html.render_bench({**document, "models": models, "notes": [evil], "command": evil})
    layers = [{**REPORT["layers"][0], "name": evil, "reason": evil}]
    report = {**REPORT, "layers": layers, "output": evil, "command": evil}
    assert evil not in export_page.render_export_report(report)
    assert "<script>" not in card.render(report).replace("```\n" + evil, "")


def test_failed_and_interrupted_rows_are_shown(document: dict[str, Any]) -> None:
    empty = dict.fromkeys(
        ("load", "memory", "latency", "noise", "speedup", "throughput", "affinity", "target")
    )
    rows = [
        {**r, **empty, "status": "failed", "error": "the process crashed (SIGSEGV)"}
        for r in document["results"]
    ]
    page = html.render_bench({**document, "results": rows, "interrupted": True})
    assert "crashed (SIGSEGV)" in page
    assert "interrupted before the end" in page


@pytest.mark.parametrize("missing", [*REPORT, None])
def test_export_page_and_card_stand_missing_keys(missing: str | None) -> None:
    report = {key: value for key, value in REPORT.items() if key != missing}
    assert "<h1>" in export_page.render_export_report(report)
    assert card.render(report).startswith("# ")


def test_empty_report_is_a_page_and_a_card() -> None:
    assert "<h1>model</h1>" in export_page.render_export_report({})
    assert card.render({}).startswith("# model")


def test_card_says_sizes_layers_and_verification() -> None:
    text = card.render(REPORT)
    assert "4.64 MB instead of 36.93 MB (7.96x smaller)" in text
    assert "| features.3.weight | 64×64×3×3 | 10.0% | csr | 0.15 MB | 18.0 kB | 8.2x smaller" in text
    assert "agree with the source's on 3 inputs" in text


def test_waterfall_ends_at_the_total() -> None:
    rows = charts.waterfall(("dense", 1000), [("zeros", -900), ("positions", 50), ("nothing", 0)], "packed")
    assert [(r["label"], round(r["x"]), round(r["w"])) for r in rows] == [
        ("dense", 0, 100),
        ("zeros", 10, 90),
        ("positions", 10, 5),
        ("packed", 0, 15),
    ]
    assert rows[-1]["more"] == "(6.67x smaller)"


@needs_chromium
@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 1600, False), (500, 1600, True)])
def test_bench_page_is_drawn(
    document: dict[str, Any], tmp_path: Path, width: int, height: int, dark: bool
) -> None:
    page = tmp_path / "report.html"
    page.write_text(html.render_bench(document))
    seen = visit(page, tmp_path, width, height, dark)
    check_drawn(seen.pixels, dark)
    assert seen.console == []
    assert seen.requests == []


@needs_chromium
def test_export_page_is_drawn(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(export_page.render_export_report(REPORT))
    seen = visit(page, tmp_path, 1280, 1600)
    check_drawn(seen.pixels, dark=False)
    assert seen.console == []
    assert seen.requests == []


@needs_chromium
def test_browser_check_sees_requests_and_errors(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<img src='http://example.invalid/x.png'><script>console.error('wrong')</script>")
    seen = visit(page, tmp_path, 300, 300)
    assert seen.requests == ["http://example.invalid/x.png"]
    assert any("wrong" in line for line in seen.console)


def check_drawn(pixels: np.ndarray[Any, np.dtype[np.uint8]], dark: bool) -> None:
    """The page is in its colour scheme, has text and bars, and they reach down the page."""
    background = pixels[2, 2].astype(int).sum() / 3
    assert (background < 64) == dark
    assert len(np.unique(pixels.reshape(-1, 3)[::7], axis=0)) > 50
    inked = (np.abs(pixels.astype(int) - pixels[2, 2]).sum(axis=2) > 60).mean(axis=1)
    assert (inked[: len(inked) // 2] > 0).mean() > 0.3
    assert (inked[len(inked) // 2 :] > 0).mean() > 0.3
