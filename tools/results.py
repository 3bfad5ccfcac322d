"""Tables of benchmarks/results: all of them for docs/results.md, a small one for README.md."""

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


_PEERS = {"int8": "INT8", "openvino": "OpenVINO"}


def models(document: Document) -> str:
    """Latency of whole nets: dense, packed and what else a user could take; the fastest in bold."""
    rows = document["rows"]
    peers = [peer for peer in _PEERS if any(peer in row for row in rows)]
    lines = []
    for row in rows:
        times = {kind: row[kind] for kind in ("dense", "sparse", *peers) if kind in row}
        ms = {kind: milliseconds(value, times.values()) for kind, value in times.items()}
        target = f"{row['target']:g}x" if row["target"] and row["threads"] == 1 else ""
        lines.append(
            (row["model"], f"{100 * row['sparsity']:.4g} %", str(row["threads"]), ms["dense"], ms["sparse"],
             f"{row['ratio']:.2f}x", target, *(ms.get(peer, "") for peer in peers))
        )  # fmt: skip
    heads = ["ms, batch 1", "zeros", "threads", "dense", "packed", "faster", "target"]
    text = table(" | ".join([*heads, *(_PEERS[peer] for peer in peers)]), lines)
    return "\n\n".join([text, *(_wins(rows, peer) for peer in peers)])


def milliseconds(value: float, beside: Iterable[float]) -> str:
    """A time, bold where none beside is less."""
    text = f"{value:.3f}" if value < 1 else f"{value:.2f}"
    return f"**{text}**" if value == min(beside) else text


def _wins(rows: list[dict[str, Any]], peer: str) -> str:
    """In how many rows the peer is faster than the packed net, and what it computes."""
    measured = [row for row in rows if peer in row]
    wins = sum(row[peer] < row["sparse"] for row in measured)
    what = {
        "int8": "onnxruntime, static QDQ, a scale for each channel: it rounds weights and activations",
        "openvino": "the dense net in float32",
    }[peer]
    return f"{_PEERS[peer]} ({what}) is faster than packed in {wins} of {len(measured)} rows."


def kernels(document: Document) -> str:
    """Linear layers beside 4-bit weights; nothing where those were not measured."""
    rows = []
    for row in document["rows"]:
        if "4bit" in row and row["density"] == 0.1:
            times = [row["dense"], row["sparse"], row["4bit"]]
            dense, packed, bits = (milliseconds(value, times) for value in times)
            rows.append((row["layer"], dense, packed, f"{row['ratio']:.2f}x", bits))
    head = "ms, 90 % zeros, 1 thread | dense | packed | faster | 4-bit MatMulNBits"
    return table(head, rows) if rows else ""


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


def loads(document: Document) -> str:
    """Every file with its time, memory and peak, each in parts of the dense file's."""
    dense = {row["net"]: row for row in document["rows"] if row["file"] == "dense"}
    rows = []
    for row in document["rows"]:
        beside = dense[row["net"]]
        figures = [
            f"{row[key]:,.{digits}f} ({row[key] / beside[key]:.2f}x)"
            for key, digits in (("load_ms", 0), ("loaded_mb", 1), ("peak_mb", 0))
        ]
        name = f"{row['net']} {row['file']}{', operators registered' if row['library'] else ''}"
        rows.append((name, f"{row['bytes'] / 1e6:.2f}", *figures, f"{row['run_mb']:.1f}"))
    head = "MiB, one thread | .onnx MB | load ms | private after load | peak while loading | after a run"
    return table(head, rows)


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
    ("kernels", "Linear 4096 x 4096 beside 4-bit weights", kernels, "python benchmarks/kernels.py"),
    (
        "memory",
        "Memory with the operators registered, 90 % zeros",
        memory,
        "python benchmarks/models.py --memory",
    ),
    ("loads", "Loading packed files, 90 % zeros", loads, "python benchmarks/loads.py"),
    ("binary", "Binarized layers and nets", binary, "python benchmarks/binary.py"),
)


#: Rows of the README's table: title, file, what picks the row, dense, packed, the peer and its name.
_HIGHLIGHTS = (
    ("ResNet-50, 90 % zeros", "models", ("model", "resnet50", 0.9), "int8", "dense INT8"),
    ("ResNet-50, 95 % zeros", "models", ("model", "resnet50", 0.95), "int8", "dense INT8"),
    ("DenseNet-121, 90 % zeros", "models", ("model", "densenet121", 0.9), "int8", "dense INT8"),
    ("VGG-11-BN, 90 % zeros", "models", ("model", "vgg11_bn", 0.9), "int8", "dense INT8"),
    (
        "Linear 4096², one row, 90 % zeros",
        "kernels",
        ("layer", "linear 4096 M=1", 0.1),
        "4bit",
        "4-bit",
    ),
    (
        "XNOR-Net VGG-11, 1-bit weights and activations",
        "binary",
        ("name", "XNOR-Net VGG-11", None),
        "int8",
        "dense INT8",
    ),
)


def highlights() -> str:
    """Nets and layers on one thread, packed beside dense and the strongest peer; the fastest in bold."""
    rows, documents = [], {}
    for title, file, (key, name, share), peer, peer_name in _HIGHLIGHTS:
        path = RESULTS / f"{file}.json"
        if not path.exists():
            continue
        documents[file] = json.loads(path.read_text())
        for row in documents[file]["rows"]:
            wanted = share is None or share in (row.get("sparsity"), row.get("density"))
            if row[key] != name or not wanted or row.get("threads", 1) != 1:
                continue
            held = row.get("ms", row)
            times = [held.get("dense", held.get("fp32")), held.get("sparse", held.get("ours")), held[peer]]
            dense, packed, other = (milliseconds(value, times) for value in times)
            rows.append((title, dense, packed, f"{times[0] / times[1]:.1f}x", f"{other} ({peer_name})"))
    text = table("ms, one thread | dense float32 | packed | faster | what else one would take", rows)
    return f"{text}\n\n{where(documents['models'], 'make benchmarks')}"


def page() -> str:
    """docs/results.md."""
    return f"""# Results

Every published figure, with its date, machine and command; where a peer is faster it is in bold. How they are
measured: [benchmarking.md](benchmarking.md), [sizes.md](sizes.md). GPU figures: [gpu.md](gpu.md).

{render()}
"""


def render() -> str:
    """All tables whose results are there."""
    parts = []
    for name, title, build, command in SECTIONS:
        path = RESULTS / f"{name}.json"
        if path.exists():
            document = json.loads(path.read_text())
            if content := build(document):
                parts.append(f"**{title}**\n\n{content}\n\n{where(document, command)}")
    from . import integer_results

    parts += integer_results.sections()
    bench = RESULTS / "vgg11.md"
    if bench.exists():
        parts.append(f"**`sparse-export bench` on the demo's net**\n\n{bench.read_text().strip()}")
    return "\n\n".join(parts)
