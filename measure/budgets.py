"""Limits that a run must keep: the judged models against `--fail-if-slower`, `--max-size`, `--max-rss`."""

from __future__ import annotations

import re
from typing import Any

from ..errors import InputError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_size(text: str) -> int:
    """Bytes of `1MB`, `512 KiB`, `2e6`.

    Raises
    ------
    InputError
        If it is not a number with an optional unit.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]*)\s*", text.lower(), re.ASCII)
    if not match or match[2] not in _UNITS:
        raise InputError(f"'{text}' is not a size; write it like 1MB or 512KiB")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_percent(text: str) -> float:
    """0.05 of `5%` or of `0.05`.

    Raises
    ------
    InputError
        If it is neither.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(%?)\s*", text, re.ASCII)
    if not match:
        raise InputError(f"'{text}' is not a percentage; write it like 5%")
    return float(match[1]) / (100 if match[2] else 1)


def judge(
    document: dict[str, Any], slower: float | None, max_size: int | None, max_rss: int | None
) -> list[dict[str, Any]]:
    """One JSON object for each limit and judged model: `kind`, `model`, `limit`, `actual`, `passed`.

    Judged are the given ONNX models other than the baseline, or all given ones where there is no other.
    A model counts as too slow when its latency is over the limit and its whole interval is below 1.
    A judged model without a measurement fails the limits that need one.
    """
    given = [m for m in document["models"] if m["origin"] == "given"]
    others = [m for m in given if m["id"] != document["baseline"]]
    judged = [m for m in others if not m["runtime"].startswith("torch")] or given
    verdicts: list[dict[str, Any]] = []

    def add(kind: str, model: dict[str, Any], limit: float, actual: float | None, passed: bool) -> None:
        verdicts.append(
            {"kind": kind, "model": model["id"], "limit": limit, "actual": actual, "passed": passed}
        )

    for model in judged:
        rows = [r for r in document["results"] if r["model"] == model["id"]]
        if max_size is not None:
            total = model["bytes"]["total"]
            add("max_size", model, max_size, total, total <= max_size)
        for row in rows:
            if max_rss is not None:
                peak = row["memory"]["peak_bytes"] if row["memory"] else None
                add("max_rss", model, max_rss, peak, peak is not None and peak <= max_rss)
            if slower is not None and model["id"] != document["baseline"]:
                ratio, high = _slowdown(row)
                passed = ratio is not None and not (ratio > 1 + slower and (high is None or high < 1))
                add("fail_if_slower", model, slower, None if ratio is None else ratio - 1, passed)
    return verdicts


def _slowdown(row: dict[str, Any]) -> tuple[float | None, float | None]:
    """Latency over the baseline's, and the upper end of the speed-up's interval."""
    if not row["speedup"]:
        return None, None
    return 1 / row["speedup"]["value"], row["speedup"]["high"]


def describe(verdict: dict[str, Any], label: str) -> str:
    """A broken limit in words."""
    kind, limit, actual = verdict["kind"], verdict["limit"], verdict["actual"]
    if actual is None:
        return f"{label}: not measured, so it cannot be within the limit ({kind.replace('_', '-')})"
    if kind == "fail_if_slower":
        return f"{label}: {actual:.1%} slower than the baseline, the limit is {limit:.1%}"
    what = "file" if kind == "max_size" else "peak memory"
    return f"{label}: {what} of {actual / 1e6:.2f} MB is over {limit / 1e6:.2f} MB"
