"""The README's picture: size, memory and latency of the demo's net, light and dark.

Usage: python -m tools.picture [--check]. Drawn from benchmarks/results/vgg11.json.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "benchmarks" / "results" / "vgg11.json"
FIGURES = ROOT / "docs" / "figures"
#: Rows of the picture: the label in the measurements, what the reader is told, whether it is ours.
ROWS = (
    ("dense ONNX", "dense ONNX", False),
    ("model.csr.onnx [stock onnxruntime]", "packed, stock onnxruntime", True),
    ("model.csr.onnx", "packed, operators registered", True),
    ("INT8 (static QDQ)", "dense INT8 (rounds the weights)", False),
)
THEMES = {
    "light": {"text": "#1f2328", "muted": "#8c959f", "ours": "#0969da"},
    "dark": {"text": "#e6edf3", "muted": "#6e7681", "ours": "#58a6ff"},
}


def figures(document: dict[str, Any]) -> list[tuple[str, str, list[float]]]:
    """(title, unit, a value for each of `ROWS`): file, memory added by loading and running, latency."""
    models = {model["label"]: model for model in document["models"]}
    ids = {model["id"]: label for label, model in models.items()}
    rows = {ids[row["model"]]: row for row in document["results"]}
    labels = [label for label, _, _ in ROWS]
    return [
        ("file on disk", "MB", [models[label]["bytes"]["total"] / 1e6 for label in labels]),
        ("memory, after runs", "MB", [rows[label]["memory"]["steady_added_bytes"] / 1e6 for label in labels]),
        ("latency, batch 1", "ms", [rows[label]["latency"]["median_ms"] for label in labels]),
    ]


def draw(document: dict[str, Any], theme: str) -> str:
    """The picture as SVG, the same text for the same figures."""
    colours = THEMES[theme]
    settings: Any = {"svg.hashsalt": "sparse-export", "svg.fonttype": "none", "font.family": "sans-serif"}
    with pyplot.rc_context(settings):
        figure, panels = pyplot.subplots(1, 3, figsize=(9.2, 2.1), sharey=True, layout="constrained")
        names = [name for _, name, _ in ROWS]
        shades = [colours["ours"] if ours else colours["muted"] for _, _, ours in ROWS]
        for panel, (title, unit, values) in zip(panels, figures(document), strict=True):
            panel.barh(names, values, color=shades, height=0.62)
            for place, value in enumerate(values):
                panel.text(
                    value, place, f" {value:.3g} {unit}", va="center", fontsize=9, color=colours["text"]
                )
            panel.set_title(title, fontsize=10, loc="left", color=colours["text"])
            panel.set_xlim(0, max(values) * 1.32)
            panel.set_xticks([])
            panel.tick_params(length=0, labelsize=9, colors=colours["text"])
            for side in panel.spines.values():
                side.set_visible(False)
        panels[0].invert_yaxis()
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return target.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 1 where a picture is missing or stale and only a check was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a picture is stale")
    check = parser.parse_args(arguments).check
    document = json.loads(MEASURED.read_text())
    pictures = {FIGURES / f"demo-{theme}.svg": draw(document, theme) for theme in THEMES}
    if check:
        return int(any(not path.exists() or path.read_text() != text for path, text in pictures.items()))
    for path, text in pictures.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
