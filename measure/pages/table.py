"""The figures as rows: for the terminal, for Markdown and for CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from ...text import clean, code
from ...text import markdown as markdown_text

#: The two tables, because one of eighteen columns fits nowhere.
SIZE_COLUMNS = (
    *("model", "file", "smaller", "gzip -6", "zstd -12", "load cold", "load warm"),
    *("RAM peak", "load adds", "steady adds", "of it anon / file"),
)
LATENCY_COLUMNS = (
    *("model", "median", "IQR", "min", "p90", "p99", "per second", "speed-up (99 %)", "Δ output", "verdict"),
)
_LEFT = {"model", "verdict"}
Table = tuple[str, list[str], list[list[str]]]


def megabytes(count: float | None, digits: int = 2) -> str:
    """`1.23 MB`, in kB below a tenth of a megabyte; a dash for None."""
    if count is None:
        return "–"
    return f"{count / 1e3:.1f} kB" if abs(count) < 1e5 else f"{count / 1e6:.{digits}f} MB"


def milliseconds(value: float | None) -> str:
    """Three significant digits and the unit."""
    if value is None:
        return "–"
    if value < 0.1:
        return f"{value * 1e3:.3g} µs"
    return f"{value:.0f} ms" if value >= 1000 else f"{value:.3g} ms"


def speedup(entry: dict[str, Any] | None) -> str:
    """`2.31x (2.25–2.38)`; an interval over two decades says only that it has no bounds."""
    if not entry:
        return "–"
    if entry["low"] is None:
        return f"{entry['value']:.2f}x"
    if entry["high"] > 100 * entry["low"]:
        return f"{entry['value']:.2f}x (unbounded)"
    return f"{entry['value']:.2f}x ({entry['low']:.2f}–{entry['high']:.2f})"


def difference(entry: dict[str, Any] | None) -> str:
    """Largest difference of the outputs relative to their largest value."""
    if not entry:
        return "–"
    return f"{entry['max_abs'] / entry['scale']:.1e}" if entry["scale"] else f"{entry['max_abs']:.1e}"


def _verdict(row: dict[str, Any], is_baseline: bool) -> str:
    """What the row says in a word or two, or why it says nothing."""
    if row["status"] != "ok":
        return f"{row['status']}: {row['error']}" if row["error"] else str(row["status"])
    parts = ["baseline"] if is_baseline else [row["speedup"]["verdict"]] if row["speedup"] else []
    if row["noise"]["verdict"] == "noisy":
        parts.append("noisy")
    return ", ".join(parts)


def _setting(document: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Threads and batch of a row, where they differ between rows."""
    options = document["options"]
    cells = [str(row["threads"])] if len(options["threads"]) > 1 else []
    return cells + ([str(row["batch"])] if len(options["batch"]) > 1 else [])


def _size_row(model: dict[str, Any], base: int, row: dict[str, Any]) -> list[str]:
    size, load, used = model["bytes"], row["load"] or {}, row["memory"] or {}
    parts = [megabytes(used.get(key), 1) for key in ("anonymous_added_bytes", "file_added_bytes")]
    return [
        *(
            megabytes(size["total"]),
            f"{base / size['total']:.2f}x",
            megabytes(size["gzip"]),
            megabytes(size["zstd"]),
        ),
        *(milliseconds(load.get("cold_ms")), milliseconds(load.get("warm_ms"))),
        *(megabytes(used.get("peak_bytes"), 0), megabytes(used.get("load_peak_added_bytes"), 1)),
        *(megabytes(used.get("steady_added_bytes"), 1), " / ".join(parts)),
    ]


def _latency_row(row: dict[str, Any], is_baseline: bool, accuracy: bool) -> list[str]:
    latency = row["latency"] or {}
    figures = [milliseconds(latency.get(f"{key}_ms")) for key in ("median", "iqr", "min", "p90", "p99")]
    throughput = "–" if row["throughput"] is None else f"{row['throughput']:.4g}"
    right = [f"{row['accuracy']['accuracy']:.2%}" if row["accuracy"] else "–"] if accuracy else []
    return [
        *(*figures, throughput, speedup(row["speedup"]), difference(row["difference"])),
        *(*right, _verdict(row, is_baseline)),
    ]


def tables(document: dict[str, Any]) -> list[Table]:
    """The two tables as title, column names and cells; the first column names the model."""
    models = {m["id"]: m for m in document["models"]}
    base = models[document["baseline"]]["bytes"]["total"]
    options, accuracy = document["options"], any(r["accuracy"] for r in document["results"])
    settings = [name for name in ("threads", "batch") if len(options[name]) > 1]
    sizes, latencies = [], []
    for row in document["results"]:
        model = models[row["model"]]
        start = [model["label"], *_setting(document, row)]
        sizes.append(start + _size_row(model, base, row))
        latencies.append(start + _latency_row(row, model["id"] == document["baseline"], accuracy))
    names = [
        LATENCY_COLUMNS[0],
        *settings,
        *LATENCY_COLUMNS[1:-1],
        *(["accuracy"] if accuracy else []),
        "verdict",
    ]
    return [
        ("Disk, load and memory", [SIZE_COLUMNS[0], *settings, *SIZE_COLUMNS[1:]], sizes),
        ("Latency", names, latencies),
    ]


def machine_line(document: dict[str, Any]) -> str:
    """Date, machine and versions on one line."""
    m = document["machine"]
    versions = ", ".join(
        f"{k} {m['versions'][k]}"
        for k in ("onnxruntime", "onnxruntime-gpu", "torch", "openvino")
        if k in m["versions"]
    )
    pinned = sorted({cpu for row in document["results"] for cpu in row["affinity"] or []})
    target = ", ".join(sorted({row["target"] for row in document["results"] if row["target"]}))
    kernels = f", kernels: {target}" if target else ""
    return (
        f"{document['created'][:10]}, {m['cpu']} ({m['cpus']} CPUs, pinned to {pinned}){kernels}, {versions}"
    )


def markdown(document: dict[str, Any]) -> str:
    """A GitHub table with date, machine and command under it."""
    lines: list[str] = []
    for title, names, body in tables(document):
        sides = [" --- " if name in _LEFT else " ---: " for name in names]
        lines += [f"**{title}**", "", "| " + " | ".join(names) + " |", "|" + "|".join(sides) + "|"]
        lines += ["| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in body]
        lines += [""]
    lines += [f"Measured {markdown_text(machine_line(document))}.", f"Command: {code(document['command'])}"]
    lines += [f"- {markdown_text(note)}" for note in document["notes"]]
    return "\n".join(lines) + "\n"


def to_csv(document: dict[str, Any]) -> str:
    """One line a result, nested keys joined by dots, plain numbers."""
    models = {m["id"]: m for m in document["models"]}
    flat = []
    for row in document["results"]:
        model = models[row["model"]]
        cells: dict[str, Any] = {
            "label": clean(model["label"]),
            "origin": model["origin"],
            "runtime": model["runtime"],
        }
        _flatten("bytes", model["bytes"], cells)
        for key, value in row.items():
            _flatten(key, value, cells)
        flat.append(cells)
    names = list(dict.fromkeys(name for cells in flat for name in cells))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}", inner, into)
    elif isinstance(value, list):
        into[prefix] = " ".join(str(item) for item in value)
    else:
        into[prefix] = clean(value) if isinstance(value, str) else value


def print_tables(document: dict[str, Any], console: Any) -> None:
    """The comparison on a terminal; rows that only compare (peers) are dimmed."""
    from rich.table import Table as Grid
    from rich.text import Text

    origins = {m["id"]: m["origin"] for m in document["models"]}
    styles = ["dim" if origins[row["model"]] == "peer" else "" for row in document["results"]]
    for title, names, body in tables(document):
        grid = Grid(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), title=title)
        grid.title_justify, grid.title_style = "left", "bold cyan"
        for name in names:
            grid.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=name != "verdict")
        for cells, style in zip(body, styles, strict=True):
            grid.add_row(*(Text(clean(cell)) for cell in cells), style=style)
        console.print(grid)
        console.print()
