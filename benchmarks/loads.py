"""Loading: time, private memory and peak of packed files beside the dense file of the same net.

``python benchmarks/loads.py [--only demo] [--rounds 5]``. The demo's VGG-11 (``make demo``) at 90 % zeros in
every format that stores a weight, in stock onnxruntime, which expands it; its csr and default files with the
operators registered; then torchvision's VGG-11-BN, 507 MiB dense, random weights. Formats of few values get
the net with such values: what a file takes to load hangs on that, not on what the net says. One thread, fresh
processes that take turns, memory after the allocator has given back what is free. Writes results/loads.json;
with ``--only`` nothing. Some ten minutes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import models
import numpy as np
import onnx
from onnx import numpy_helper

import sparse_export

DEMO = Path(__file__).resolve().parent.parent / "demo-out" / "model.pt"
Array = np.ndarray[Any, Any]
STOCK, LIBRARY = "onnxruntime-stock", "onnxruntime"


def signs(weight: Array) -> Array:
    """0 and one magnitude."""
    found: Array = (np.sign(weight) * np.abs(weight[weight != 0]).mean()).astype(np.float32)
    return found


def few(weight: Array) -> Array:
    """Non-zeros of fifteen values."""
    levels = np.quantile(weight[weight != 0], np.linspace(0.03, 0.97, 15)).astype(np.float32)
    nearest = levels[np.abs(weight[..., None] - levels).argmin(-1)]
    return np.where(weight != 0, nearest, 0).astype(np.float32)


def two_of_four(weight: Array) -> Array:
    """Of four input channels the two largest."""
    if weight.shape[1] % 4:
        return weight
    groups = weight.reshape(weight.shape[0], -1, 4, *weight.shape[2:])
    kept = np.argsort(np.argsort(-np.abs(groups), 2), 2) < 2
    return np.where(kept, groups, 0).reshape(weight.shape).astype(np.float32)


def blocks(weight: Array) -> Array:
    """Of blocks of four outputs the tenth of largest sums, every weight of them."""
    if weight.shape[0] % 4:
        return weight
    sums = np.abs(weight).reshape(-1, 4, *weight.shape[1:]).sum(1)
    kept = np.repeat(sums >= np.quantile(sums, 0.9), 4, 0)
    return np.where(kept, weight + np.float32(1e-3), 0).astype(np.float32)


#: Format and what makes a weight one that it is for.
FORMATS: dict[str, Callable[[Array], Array] | None] = {
    "csr": None,
    "tight": None,
    "split": None,
    "bitmask": None,
    "bsr": blocks,
    "nm": two_of_four,
    "palette": few,
    "codebook": few,
    "ternary": signs,
    "signmask": signs,
    "signgaps": signs,
    "bitpack": lambda weight: np.where(weight < 0, np.float32(-0.02), np.float32(0.02)),
}


def changed(source: Path, target: Path, change: Callable[[Array], Array]) -> Path:
    """The model with every weight of a layer changed."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(change(weight), tensor.name))
    onnx.save(model, target)
    return target


def packed(source: Path, kind: str) -> Path:
    """The exported file beside its source, made once; "default": without an option."""
    target = source.with_suffix(f".{kind}.onnx")
    if not target.exists():
        asked: dict[str, Any] = {} if kind == "default" else {"format": kind}
        sparse_export.export(source, output=target, verify=False, **asked)
    return target


def demo() -> list[tuple[str, Path, str]]:
    """Name, file and runtime of each subject, the dense one first."""
    common.MODELS.mkdir(parents=True, exist_ok=True)
    dense = common.MODELS / "demo.onnx"
    if not dense.exists():
        sparse_export.export(DEMO, format="dense", output=dense, verify=False)
    found = [("dense", dense, STOCK), ("default", packed(dense, "default"), STOCK)]
    for kind, change in FORMATS.items():
        source = dense if change is None else dense.with_suffix(f".for-{kind}.onnx")
        if change is not None and not source.exists():
            changed(dense, source, change)
        found.append((kind, packed(source, kind), STOCK))
    return [*found, *((kind, packed(dense, kind), LIBRARY) for kind in ("csr", "default"))]


def large() -> list[tuple[str, Path, str]]:
    """The same of a net of half a gigabyte."""
    dense = models.Net("vgg11_bn", 0.9).path()
    kinds = [(kind, packed(dense, kind)) for kind in ("csr", "default")]
    return [("dense", dense, STOCK), *((*kind, runtime) for runtime in (STOCK, LIBRARY) for kind in kinds)]


#: Name of a net, its files, its input.
NETS: dict[str, tuple[Callable[[], list[tuple[str, Path, str]]], tuple[int, ...]]] = {
    "demo VGG-11": (demo, (1, 3, 32, 32)),
    "VGG-11-BN": (large, (1, 3, 224, 224)),
}


def measure(path: Path, runtime: str, shape: tuple[int, ...]) -> dict[str, float]:
    """Figures of one fresh process; memory in MiB."""
    found = common.in_process(path, runtime, shape, 1, 0.3, runs=3, warmup=2)
    held = found["memory"]
    return {
        "load_ms": found["load"]["ms"],
        "loaded_mb": common.private_bytes(held, "loaded") / 2**20,
        "run_mb": common.private_bytes(held, "first_run") / 2**20,
        "peak_mb": (held["loaded"]["peak"] - held["before"]["rss"]) / 2**20,
        "run_ms": statistics.median(found["latencies_ms"]),
    }


def run(net: str, rounds: int) -> list[dict[str, Any]]:
    """The rows of a net."""
    subjects, shape = NETS[net][0](), NETS[net][1]
    seen: list[list[dict[str, float]]] = [[] for _ in subjects]
    for _ in range(rounds):
        for figures, (_, path, runtime) in zip(seen, subjects, strict=True):
            figures.append(measure(path, runtime, shape))
    rows = []
    for figures, (name, path, runtime) in zip(seen, subjects, strict=True):
        row = {key: statistics.median(one[key] for one in figures) for key in figures[0]}
        rows.append(
            {"net": net, "file": name, "library": runtime == LIBRARY, "bytes": path.stat().st_size} | row
        )
        print(line(rows[-1], rows[0]), flush=True)
    return rows


def line(row: dict[str, Any], dense: dict[str, Any]) -> str:
    """A row as text, in parts of the dense file's."""
    times = {key: row[key] / dense[key] for key in ("load_ms", "loaded_mb", "peak_mb")}
    return (
        f"{row['net']:12s} {row['file']:9s} {'library' if row['library'] else 'stock':8s} "
        f"{row['bytes'] / 1e6:7.2f} MB  load {row['load_ms']:7.1f} ms ({times['load_ms']:.2f}x)  "
        f"loaded {row['loaded_mb']:6.1f} MiB ({times['loaded_mb']:.2f}x), run {row['run_mb']:6.1f}, "
        f"peak {row['peak_mb']:7.1f} ({times['peak_mb']:.2f}x)  a run {row['run_ms']:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="nets whose name holds this")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = [row for net in NETS if arguments.only in net for row in run(net, arguments.rounds)]
    if not arguments.only:
        common.save("loads", rows)


if __name__ == "__main__":
    main()
