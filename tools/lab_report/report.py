"""docs/lab-report.md: every experiment of the original report run, drawn, put into words by its numbers.

Run as `python -m tools.lab_report [--full]`. Results are kept in a folder and never
computed twice; the page and its figures are made anew each time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparse_export.errors import SparseExportError
from sparse_export.exporter.files.atomic import atomic_file
from sparse_export.runtime.stock import Session
from sparse_export.training import checkpoints, data, prune
from sparse_export.training.sweep import footprint, plots
from sparse_export.training.sweep.ways import METHODS

from . import experiments, findings, integers
from . import plots as report_plots
from .experiments import CHOSEN, DEFAULT, FULL, Size

INTRODUCTION = """# The lab report, repeated

Two students pruned and binarized CIFAR-10 networks, found that "in theory, the model should be smaller after
pruning. But not yet", and left three questions open. This page runs each of their experiments again with one
command each, draws it, and says what it shows; the sentences under the figures are generated from the numbers
(`make report`, about {minutes} on two free cores; `FULL=1 make report` for more seeds, rates and epochs).

**What differs from the original.** The nets are theirs (VGG-11 and the growth-12 DenseNet with 969,288 conv
and linear weights); the images here are scikit-learn's {train:,} + {test} handwritten digits, because they
come with the package. Accuracies are therefore higher than theirs and the training much shorter; the shapes
of curves can be compared, their levels cannot. {image}
With `--data cifar10 --data-dir DIR` the same commands run on CIFAR-10.
"""


def agreement(onnx: Path, checkpoint: Path, samples: data.Data) -> tuple[int, int]:
    """On how many held-out images stock onnxruntime and torch choose the same class, and of how many."""
    session = Session(onnx)
    model, _ = checkpoints.load_model(checkpoint)
    model.eval()
    name, same = session.inputs[0].name, 0
    with torch.no_grad():
        for images, _ in samples.test.batches(60):
            mine = model(images).argmax(1).numpy()
            same += int((session.run({name: images.numpy()})[0].argmax(1) == mine).sum())
    return same, samples.test.size


def command_block(command: str) -> str:
    """The command as a newcomer would type it."""
    return f"```\nsparse-export {command}\n```"


class Page:
    """The report being written: sections with what the original had, commands, figures, finding."""

    def __init__(self, work: Path, docs: Path, size: Size) -> None:
        self.figures = docs / "figures"
        self.figures.mkdir(parents=True, exist_ok=True)
        self.commands = experiments.commands(size, str(work))
        self.parts: list[str] = []

    def section(
        self, title: str, theirs: str, steps: Sequence[str], figures: Sequence[Path], found: str
    ) -> None:
        """Add a section; `steps` name the commands."""
        self.parts.append(f"## {title}\n\n*The original:* {theirs}\n")
        self.parts += [command_block("\nsparse-export ".join(self.commands[step] for step in steps))]
        self.parts += [f"![{title}](figures/{path.name})" for path in figures]
        self.parts.append(f"{found}\n")

    def text(self) -> str:
        """The page as Markdown."""
        return "\n\n".join(part.strip("\n") for part in self.parts) + "\n"


def vgg_sections(page: Page, rows: list[dict[str, Any]], held_out: int) -> None:
    """Sweep and zoom of VGG-11."""
    figure = report_plots.sweep(rows, "VGG-11, global magnitude pruning", page.figures / "vgg-sweep.png")
    theirs = "accuracy falls sharply past a point, with a large oscillation near 85 %."
    found = findings.collapse(rows, "VGG-11")
    page.section("1. VGG-11, no retraining", theirs, ["vgg"], [figure], found)
    zone = [row for row in rows if row["rate"] >= 0.6]
    figure = plots.accuracy_by_seed(zone, "VGG-11, 60 % and more: each seed", page.figures / "vgg-zoom.png")
    page.section(
        "2. Is the oscillation real?",
        "a finer sweep over 0.80-0.90 of one net.",
        ["vgg"],
        [figure],
        findings.oscillation(rows, held_out),
    )


def dense_section(page: Page, rows: list[dict[str, Any]]) -> None:
    """Sweeps of the DenseNet with the chosen point."""
    path = page.figures / "dense-sweep.png"
    figure = report_plots.sweep(rows, "DenseNet, global magnitude pruning", path, CHOSEN)
    chosen = [row for row in rows if abs(row["rate"] - CHOSEN) < 1e-9]
    found = (
        f"{findings.collapse(rows, 'the DenseNet')} The chosen rate {CHOSEN} leaves exactly "
        f"{chosen[0]['nonzeros']:,} of {chosen[0]['weights']:,} weights, as in the original, and "
        "here an accuracy of "
        f"{findings.pct(findings.mean_at(rows, CHOSEN))} before any retraining."
    )
    theirs = "a coarse sweep, finer ones over 0.80-0.90 and 0.90-0.95, a chosen point of 0.9235."
    page.section("3. DenseNet and the chosen point", theirs, ["dense"], [figure], found)


def footprint_section(page: Page, work: Path, results: dict[str, Any]) -> None:
    """Theory in its right unit against real bytes."""
    model, _ = checkpoints.load_model(work / "retrained.pt")
    packed = footprint.packed_bytes(model, ("csr", "auto"))
    exported = results["csr-file"]
    weights = work / "weights-only.pt"
    layers = prune.prunable(model)
    checkpoints.write(weights, {f"{n}.weight": model.state_dict()[f"{n}.weight"] for n in layers})
    sizes = {
        "dense": 4 * results["retrained"]["weights"],
        "theory": footprint.theory_bits(model) // 8,
        "entropy": footprint.entropy_bytes(model),
        **packed,
        "archive": footprint.archive_bytes(weights),
        "whole": footprint.archive_bytes(work / "retrained.pt"),
        "others": sum(t.numel() for t in model.state_dict().values()) - results["retrained"]["weights"],
        "onnx": exported["file_bytes"],
        "onnx dense": exported["dense_file_bytes"],
    }
    shown = {
        "weights, dense fp32": sizes["dense"],
        "checkpoint, masks left in (2 x dense)": 2 * sizes["dense"],
        "non-zeros x 32 bits, no positions": sizes["theory"],
        "values + entropy of positions": sizes["entropy"],
        "csr, per layer": sizes["csr"],
        "best format of each layer": sizes["auto"],
        "archive of these weights": sizes["archive"],
        "archive of the whole checkpoint": sizes["whole"],
        "ONNX file, csr": sizes["onnx"],
        "ONNX file, dense": sizes["onnx dense"],
    }
    title = "The DenseNet at the chosen point: theory and real bytes"
    reference = "non-zeros x 32 bits, no positions"
    figure = report_plots.footprint(shown, reference, title, page.figures / "footprint.png")
    found = findings.footprint(sizes, results["retrained"]["nonzeros"])
    theirs = (
        '"74151*32 = 2372382B = 2318Kb = 2.26Mb": bits taken for bytes (and two digits swapped), no indices.'
    )
    page.section("4. Memory footprint", theirs, ["csr-file"], [figure], found)


def retraining_section(page: Page, results: dict[str, Any], held_out: int) -> None:
    """Before and after retraining, pruned and not."""
    dense = next(r["accuracy"] for r in results["dense"] if r["seed"] == 0 and r["rate"] == 0)
    pruned, retrained = results["pruned"], results["retrained"]
    pairs = {
        f"pruned to {retrained['nonzeros']:,} non-zeros": (pruned["accuracy"], retrained["accuracy"]),
        "unpruned": (dense, results["unpruned"]["accuracy"]),
    }
    figure = report_plots.retraining(
        pairs, "DenseNet, learning-rate rewinding", page.figures / "retraining.png"
    )
    theirs = "80.625 -> 82.34 % at rate 0.9235; 88.875 -> 91.07 % unpruned."
    found = findings.retraining(pruned, retrained, dense, results["unpruned"]["accuracy"])
    found += f"\n\n{findings.dead(results['connected'], retrained, results['reconnected'], held_out)}"
    steps = ["pruned", "retrained", "unpruned", "connected", "reconnected"]
    page.section("5. Retraining", theirs, steps, [figure], found)


def binary_section(page: Page, work: Path, results: dict[str, Any], samples: data.Data) -> None:
    """The binarization plot that was missing."""
    dense = next(r["accuracy"] for r in results["vgg"] if r["seed"] == 0 and r["rate"] == 0)
    scores = {m: results[m]["accuracy"] for m in ("sign", "ste", "binaryconnect", "xnor")}
    names = {
        "ste": "alpha sign(W), straight-through",
        "binaryconnect": "BinaryConnect: sign(W)",
        "xnor": "XNOR-Net: binary activations too",
    }
    curves = {label: results[m]["history"]["accuracy"] for m, label in names.items()}
    levels = {"float weights": dense, "sign() without training": scores["sign"]}
    path = page.figures / "binarization.png"
    figure = report_plots.binarization(curves, levels, "VGG-11 with weights of one bit", path)
    exported = results["bit-file"]
    same, total = agreement(work / "ste.bitpack.onnx", work / "ste.pt", samples)
    ratio = exported["dense_file_bytes"] / exported["file_bytes"]
    found = findings.binarization(dense, scores, same, total, ratio)
    theirs = "binarization reduced the accuracy; the plot was missing."
    steps = ["sign", "ste", "binaryconnect", "xnor", "bit-file"]
    page.section("6. Binarization", theirs, steps, [figure], found)


def ways_section(page: Page, results: dict[str, Any], size: Size) -> None:
    """The open question."""
    rows, repaired, rewound = (results[name] for name in ("ways", "rounds", "rewinding"))
    figure = report_plots.ways(rows, "DenseNet", page.figures / "ways.png")
    theirs = "with Han et al. 2015, how should the weights be set for the subsequent pruning?"
    found = f"{findings.ways(rows, CHOSEN, size.epochs)}\n\n{findings.rounds(rows, repaired, CHOSEN)}"
    page.section(
        "7. The open question: how to go on after pruning",
        theirs,
        ["ways", "rounds", "rewinding"],
        [figure],
        found,
    )
    page.parts += [ways_table(rows), findings.rewinding(rewound, CHOSEN), ways_table(rewound)]


def ways_table(rows: list[dict[str, Any]]) -> str:
    """Accuracy by way and rate, mean and range over seeds."""
    rates = sorted({row["rate"] for row in rows})
    nets = {rate: next(r for r in rows if r["rate"] == rate) for rate in rates}
    head = [f"{nets[r]['nonzeros']:,} non-zeros, {nets[r]['csr_bytes'] / 1000:.0f} kB in csr" for r in rates]
    lines = ["| way | " + " | ".join(head) + " |", "|---|" + "---:|" * len(rates)]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for rate in rates:
            found = [r["accuracy"] for r in rows if r["method"] == method and r["rate"] == rate]
            mean, low, high = (findings.pct(float(f(found))) for f in (np.mean, min, max))
            cells.append(f"{mean} ({low} to {high})")
        lines.append(f"| {METHODS[method][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(work: Path, docs: Path, size: Size) -> Path:
    """Run what is missing and write the page and its figures; returns the page's path."""
    results = experiments.run_all(size, work)
    samples = data.digits()
    page = Page(work, docs, size)
    small = "image-size 16" in size.dense_recipe
    page.parts.append(
        INTRODUCTION.format(
            minutes="20 minutes" if size == DEFAULT else "a day",
            train=samples.train.size,
            test=samples.test.size,
            image="In this size the DenseNet reads 16x16 images." if small else "All images are 32x32.",
        )
    )
    vgg_sections(page, results["vgg"], samples.test.size)
    dense_section(page, results["dense"])
    footprint_section(page, work, results)
    retraining_section(page, results, samples.test.size)
    binary_section(page, work, results, samples)
    ways_section(page, results, size)
    page.section(
        "8. Pruned, then INT8",
        "not tried; what else a small and fast net needs on a CPU.",
        [name for structures in integers.NETS.values() for name in structures.values()],
        [],
        integers.section(results, samples.test.size),
    )
    target = docs / "lab-report.md"
    with atomic_file(target, force=True) as handle:
        handle.write(page.text().encode())
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the report; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="report", description="Run the lab's experiments and write docs/lab-report.md."
    )
    parser.add_argument("--work", type=Path, default=None, help="results (default build/lab, build/lab-full)")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--full", action="store_true", help="more seeds, rates and epochs")
    chosen = parser.parse_args(arguments)
    size = FULL if chosen.full else DEFAULT
    try:
        print(write(chosen.work or Path("build/lab-full" if chosen.full else "build/lab"), chosen.docs, size))
    except SparseExportError as error:
        print(f"report: {error}", file=sys.stderr)
        return error.exit_code
    return 0
