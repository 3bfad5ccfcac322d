"""The figures to take away from a page, each with what it compares."""

from __future__ import annotations

from typing import Any

from .rendering import Document
from .table import megabytes, milliseconds

SIZE_WORDS = ("smaller", "larger")

SPEED_WORDS = ("faster", "slower")


def bench_tiles(document: Document, hero: dict[str, Any], base: dict[str, Any]) -> list[dict[str, str]]:
    """The figures to take away, each with what it compares."""
    rows = {r["model"]: r for r in reversed(document["results"])}
    ours, theirs = rows[hero["id"]], rows[base["id"]]
    size, dense = hero["bytes"]["total"], base["bytes"]["total"]
    alone = hero["id"] == base["id"]
    files = (megabytes(dense), megabytes(size))
    tiles = [ratio_tile("on disk", None if alone else dense / size, files, SIZE_WORDS)]
    if ours["latency"] and theirs["latency"]:
        times = tuple(milliseconds(r["latency"]["median_ms"]) for r in (theirs, ours))
        tiles.append(_latency_tile(ours["speedup"], times))
    if ours["memory"] and theirs["memory"]:
        used = [r["memory"]["steady_added_bytes"] for r in (theirs, ours)]
        shown = tuple(megabytes(u, 1) for u in used)
        known = not alone and min(used) > 0
        tiles.append(ratio_tile("memory", used[0] / used[1] if known else None, shown, ("less", "more")))
    if ours["load"] and theirs["load"]:
        tiles += _load_tile([r["load"] for r in (theirs, ours)], alone)
    return tiles


def _latency_tile(quick: dict[str, Any] | None, times: tuple[str, ...]) -> dict[str, str]:
    """How much faster, claimed only where the interval lets one say so."""
    tile = ratio_tile("latency", quick["value"] if quick else None, times, SPEED_WORDS)
    if quick and quick["low"] and quick["high"] < 100 * quick["low"]:
        tile["note"] = f"99 % interval {quick['low']:.2f}–{quick['high']:.2f}x: {quick['verdict']}"
    if quick and quick["verdict"] == "same":
        tile |= {"value": "1.00x", "word": "the same", "tone": ""}
    elif quick and quick["verdict"] == "inconclusive":
        tile |= {"value": "unclear", "word": "too noisy to tell", "tone": ""}
    return tile


def _load_tile(loads: list[dict[str, Any]], alone: bool) -> list[dict[str, str]]:
    """Load times of the same kind: both with the files on disk only, or both with them in the page cache."""
    for kind, key in (("cold", "cold_ms"), ("warm", "warm_ms")):
        times = [load[key] for load in loads]
        if all(times):
            shown = tuple(milliseconds(value) for value in times)
            return [ratio_tile(f"load, {kind}", None if alone else times[0] / times[1], shown, SPEED_WORDS)]
    return []


def ratio_tile(
    what: str, ratio: float | None, change: tuple[str, ...], words: tuple[str, str]
) -> dict[str, str]:
    """One figure: the ratio where there is one, the plain value otherwise.

    Parameters
    ----------
    change
        Before and after, as text.
    words
        What a ratio above 1 is called, and one below.
    """
    if ratio is None:
        return {"what": what, "value": change[1], "word": "", "detail": "", "note": "", "tone": ""}
    word, shown = (words[0], ratio) if ratio >= 1 else (words[1], 1 / ratio)
    even = shown < 1.005
    return {
        "what": what,
        "value": "1.00x" if even else f"{shown:.2f}x" if shown < 10 else f"{shown:.1f}x",
        "word": "the same" if even else word,
        "detail": " → ".join(change),
        "note": "",
        "tone": "" if even else "good" if ratio > 1 else "bad",
    }
