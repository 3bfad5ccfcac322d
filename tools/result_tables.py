"""One table for each file of benchmarks/results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    names = head.split(" | ")
    lines = [f"| {head} |", "|" + "|".join(["---", *["---:"] * (len(names) - 1)]) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


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
    """Every layer alone on every instruction set that was measured; linear ones beside 4-bit weights."""
    lines = []
    for row in sorted(document["rows"], key=lambda row: (_order(row), -row["density"])):
        times = [row["dense"], row["sparse"], *([row["4bit"]] if "4bit" in row else [])]
        dense, packed, bits = ([milliseconds(value, times) for value in times] + [""])[:3]
        zeros = f"{1 - row['density']:.0%}"
        lines.append(
            (row["layer"], zeros, vectors(row["target"]), dense, packed, f"{row['ratio']:.2f}x", bits)
        )
    return table("ms, 1 thread | zeros | vectors | dense | csr | faster | 4-bit MatMulNBits", lines)


def formats(document: Document) -> str:
    """Linear layers of few rows in every format, beside dense and 4- and 2-bit weights."""
    lines = []
    for row in sorted(document["rows"], key=lambda row: (_order(row), row["rows"])):
        times = [row[kind] for kind in ("dense", "packed", "4bit", "2bit")]
        dense, packed, four, two = (milliseconds(value, times) for value in times)
        floor = f"{row['roofline']:.3f}"
        lines.append(
            (row["weight"], str(row["rows"]), vectors(row["target"]), dense, packed, f"{row['ratio']:.2f}x",
             f"{row['bytes'] / 2**20:.1f}", floor, four, two)
        )  # fmt: skip
    head = "ms, 1 thread | M | vectors | dense | packed | faster | MiB | at dense's bytes per second"
    return table(f"{head} | 4-bit | 2-bit", lines)


def defaults(document: Document) -> str:
    """Nets exported without an option, from half to nearly all weights zero."""
    lines = []
    for row in document["rows"]:
        ms, size = row["ms"], row["bytes"]
        which = (row["model"], f"{row['sparsity']:.0%}", vectors(row["target"]))
        faster = (f"{ms['dense'] / ms[kind]:.2f}x" for kind in ("default", "other"))
        sizes = (f"{size['default'] / 1e6:.2f} MB", f"{size['default'] / size['csr']:.2f}")
        times = (f"{ms['dense']:.2f}", f"{ms['default']:.2f}")
        lines.append((*which, *times, *faster, f"{ms['default'] / ms['csr']:.2f}", *sizes))
    head = "ms, 1 thread | zeros | vectors | dense | default | faster | faster, exported on the other"
    return table(f"{head} | time / csr's | file | file / csr's", lines)


def every_net(document: Document) -> str:
    """Files of nets of many kinds beside the bytes of their weights' formats."""
    lines = []
    for row in document["rows"]:
        sizes = (f"{row[kind]:,}" for kind in ("dense", "file", "formats", "over"))
        same = "same bits" if row["difference"] == 0 else f"{row['difference']:.1e}"
        lines.append((row["net"], *sizes, f"{row['dense'] / row['file']:.2f}x", str(row["left_dense"]), same))
    head = "bytes, 90 % zeros | dense | file | formats of its weights | the file's rest | smaller"
    return table(f"{head} | weights left dense, each with its reason | outputs in stock onnxruntime", lines)


_VECTORS = {"avx512": "AVX-512", "avx512vnni": "AVX-512", "avx2": "AVX2", "scalar": "none"}


def vectors(target: str) -> str:
    """An instruction set as people call it."""
    return _VECTORS.get(target, target)


def _order(row: dict[str, Any]) -> int:
    """The best instruction set first."""
    return list(_VECTORS).index(row["target"])


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
    for row in sorted(document["rows"], key=_order):
        ms = row["ms"]
        peer = next((name for name in ms if name not in ("ours", "fp32")), None)
        beside = f"{ms[peer] / ms['ours']:.2f}x ({peer})" if peer else ""
        faster = f"{ms['fp32'] / ms['ours']:.2f}x"
        rows.append((row["name"], vectors(row["target"]), f"{ms['ours']:.3f}", faster, beside))
    return table("1-bit weights, 1 thread | vectors | ms | over fp32 | over another", rows)
