"""The plots that only the lab report has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from sparse_export.training.sweep import plots
from sparse_export.training.sweep.plots import COLOURS, DASHES, MARKERS, Row
from sparse_export.training.sweep.ways import METHODS


def sweep(rows: Sequence[Row], title: str, path: Path, mark: float | None = None) -> Path:
    """Mean and range over seeds; optionally the chosen rate as a vertical line."""
    fig, ax = plots.figure(title)
    plots.line(ax, rows, "rate", "accuracy", "held-out accuracy", 0)
    ax.axhline(0.1, color="#666666", linewidth=1, linestyle=":", label="chance (10 classes)")
    if mark is not None:
        ax.axvline(
            mark, color=COLOURS[1], linewidth=1.2, linestyle="--", label=f"the chosen point, {mark:.2%}"
        )
    ax.set_xlabel("pruning rate (share of conv and linear weights that are zero)")
    ax.set_ylabel("held-out accuracy")
    ax.set_ylim(0, 1.02)
    plots.percent(ax, x=True)
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0.01, 0.14))
    return plots.save(fig, path)


def footprint(sizes: Mapping[str, int], reference: str, title: str, path: Path) -> Path:
    """Horizontal bars in kilobytes, each with its number; the reference as a line through all of them."""
    fig, ax = plots.figure(title, 7.6, 0.45 * len(sizes) + 1.2)
    names = list(sizes)
    for number, name in enumerate(names):
        ax.barh(number, sizes[name] / 1000, color=COLOURS[0 if name != reference else 1], height=0.62)
        ax.text(sizes[name] / 1000, number, f"  {sizes[name]:,} B", va="center", fontsize=8)
    ax.axvline(sizes[reference] / 1000, color=COLOURS[1], linewidth=1, linestyle="--")
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(right=max(sizes.values()) / 1000 * 1.2)
    ax.set_xlabel("kB (1000 bytes)")
    ax.grid(False, axis="y")
    return plots.save(fig, path)


def retraining(before_after: Mapping[str, tuple[float, float]], title: str, path: Path) -> Path:
    """Two bars a net: before and after retraining."""
    fig, ax = plots.figure(title, 6.4, 3.8)
    for side, label in enumerate(("before retraining", "after retraining")):
        values = [pair[side] for pair in before_after.values()]
        places = [number + (side - 0.5) * 0.38 for number in range(len(values))]
        ax.bar(
            places, values, 0.36, color=COLOURS[side], label=label, hatch=("", "//")[side], edgecolor="white"
        )
        for place, value in zip(places, values, strict=True):
            ax.text(place, value + 0.015, f"{value:.1%}", ha="center", fontsize=8)
    ax.set_xticks(range(len(before_after)), list(before_after), fontsize=9)
    ax.set_ylabel("held-out accuracy")
    ax.set_ylim(0, 1.22)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="x", alpha=0)
    ax.legend(fontsize=8, frameon=False, loc="upper center", ncols=2)
    return plots.save(fig, path)


def binarization(
    curves: Mapping[str, Sequence[float]], levels: Mapping[str, float], title: str, path: Path
) -> Path:
    """Accuracy after each epoch of training through the sign; what needs no training as horizontal lines."""
    fig, ax = plots.figure(title)
    for number, (name, curve) in enumerate(curves.items()):
        ax.plot(
            range(1, len(curve) + 1),
            curve,
            color=COLOURS[number],
            linestyle=DASHES[number],
            marker=MARKERS[number],
            label=name,
        )
    for number, (name, level) in enumerate(levels.items(), len(curves)):
        ax.axhline(level, color=COLOURS[number], linestyle=DASHES[number], linewidth=1.2, label=name)
    ax.set_xticks(range(1, max(len(curve) for curve in curves.values()) + 1))
    ax.set_xlabel("epochs of training through the sign")
    ax.set_ylabel("held-out accuracy")
    ax.set_ylim(0, 1.05)
    plots.percent(ax)
    ax.legend(fontsize=8, frameon=False, loc="center right")
    return plots.save(fig, path)


def ways(rows: Sequence[Row], title: str, path: Path) -> Path:
    """Accuracy against non-zeros and against packed bytes, one line for each way; bars: range over seeds."""
    fig, left = plots.figure("against non-zero weights", 9.2, 4.4)
    fig.clf()
    left, right = fig.subplots(1, 2, sharey=True)
    handles = []
    for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        mine = [row for row in rows if row["method"] == method]
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": DASHES[number % len(DASHES)],
            "marker": MARKERS[number % len(MARKERS)],
        }
        for ax, x, unit in ((left, "nonzeros", 1), (right, "csr_bytes", 1000)):
            _, mean, low, high, _ = plots.spread(mine, "rate", "accuracy")
            places = plots.spread(mine, "rate", x)[1] / unit
            # Ways at one rate share a place: a slight shift keeps their bars apart.
            places = places * (1 + 0.012 * (number - 3))
            ax.errorbar(
                places, mean, [mean - low, high - mean], capsize=2, linewidth=1.4, markersize=5, **look
            )
        handles.append(Line2D([], [], label=METHODS[method][0], **look))
    for ax, label, name in (
        (left, "non-zero conv and linear weights", "against non-zeros"),
        (right, "packed size in csr, kB (1000 bytes)", "against packed bytes"),
    ):
        plots.style(ax, f"{title}: {name}")
        ax.set_xlabel(label)
        ax.set_xscale("log")
        ax.minorticks_off()
    rates = sorted({row["rate"] for row in rows})
    for ax, x, unit in ((left, "nonzeros", 1), (right, "csr_bytes", 1000)):
        ticks = [next(r[x] for r in rows if r["rate"] == rate) / unit for rate in rates]
        ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    left.set_ylabel("held-out accuracy")
    plots.percent(left)
    left.set_ylim(0, 1.04)
    fig.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return plots.save(fig, path)
