"""Single layers: the packed operators against onnxruntime's dense float32 on the same pruned weights.

``python benchmarks/kernels.py [--density 0.1] [--targets avx512 avx2] [--threads 1] [--only 3x3]
[--linear-time] [--int8]``. Prints one line a layer and puts it into results/kernels.json in the place of an
older one; with ``--only`` it writes nothing. Beside linear layers stands the same weight in 4 bits
(MatMulNBits, block 128, accuracy level 4). For avx2 and scalar onnxruntime is held to it too
(`avx2_runtime`). ``--formats`` has linear layers of one to sixteen rows in every format instead
(few_rows.py), and writes results/kernels-formats.json. ``--int8`` compares the quantized operators with
dense INT8 instead (results/kernels-int8.json), with ``--blocks`` on weights pruned in blocks of four input
channels.
"""

from __future__ import annotations

import argparse
from typing import Any

import avx2_runtime
import common
import few_rows
import numpy as np
import quantized
from field import environment
from numpy.typing import NDArray

from sparse_export.runtime.target import kernel_target

Geometry = tuple[tuple[int, ...], tuple[int, ...], int, int]  # weight, input, stride, pad
LAYERS: dict[str, Geometry] = {
    "3x3 64 @56": ((64, 64, 3, 3), (1, 64, 56, 56), 1, 1),
    "3x3 128 @28": ((128, 128, 3, 3), (1, 128, 28, 28), 1, 1),
    "3x3 256 @14": ((256, 256, 3, 3), (1, 256, 14, 14), 1, 1),
    "3x3 512 @7": ((512, 512, 3, 3), (1, 512, 7, 7), 1, 1),
    "3x3 128 @56 stride 2": ((128, 128, 3, 3), (1, 128, 56, 56), 2, 1),
    "3x3 512 @28": ((512, 512, 3, 3), (1, 512, 28, 28), 1, 1),
    "1x1 64-256 @56": ((256, 64, 1, 1), (1, 64, 56, 56), 1, 0),
    "1x1 512-128 @28": ((128, 512, 1, 1), (1, 512, 28, 28), 1, 0),
    "1x1 256-1024 @14": ((1024, 256, 1, 1), (1, 256, 14, 14), 1, 0),
    "1x1 2048-512 @7": ((512, 2048, 1, 1), (1, 2048, 7, 7), 1, 0),
    "3x3 512 @4": ((512, 512, 3, 3), (1, 512, 4, 4), 1, 1),
    "linear 4096 M=1": ((4096, 4096), (1, 4096), 1, 0),
    "linear 4096 M=16": ((4096, 4096), (16, 4096), 1, 0),
    "linear 4096 M=196": ((4096, 4096), (196, 4096), 1, 0),
}
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)


def run(name: str, layer: Geometry, density: float, threads: int, with_peers: bool = True) -> dict[str, Any]:
    """One line of the table."""
    shape, x_shape, stride, pad = layer
    common.MODELS.mkdir(parents=True, exist_ok=True)
    path = common.MODELS / f"layer {name} {density}.onnx".replace(" ", "-")
    if not path.exists():
        weight = common.pruned(np.random.default_rng(0), shape, density)
        path.write_bytes(common.layer_model(weight, stride, pad).SerializeToString())
    row: dict[str, Any] = {"layer": name, "density": density, "threads": threads, "target": kernel_target()}
    peers = common.four_bits(path) if with_peers and len(shape) == 2 else {}
    row |= common.measure(common.subjects(path) | peers, x_shape, threads, 0.3)
    row["ratio"] = row["dense"] / row["sparse"]
    beside = f"  4 bits {row['4bit']:8.3f} ms" if "4bit" in row else ""
    print(
        f"{name:22s} {row['target']:6s} density {density:.2f}  dense {row['dense']:8.3f} ms  "
        f"sparse {row['sparse']:8.3f} ms  {row['ratio']:5.2f}x{beside}",
        flush=True,
    )
    return row


def run_int8(name: str, layer: Geometry, density: float, threads: int, blocks: bool) -> dict[str, Any]:
    """One line of the table of quantized layers."""
    shape, x_shape, stride, pad = layer
    common.MODELS.mkdir(parents=True, exist_ok=True)
    kept = shape if not blocks else (shape[0], -(-shape[1] // 4), *shape[2:])
    weight = common.pruned(np.random.default_rng(0), kept, density)
    if blocks:
        weight = np.repeat(weight, 4, axis=1)[:, : shape[1]]
    stem = f"layer {name} {density}{' blocks' if blocks else ''}".replace(" ", "-")
    found: dict[str, common.Runnable] = {
        kind: (path, "onnxruntime")
        for kind, path in quantized.write(common.MODELS, stem, weight, stride, pad).items()
    }
    if len(shape) == 2 and x_shape[0] == 1:
        path = common.MODELS / f"{stem}.onnx"
        path.write_bytes(common.layer_model(weight, stride, pad).SerializeToString())
        found |= common.four_bits(path)
    row: dict[str, Any] = {"layer": name, "density": density, "blocks": blocks, "threads": threads}
    row |= common.measure(found, x_shape, threads, 0.3)
    row["ratio"] = row["dense int8"] / row["sparse int8"]
    print(
        f"{name:22s} density {density:.2f}{' 1x4' if blocks else ''}  dense int8 {row['dense int8']:8.3f} ms"
        f"  sparse int8 {row['sparse int8']:8.3f} ms  {row['ratio']:5.2f}x"
        + (f"  4 bits {row['4bit']:8.3f} ms" if "4bit" in row else ""),
        flush=True,
    )
    return row


def linear_fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """R^2 of the best line."""
    slope, base = np.polyfit(x, y, 1)
    return 1.0 - float(np.sum((y - slope * x - base) ** 2) / np.sum((y - y.mean()) ** 2))


def plot_linear_time(threads: int) -> list[dict[str, Any]]:
    """Time over density for a few layers, with R^2, into results/kernels-density.png."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    rows: list[dict[str, Any]] = []
    for name in ("3x3 64 @56", "3x3 256 @14", "1x1 256-1024 @14", "linear 4096 M=1"):
        mine = [run(name, LAYERS[name], density, threads, False) for density in DENSITIES]
        times = np.array([row["sparse"] for row in mine])
        fit = linear_fit(np.array(DENSITIES), times)
        axes.plot(DENSITIES, times / times[-1], marker="o", label=f"{name}: R² {fit:.4f}")
        print(f"{name}: R^2 {fit:.4f}")
        rows += [row | {"r_squared": fit} for row in mine]
    axes.set(xlabel="density", ylabel="time, relative to density 0.4")
    axes.legend()
    common.RESULTS.mkdir(exist_ok=True)
    figure.savefig(common.RESULTS / "kernels-density.png", dpi=120)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--density", type=float, nargs="+", default=[0.1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="layers whose name holds this")
    parser.add_argument("--targets", nargs="+", default=[None], help="instruction sets")
    parser.add_argument("--linear-time", action="store_true", help="time over density instead, with a plot")
    parser.add_argument("--formats", action="store_true", help="linear layers in every format instead")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16], help="of X, with --formats")
    parser.add_argument("--int8", action="store_true", help="quantized layers instead")
    parser.add_argument("--blocks", action="store_true", help="with --int8: blocks of four input channels")
    arguments = parser.parse_args()
    if arguments.formats:
        lines = []
        for target in arguments.targets:
            with environment(avx2_runtime.environment(target)):
                lines += few_rows.table(tuple(arguments.rows), arguments.threads, arguments.only)
        if not arguments.only:
            keys = ("target", "threads", "rows", "weight")
            common.save("kernels-formats", common.merged("kernels-formats", lines, keys))
        return
    if arguments.linear_time:
        common.save("kernels-density", plot_linear_time(arguments.threads))
        return
    chosen = {name: layer for name, layer in LAYERS.items() if arguments.only in name}
    if arguments.int8:
        rows = [
            run_int8(*item, density, arguments.threads, arguments.blocks)
            for density in arguments.density
            for item in chosen.items()
        ]
        if not arguments.only:
            common.save("kernels-int8-blocks" if arguments.blocks else "kernels-int8", rows)
        return
    rows = []
    for target in arguments.targets:
        with environment(avx2_runtime.environment(target)):
            rows += [
                run(*item, density, arguments.threads)
                for density in arguments.density
                for item in chosen.items()
            ]
    if not arguments.only:
        common.save("kernels", common.merged("kernels", rows, ("target", "threads", "density", "layer")))


if __name__ == "__main__":
    main()
