"""Tables of sparse INT8: dense and packed, float32 and INT8, with integer dot products and without."""

from __future__ import annotations

import json
from typing import Any

from .result_tables import Document, milliseconds, table
from .results import RESULTS, where

#: Results by instruction set, and the command that measures each.
FILES = {
    "int8": ("AVX-512 VNNI", "python benchmarks/int8.py"),
    "int8-avx2": ("AVX2", "python benchmarks/int8.py --target avx2"),
    "int8-avxvnni": ("AVX-VNNI", "python benchmarks/int8.py --target avxvnni_evex"),
}
#: What a reader has to know of a table.
REMARKS = {
    "int8-avxvnni": "The library's dot products of 256 bits are in the encoding of AVX512-VNNI, on a "
    "processor without AVX-VNNI. onnxruntime cannot be held to that: dense it has AVX-512 here, so its "
    "columns are bounds of what it reaches with AVX-VNNI."
}
COLUMNS = ("dense float32", "packed float32", "dense INT8", "packed INT8")
#: Rows of the README, as the benchmark calls them, and what the README calls them.
HIGHLIGHTS = {
    "resnet50 90% unstructured": "ResNet-50, 90 % zeros",
    "resnet50 95% unstructured": "ResNet-50, 95 % zeros",
    "resnet50 90% 1x4": "ResNet-50, 90 % in 1x4 blocks",
    "vgg11_bn 90% unstructured": "VGG-11-BN, 90 % zeros",
    "vgg11-cifar 90% unstructured": "lab VGG-11, 90 % zeros",
    "layer 4096x4096 90% unstructured": "Linear 4096², one row, 90 % zeros",
}
Row = dict[str, Any]


def documents() -> dict[str, Document]:
    """What was measured, by the name of the file."""
    paths = {name: RESULTS / f"{name}.json" for name in FILES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def highlights() -> str:
    """Some nets and a layer, the four ways on one thread, the fastest in bold; empty without results."""
    lines, last = [], ""
    for name, document in documents().items():
        if name in REMARKS:
            continue
        vectors, command = FILES[name]
        rows = {row["what"]: row for row in document["rows"] if row["threads"] == 1}
        for what, title in HIGHLIGHTS.items():
            if what in rows:
                lines.append((f"{title}, {vectors}", *_times(rows[what]), _gain(rows[what])))
        last = where(document, command)
    if not lines:
        return ""
    head = " | ".join(["ms, one thread", *COLUMNS, "packed INT8 over dense INT8"])
    return f"{table(head, lines)}\n\n{last}"


def all_rows(document: Document) -> str:
    """Every row of one instruction set: times, stock onnxruntime's, bytes and memory."""
    lines = []
    for row in document["rows"]:
        stock = f"{row['ms']['packed INT8, stock']:.3g}"
        target = f"{row['wanted']:g}x" if row.get("wanted") else ""
        sizes = [f"{row['bytes'][name] / 1e6:.2f}" for name in ("dense INT8", "packed INT8")]
        private = f"{row['private_bytes']['packed INT8'] / 1e6:.1f}"
        beside = [row["ms"][name] for name in row["ms"] if name.endswith(" weights")]
        four = f"{min(beside):.3g}" if beside else ""
        lines.append(
            (row["what"], str(row["threads"]), *_times(row), stock, four, _gain(row), target, *sizes, private)
        )
    names = [
        "ms",
        "threads",
        *COLUMNS,
        "packed INT8, stock onnxruntime",
        "4-bit",
        "over dense INT8",
        "target",
    ]
    text = table(" | ".join([*names, "dense INT8 MB", "packed INT8 MB", "private MB"]), lines)
    ahead = sum(_fastest(row) == "packed INT8" for row in document["rows"])
    return f"{text}\n\nPacked INT8 is the fastest of the four in {ahead} of {len(document['rows'])} rows."


def sections() -> list[str]:
    """One section an instruction set, for docs/results.md."""
    return [
        "\n\n".join(
            [
                f"**Sparse INT8, {FILES[name][0]}**",
                *([REMARKS[name]] if name in REMARKS else []),
                all_rows(document),
                where(document, FILES[name][1]),
            ]
        )
        for name, document in documents().items()
    ]


def _times(row: Row) -> list[str]:
    return [milliseconds(row["ms"][name], [row["ms"][column] for column in COLUMNS]) for name in COLUMNS]


def _fastest(row: Row) -> str:
    return min(COLUMNS, key=lambda name: float(row["ms"][name]))


def _gain(row: Row) -> str:
    return f"{row['ms']['dense INT8'] / row['ms']['packed INT8']:.2f}x"
