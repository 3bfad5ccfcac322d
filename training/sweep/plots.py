"""Plots of the lab: mean over seeds as a line, their range as a band; colours told apart by everyone.

The palette is Okabe and Ito's (2008); markers and dashes repeat what the colours say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from ...exporter.files.atomic import atomic_file
from .ways import METHODS

Row = Mapping[str, Any]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))

#: Bytes of a row, as drawn -> what the legend calls it.
SIZES = {
    "dense_bytes": "dense fp32",
    "csr_bytes": "csr",
    "auto_bytes": "smallest format of each layer",
    "theory_bytes": "non-zeros x 32 bits (no positions)",
    "entropy_bytes": "values + entropy of positions",
}


def figure(title: str, width: float = 7.0, height: float = 4.2) -> tuple[Figure, Axes]:
    """An empty figure with the style all plots share."""
    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    ax = fig.add_subplot()
    style(ax, title)
    return fig, ax


def style(ax: Axes, title: str) -> None:
    """Grid, open frame, title to the left."""
    ax.set_title(title, loc="left", fontsize=11)
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def save(fig: Figure, path: Path) -> Path:
    """Write a PNG without a date or version in it, so that equal plots are equal files."""
    with atomic_file(path, force=True) as file:
        fig.savefig(file, format="png", dpi=110, metadata={"Software": ""})
    return path


def spread(rows: Iterable[Row], x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """x, and mean, least and greatest y over the rows with that x; and the largest number of them."""
    groups: dict[float, list[float]] = {}
    for row in rows:
        groups.setdefault(float(row[x]), []).append(float(row[y]))
    xs = sorted(groups)
    ys = [groups[value] for value in xs]
    return (
        np.array(xs),
        np.array([np.mean(v) for v in ys]),
        np.array([min(v) for v in ys]),
        np.array([max(v) for v in ys]),
        max((len(v) for v in ys), default=0),
    )


def line(ax: Axes, rows: Sequence[Row], x: str, y: str, label: str, number: int, band: bool = True) -> None:
    """One series: the mean over seeds, the range between the worst and the best behind it."""
    xs, mean, low, high, seeds = spread(rows, x, y)
    every = max(1, len(xs) // 25)
    ax.plot(
        xs,
        mean,
        color=COLOURS[number % len(COLOURS)],
        linestyle=DASHES[number % len(DASHES)],
        marker=MARKERS[number % len(MARKERS)],
        markersize=4,
        markevery=every,
        linewidth=1.6,
        label=f"{label} (mean of {seeds} seeds, band: range)" if band and seeds > 1 else label,
    )
    if band and seeds > 1:
        ax.fill_between(xs, low, high, color=COLOURS[number % len(COLOURS)], alpha=0.2, linewidth=0)


def percent(ax: Axes, x: bool = False) -> None:
    """Percent signs on the accuracy axis, and on the rate axis if it is one."""
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if x:
        percent_x(ax)


def percent_x(ax: Axes) -> None:
    """Percent signs on the rate axis only."""
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def plain_log(axis: Axis) -> None:
    """A logarithmic axis with ticks at 1, 2 and 5, in plain numbers: 20,000 and not 2 x 10^4."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def accuracy_by_rate(rows: Sequence[Row], title: str, path: Path) -> Path:
    """Held-out accuracy against pruning rate, a line for each way of retraining."""
    fig, ax = figure(title)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for number, method in enumerate(methods):
        mine = [row for row in rows if row["method"] == method]
        line(ax, mine, "rate", "accuracy", METHODS[method][0], number)
    ax.set_xlabel("pruning rate (share of conv and linear weights that are zero)")
    ax.set_ylabel("held-out accuracy")
    percent(ax, x=True)
    ax.set_ylim(0, 1.02)
    ax.legend(fontsize=8, frameon=False)
    return save(fig, path)


def accuracy_by_seed(rows: Sequence[Row], title: str, path: Path) -> Path:
    """The same with each seed's own line: does a bump sit at the same rate for all of them?"""
    fig, ax = figure(title)
    for number, seed in enumerate(sorted({row["seed"] for row in rows})):
        line(ax, [r for r in rows if r["seed"] == seed], "rate", "accuracy", f"seed {seed}", number, False)
    ax.set_xlabel("pruning rate")
    ax.set_ylabel("held-out accuracy")
    percent(ax, x=True)
    ax.legend(fontsize=8, frameon=False)
    return save(fig, path)


def bytes_by_rate(rows: Sequence[Row], title: str, path: Path) -> Path:
    """Bytes of the weights against pruning rate: dense, theory, entropy and the real formats."""
    fig, ax = figure(title)
    full = [dict(row) | {"theory_bytes": row["theory_bits"] / 8} for row in rows]
    extra = [k for k in rows[0] if k.endswith("_bytes") and k not in SIZES]
    for number, key in enumerate([*(k for k in SIZES if k in full[0]), *extra]):
        scaled = [{"rate": row["rate"], "kB": row[key] / 1000} for row in full]
        line(ax, scaled, "rate", "kB", SIZES.get(key, key.removesuffix("_bytes")), number, False)
    ax.set_xlabel("pruning rate")
    ax.set_ylabel("size of the weights, kB (1000 bytes)")
    ax.set_yscale("log")
    plain_log(ax.yaxis)
    percent_x(ax)
    ax.legend(fontsize=8, frameon=False)
    return save(fig, path)


def of_sweep(rows: Sequence[Row], folder: Path) -> list[Path]:
    """The plots every sweep gets: accuracy, each seed's own line where there are several, bytes."""
    written = [accuracy_by_rate(rows, "Accuracy against pruning rate", folder / "accuracy.png")]
    if len({row["seed"] for row in rows}) > 1:
        first = rows[0]["method"]
        mine = [row for row in rows if row["method"] == first]
        written.append(accuracy_by_seed(mine, f"Each seed: {METHODS[first][0]}", folder / "seeds.png"))
    written.append(bytes_by_rate(rows, "Size of the weights against pruning rate", folder / "bytes.png"))
    return written
