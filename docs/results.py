"""Tables of benchmarks/results for README.md: each with its date, machine and command."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
Document = dict[str, Any]


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    names = head.split(" | ")
    lines = [f"| {head} |", "|" + "|".join(["---", *["---:"] * (len(names) - 1)]) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def where(document: Document, command: str) -> str:
    """Date, machine, versions and command of a result."""
    machine = document["machine"]
    versions = machine["versions"]
    return (
        f"<sub>{machine['date']}, {machine['cpu']} with {_vectors(machine['flags'])}, "
        f"{machine['cpus']} cores, onnxruntime {versions['onnxruntime']}: `{command}`</sub>"
    )


def _vectors(flags: list[str]) -> str:
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "baseline x86-64"


def sizes(document: Document) -> str:
    """Every size claim with its target."""
    rows = [
        (
            f"{row['section'].split(':')[0].split(' (')[0]}: {row['name'].strip()}",
            _quantity(row),
            row["target"],
            _holds(row["holds"]),
        )
        for row in document["sizes"]
        if row["holds"] is not None and not row["name"].startswith("peer")
    ]
    return table("size | measured | target | ", rows)


def _quantity(row: dict[str, Any]) -> str:
    value = f"{row['value']:,.0f}" if row["unit"] in ("B", "") else f"{row['value']:,.2f}"
    return f"{value} {row['unit']}".strip()


def _holds(holds: bool) -> str:
    return "holds" if holds else "missed"


def models(document: Document) -> str:
    """Dense against packed latency of whole nets."""
    rows = []
    for row in document["rows"]:
        target = f"{row['target']:g}x" if row["target"] and row["threads"] == 1 else ""
        rows.append(
            (row["model"], f"{row['sparsity']:.2%}", str(row["threads"]), f"{row['dense']:.2f}",
             f"{row['sparse']:.2f}", f"{row['ratio']:.2f}x", target)
        )  # fmt: skip
    return table("net, batch 1 | zeros | threads | dense ms | packed ms | faster | target", rows)


def memory(document: Document) -> str:
    """Private memory of one net, dense and packed."""
    rows = [
        (
            f"{row['model']} {row['kind']}",
            *(f"{row[key]:.1f}" for key in ("file_mb", "loaded_mb", "run_mb", "peak_mb")),
        )
        for row in document["rows"]
    ]
    return table("MiB | .onnx file | private after load | after a run | peak (VmHWM)", rows)


def binary(document: Document) -> str:
    """1-bit layers and nets against float32, INT8 or 2-bit of the same run."""
    rows = []
    for row in document["rows"]:
        ms = row["ms"]
        peer = next((name for name in ms if name not in ("ours", "fp32")), None)
        beside = f"{ms[peer] / ms['ours']:.2f}x ({peer})" if peer else ""
        rows.append((row["name"], f"{ms['ours']:.3f}", f"{ms['fp32'] / ms['ours']:.2f}x", beside))
    return table("1-bit weights | ms | over fp32 | over another", rows)


SECTIONS = (
    ("sizes", "Sizes, nets trained on real digits", sizes, "python benchmarks/sizes.py"),
    ("models", "Speed with the operators registered", models, "python benchmarks/models.py --threads 1 2"),
    (
        "memory",
        "Memory with the operators registered, 90 % zeros",
        memory,
        "python benchmarks/models.py --memory",
    ),
    ("binary", "Binarized layers and nets", binary, "python benchmarks/binary.py"),
)


def render() -> str:
    """All tables whose results are there."""
    parts = []
    for name, title, build, command in SECTIONS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            document = json.loads(path.read_text())
            parts.append(f"**{title}**\n\n{build(document)}\n\n{where(document, command)}")
    bench = RESULTS / "vgg11.md"
    if bench.exists():
        parts.append(f"**`sparse-export bench` on the demo's net**\n\n{bench.read_text().strip()}")
    return "\n\n".join(parts)
