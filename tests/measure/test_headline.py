"""The headline of a bench page: like compared with like, and no claim beyond the verdict."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sparse_export.measure.pages import html, table
from sparse_export.measure.pages.tiles import bench_tiles


@pytest.fixture
def rows(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A document of its own, with the result of its baseline and that of the model the page is about."""
    found = copy.deepcopy(document)
    hero = html._hero_model(found)
    by_model = {row["model"]: row for row in found["results"]}
    return found, by_model[found["baseline"]], by_model[hero["id"]]


def tiles(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    models = {model["id"]: model for model in document["models"]}
    hero = html._hero_model(document)
    return {tile["what"]: tile for tile in bench_tiles(document, hero, models[document["baseline"]])}


def test_cold_is_compared_with_cold(rows: tuple[dict[str, Any], ...]) -> None:
    document, base, hero = rows
    base["load"] |= {"cold_ms": 40.0, "warm_ms": 10.0}
    hero["load"] |= {"cold_ms": 20.0, "warm_ms": 10.0}
    assert tiles(document)["load, cold"]["value"] == "2.00x"


@pytest.mark.parametrize("missing", ["base", "hero"])
def test_cold_is_never_compared_with_warm(rows: tuple[dict[str, Any], ...], missing: str) -> None:
    document, base, hero = rows
    base["load"] |= {"cold_ms": 40.0, "warm_ms": 10.0}
    hero["load"] |= {"cold_ms": 20.0, "warm_ms": 8.0}
    (base if missing == "base" else hero)["load"]["cold_ms"] = None
    found = tiles(document)
    assert "load, cold" not in found and found["load, warm"]["value"] == "1.25x"


def test_load_times_of_different_kinds_are_left_out(rows: tuple[dict[str, Any], ...]) -> None:
    document, base, hero = rows
    base["load"] |= {"cold_ms": 40.0, "warm_ms": None}
    hero["load"] |= {"cold_ms": None, "warm_ms": 8.0}
    assert not any(name.startswith("load") for name in tiles(document))


@pytest.mark.parametrize(
    ("verdict", "value", "word"),
    [
        ("faster", "1.40x", "faster"),
        ("same", "1.00x", "the same"),
        ("inconclusive", "unclear", "too noisy to tell"),
    ],
)
def test_latency_claims_what_its_verdict_says(
    rows: tuple[dict[str, Any], ...], verdict: str, value: str, word: str
) -> None:
    document, _, hero = rows
    hero["speedup"] |= {"value": 1.4, "low": 0.9, "high": 2.2, "verdict": verdict}
    tile = tiles(document)["latency"]
    assert (tile["value"], tile["word"]) == (value, word)
    assert verdict == "faster" or not tile["tone"]


def test_memory_that_was_not_added_makes_no_ratio(rows: tuple[dict[str, Any], ...]) -> None:
    document, base, hero = rows
    base["memory"]["steady_added_bytes"], hero["memory"]["steady_added_bytes"] = 10**7, -4096
    assert tiles(document)["memory"]["word"] == ""


def test_compression_levels_are_named() -> None:
    assert {"gzip -6", "zstd -12"} <= set(table.SIZE_COLUMNS)
