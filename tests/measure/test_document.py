"""The JSON document: valid, judged, and readable as tables."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sparse_export.errors import InputError
from sparse_export.exporter import api
from sparse_export.measure import budgets, run
from sparse_export.measure.pages import table

DOCS = Path(__file__).parents[2] / "docs"


def test_document_validates_against_the_schema(document: dict[str, Any]) -> None:
    schema = json.loads((DOCS / "bench.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(document, allow_nan=False)))


def test_export_report_validates_against_its_schema(models: dict[str, Path], tmp_path: Path) -> None:
    report = api.export(models["sparse"], output=tmp_path / "packed.onnx")
    schema = json.loads((DOCS / "report.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(
        json.loads(json.dumps(report.to_json(), allow_nan=False))
    )


def test_every_model_is_measured(document: dict[str, Any]) -> None:
    assert [r["model"] for r in document["results"]] == [m["id"] for m in document["models"]]
    assert all(r["status"] == "ok" for r in document["results"])


def test_baseline_has_no_speedup_and_all_others_have(document: dict[str, Any]) -> None:
    for row in document["results"]:
        assert (row["speedup"] is None) == (row["model"] == document["baseline"])


def test_output_differences_show_lossy_peers(document: dict[str, Any]) -> None:
    labels = {m["id"]: m["label"] for m in document["models"]}
    found = {labels[r["model"]]: r["difference"] for r in document["results"] if r["difference"]}
    assert found["INT8 (static QDQ)"]["max_abs"] > found["sparse_initializer"]["max_abs"]


def test_tables_are_rectangular(document: dict[str, Any]) -> None:
    for _, names, body in table.tables(document):
        assert {len(cells) for cells in body} == {len(names)}
        assert "batch" not in names
    two = {**document, "options": {**document["options"], "batch": [1, 2]}}
    for _, names, body in table.tables(two):
        assert {len(cells) for cells in body} == {len(names)}
        assert names[1] == "batch"


def test_csv_has_one_line_a_result(document: dict[str, Any]) -> None:
    lines = list(csv.DictReader(io.StringIO(table.to_csv(document))))
    assert len(lines) == len(document["results"])
    assert float(lines[0]["latency.median_ms"]) > 0
    assert int(lines[0]["bytes.total"]) > 0


def test_markdown_names_date_machine_and_command(document: dict[str, Any]) -> None:
    text = table.markdown(document)
    assert document["command"] in text
    assert document["machine"]["cpu"] in text
    assert document["created"][:10] in text


@pytest.mark.parametrize(
    ("text", "size"), [("1MB", 10**6), ("512 KiB", 512 * 1024), ("1.5gb", 1_500_000_000), ("200", 200)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert budgets.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "1 XB", "-1MB", "1_000", "１MB", "nan"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        budgets.parse_size(text)


def test_budgets_name_model_limit_and_actual(document: dict[str, Any]) -> None:
    found = budgets.judge(document, slower=None, max_size=1000, max_rss=10**12)
    assert [(b["kind"], b["passed"]) for b in found] == [("max_size", False), ("max_rss", True)]
    broken = run.broken_budgets({**document, "budgets": found})
    assert broken == ["dense.onnx: file of 0.05 MB is over 0.00 MB"]


def test_slower_needs_the_limit_and_the_interval(document: dict[str, Any]) -> None:
    def passed(value: float, high: float) -> bool:
        rows = [{**r, "speedup": {"value": value, "low": 0.1, "high": high}} for r in document["results"]]
        verdicts = budgets.judge({**document, "results": rows}, 0.05, None, None)
        return all(v["passed"] for v in verdicts)

    assert not passed(0.8, 0.9)
    assert passed(0.8, 1.1)
    assert passed(0.97, 0.99)


def test_unmeasured_model_breaks_a_speed_budget(document: dict[str, Any]) -> None:
    rows = [{**r, "speedup": None} for r in document["results"]]
    assert not any(b["passed"] for b in budgets.judge({**document, "results": rows}, 0.05, None, None))
