"""Bars for the report, as numbers: positions in percent of the plot, so that a page can scale them.

The template draws them as inline SVG with percent coordinates: the text beside them stays text and keeps
its size on a phone.
"""

from __future__ import annotations

from typing import Any

from .table import megabytes, milliseconds, speedup

Row = dict[str, Any]


def kind_of(model: Row, baseline: str) -> str:
    """The colour class of a model: "base", "ours" for what is judged, "peer" for the others."""
    if model["id"] == baseline:
        return "base"
    return "peer" if model["origin"] == "peer" or model["runtime"].startswith("torch") else "ours"


def waterfall(start: tuple[str, int], steps: list[tuple[str, int]], end: str) -> list[Row]:
    """From one total to another, one floating bar a step.

    Parameters
    ----------
    start
        Label and bytes of the first total.
    steps
        Label and change in bytes, in order; steps of zero are left out.
    end
        Label of the total at the end.
    """
    level, peaks = start[1], [start[1]]
    for _, change in steps:
        level += change
        peaks.append(level)
    top = max(*peaks, 1)
    rows = [
        {"label": start[0], "kind": "base", "x": 0.0, "w": 100 * start[1] / top, "text": megabytes(start[1])}
    ]
    level = start[1]
    for label, change in steps:
        if change:
            low, high = sorted((level, level + change))
            sign = "−" if change < 0 else "+"
            rows.append(
                {
                    "label": label,
                    "kind": "down" if change < 0 else "up",
                    "x": 100 * low / top,
                    "w": 100 * (high - low) / top,
                    "text": f"{sign}{megabytes(abs(change))}",
                }
            )
        level += change
    ratio = start[1] / level if level > 0 else 0.0
    share = f"({ratio:.{2 if ratio < 10 else 1}f}x smaller)" if ratio > 1 else ""
    text = megabytes(level)
    rows.append({"label": end, "kind": "ours", "x": 0.0, "w": 100 * level / top, "text": text, "more": share})
    return rows


def size_waterfall(base: Row, model: Row) -> list[Row] | None:
    """From the baseline's file to the model's, by what the bytes are spent on; None without breakdowns."""
    a, b = base["breakdown"], model["breakdown"]
    if not a or not b or base["id"] == model["id"]:
        return None
    names = {
        "weights": "weights",
        "indices": "positions",
        "other_tensors": "bias, norms, scales",
        "structure": "nodes, functions, names",
    }
    steps = [(label, b[key] - a[key]) for key, label in names.items()]
    return waterfall((base["label"], base["bytes"]["total"]), steps, model["label"])


def sizes(models: list[Row], baseline: str) -> list[Row]:
    """File bytes of every model, with marks where gzip and zstd of the same file end."""
    shown: list[Row] = []
    for model in models:
        if all(other["bytes"] != model["bytes"] for other in shown):  # a file in several runtimes is one bar
            shown.append(model)
    top = max(m["bytes"]["total"] for m in shown)
    return [
        {
            "label": m["label"],
            "kind": kind_of(m, baseline),
            "w": 100 * m["bytes"]["total"] / top,
            "gzip": 100 * m["bytes"]["gzip"] / top if m["bytes"]["gzip"] else None,
            "zstd": 100 * m["bytes"]["zstd"] / top if m["bytes"]["zstd"] else None,
            "text": megabytes(m["bytes"]["total"]),
            "more": f"gzip -6 {megabytes(m['bytes']['gzip'])}, zstd -12 {megabytes(m['bytes']['zstd'])}",
        }
        for m in shown
    ]


def latencies(results: list[Row], models: dict[str, Row], baseline: str) -> list[Row]:
    """Median with the quartiles as a whisker; `base` is where the baseline's median is."""
    measured = [r for r in results if r["latency"]]
    top = max((r["latency"]["q3_ms"] for r in measured), default=1.0) * 1.04
    at = next((100 * r["latency"]["median_ms"] / top for r in measured if r["model"] == baseline), None)
    rows = []
    for r in results:
        model = models[r["model"]]
        row: Row = {"label": model["label"], "kind": kind_of(model, baseline), "base": at}
        if r["latency"]:
            t = r["latency"]
            row |= {
                "w": 100 * t["median_ms"] / top,
                "q1": 100 * t["q1_ms"] / top,
                "q3": 100 * t["q3_ms"] / top,
                "text": milliseconds(t["median_ms"]),
                "more": speedup(r["speedup"])
                if r["speedup"]
                else "baseline"
                if r["model"] == baseline
                else "",
                "verdict": r["speedup"]["verdict"] if r["speedup"] else None,
            }
        else:
            row |= {"error": r["error"] or "not run"}
        rows.append(row)
    return rows


def memory(results: list[Row], models: dict[str, Row], baseline: str) -> list[Row]:
    """What a model adds to the bare process: steady (anonymous, file-backed) and the peak while loading."""
    measured = [r for r in results if r["memory"]]
    top = max(
        (max(r["memory"]["load_peak_added_bytes"], r["memory"]["steady_added_bytes"], 1) for r in measured),
        default=1,
    )
    rows = []
    for r in measured:
        used, model = r["memory"], models[r["model"]]
        anonymous, mapped = (max(0, used[f"{k}_added_bytes"]) for k in ("anonymous", "file"))
        rows.append(
            {
                "label": model["label"],
                "kind": kind_of(model, baseline),
                "anonymous": min(100.0, 100 * anonymous / top),
                "file": min(100 * mapped / top, max(0.0, 100 - 100 * anonymous / top)),
                "peak": 100 * used["load_peak_added_bytes"] / top,
                "text": megabytes(used["steady_added_bytes"], 1),
                "more": f"peak while loading {megabytes(used['load_peak_added_bytes'], 1)}",
            }
        )
    return rows


def loads(results: list[Row], models: dict[str, Row], baseline: str) -> list[Row]:
    """Cold and warm load time."""
    measured = [r for r in results if r["load"]]
    top = max((max(r["load"]["cold_ms"] or 0, r["load"]["warm_ms"] or 0) for r in measured), default=1) or 1
    return [
        {
            "label": models[r["model"]]["label"],
            "kind": kind_of(models[r["model"]], baseline),
            "cold": 100 * r["load"]["cold_ms"] / top if r["load"]["cold_ms"] else None,
            "warm": 100 * r["load"]["warm_ms"] / top if r["load"]["warm_ms"] else None,
            "text": milliseconds(r["load"]["cold_ms"] or r["load"]["warm_ms"]),
            "more": f"warm {milliseconds(r['load']['warm_ms'])}",
        }
        for r in measured
    ]


def layer_rows(layers: list[Row]) -> list[Row]:
    """Stored bytes of each layer over its dense bytes, and its density.

    Bars are scaled to the largest dense layer; what is stored is drawn over what dense would take.
    """
    top = max((layer.get("dense_bytes") or 0 for layer in layers), default=1) or 1
    rows = []
    for layer in layers:
        stored = layer.get("bytes", layer.get("packed_bytes")) or 0
        dense, density = layer.get("dense_bytes") or 0, layer.get("density")
        rows.append(
            {
                "name": layer.get("name") or "?",
                "op": layer.get("op") or "",
                "shape": "×".join(str(d) for d in layer.get("shape") or []),
                "format": layer.get("format") or "",
                "reason": layer.get("reason") or "",
                "dense": min(100.0, 100 * dense / top),
                "stored": min(100.0, 100 * stored / top),
                "text": megabytes(stored, 2),
                "ratio": f"{dense / stored:.1f}x" if stored and dense else "",
                "density": None if density is None else 100 * density,
            }
        )
    return rows
