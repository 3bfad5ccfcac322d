"""Sparse INT8: packed integer layers against the dense INT8 and the packed float32 of the same pruned net.

``python benchmarks/int8.py [--only resnet50] [--target avx2] [--threads 1] [--rounds 5] [--save]``. Weights
are random and pruned by
magnitude, anywhere or in blocks of four input channels, in every convolution and linear layer but the first:
speed depends on density, not on values. Every net stands there as dense float32, packed float32, dense INT8
(onnxruntime, static QDQ), and that same INT8 packed: in stock onnxruntime, and with the library. Sizes,
latency (medians of fresh processes that take turns) and private memory, beside what an empty session takes
and the activations that are alive at one time (`live`); layers alone first. Prints a row each
and writes results/int8.json; with ``--only`` nothing is written, but with ``--save`` these rows are put in
the place of those of the same names. ``--target avx2`` holds onnxruntime and the library
to AVX2 and writes results/int8-avx2.json; the files are the same, made for the processor that this runs on.
``--target avxvnni`` (``avxvnni_evex`` in a developer build, where the processor has AVX512-VNNI alone) holds
the library to AVX-VNNI, results/int8-avxvnni.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import avx2_runtime
import common
import live
import numpy as np
import onnx

import sparse_export
from sparse_export.runtime.target import kernel_target

#: `avxvnni_evex` is `avxvnni` in the other encoding, for processors that have these instructions in no other.
#: onnxruntime cannot be held to it: its dense INT8 has AVX512-VNNI there, which is no slower.
TARGETS = ["avx2", "avxvnni", "avxvnni_evex"]
STOCK, OURS = "onnxruntime-stock", "onnxruntime"
#: Net, where it is from, its input, sparsity, structure, how much faster than dense INT8 is wanted.
NETS: list[tuple[str, str, tuple[int, ...], float, str, float]] = [
    ("resnet50", "torchvision", (1, 3, 224, 224), 0.8, "unstructured", 1.0),
    ("resnet50", "torchvision", (1, 3, 224, 224), 0.9, "unstructured", 1.4),
    ("resnet50", "torchvision", (1, 3, 224, 224), 0.95, "unstructured", 2.0),
    ("resnet50", "torchvision", (1, 3, 224, 224), 0.9, "1x4", 2.5),
    ("vgg11_bn", "torchvision", (1, 3, 224, 224), 0.8, "unstructured", 1.0),
    ("vgg11_bn", "torchvision", (1, 3, 224, 224), 0.9, "unstructured", 1.4),
    ("vgg11_bn", "torchvision", (1, 3, 224, 224), 0.95, "unstructured", 1.4),
    ("vgg11_bn", "torchvision", (1, 3, 224, 224), 0.9, "1x4", 2.5),
    ("vgg11-cifar", "lab", (1, 3, 32, 32), 0.8, "unstructured", 1.0),
    ("vgg11-cifar", "lab", (1, 3, 32, 32), 0.9, "unstructured", 1.0),
    ("vgg11-cifar", "lab", (1, 3, 32, 32), 0.95, "unstructured", 1.0),
]
#: Layers alone: shape of the weight, of the input, padding, sparsity, structure.
LAYERS: list[tuple[tuple[int, ...], tuple[int, ...], int, float, str]] = [
    ((256, 256, 3, 3), (1, 256, 14, 14), 1, 0.9, "unstructured"),
    ((256, 256, 3, 3), (1, 256, 14, 14), 1, 0.95, "unstructured"),
    ((256, 256, 3, 3), (1, 256, 14, 14), 1, 0.9, "1x4"),
    ((512, 512, 1, 1), (1, 512, 14, 14), 0, 0.9, "unstructured"),
    ((4096, 4096), (1, 4096), 0, 0.9, "unstructured"),
    ((4096, 4096), (1, 4096), 0, 0.9, "1x4"),
]

_BUILD = """
import sys, torch
from sparse_export.exporter.nets import cifar, torchvision
from sparse_export.training import prune
name, kind, sparsity, structure, path, *shape = sys.argv[1:]
torch.manual_seed(0)
net = (torchvision.build(name) if kind == "torchvision" else cifar.create(name)).eval()
weights = [m.weight for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))][1:]
for weight in weights:
    (mask,) = prune.choose({"w": weight}, float(sparsity), structure=structure).values()
    weight.data[~mask] = 0
torch.onnx.export(net, (torch.zeros([int(d) for d in shape]),), path, dynamo=False, opset_version=17)
"""


@dataclass(frozen=True)
class Files:
    """One net or layer as float32 and as integers, dense and packed."""

    dense: Path
    packed: Path
    int8: Path
    int8_packed: Path

    @classmethod
    def of(cls, dense: Path) -> Files | None:
        """The others made of the dense float32 file, once; None where it cannot be quantized."""
        made = common.int8(dense)
        if not made:
            return None
        quantized = made["int8"][0]
        packed = quantized.with_suffix(".packed.onnx")
        if not packed.exists():
            sparse_export.export(quantized, output=packed, verify=False)
        return cls(dense, common.pack(dense), quantized, packed)

    def subjects(self) -> dict[str, common.Runnable]:
        """What is measured, by the names of the columns."""
        return {
            "dense float32": (self.dense, STOCK),
            "packed float32": (self.packed, OURS),
            "dense INT8": (self.int8, STOCK),
            "packed INT8, stock": (self.int8_packed, STOCK),
            "packed INT8": (self.int8_packed, OURS),
        }


def net_file(name: str, kind: str, shape: tuple[int, ...], sparsity: float, structure: str) -> Path:
    """The pruned net as dense float32, made once."""
    path = common.MODELS / f"{name}-{sparsity}-{structure}.onnx"
    if not path.exists():
        common.MODELS.mkdir(parents=True, exist_ok=True)
        words = [name, kind, str(sparsity), structure, str(path), *map(str, shape)]
        command = [sys.executable, "-W", "ignore", "-c", _BUILD, *words]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return path


def layer_file(shape: tuple[int, ...], pad: int, sparsity: float, structure: str) -> Path:
    """A pruned layer as dense float32, made once."""
    import torch

    from sparse_export.training import prune

    path = common.MODELS / f"layer-{'x'.join(map(str, shape))}-{sparsity}-{structure}.onnx"
    if not path.exists():
        common.MODELS.mkdir(parents=True, exist_ok=True)
        weight = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
        (mask,) = prune.choose({"w": weight}, sparsity, structure=structure).values()
        weight[~mask] = 0
        onnx.save(common.layer_model(weight.numpy(), pad=pad), path)
    return path


def measured(what: str, files: Files, shape: tuple[int, ...], threads: int, rounds: int) -> dict[str, Any]:
    """One row: sizes, milliseconds, private memory."""
    subjects = files.subjects()
    if len(shape) == 2:
        subjects |= {f"{name} weights": runnable for name, runnable in common.four_bits(files.dense).items()}
    times = common.measure(subjects, shape, threads, 2.0, rounds)
    row: dict[str, Any] = {"what": what, "threads": threads, "target": kernel_target(), "ms": times}
    row["bytes"] = {name: path.stat().st_size for name, (path, _) in subjects.items()}
    row["private_bytes"], row["loaded_bytes"] = {}, {}
    for name, (path, runtime) in subjects.items():
        held = common.in_process(path, runtime, shape, threads, 0.0, runs=1, warmup=0)["memory"]
        row["private_bytes"][name] = common.private_bytes(held, "first_run")
        row["loaded_bytes"][name] = common.private_bytes(held, "loaded")
    empty = live.empty_model(common.MODELS / "empty.onnx", shape)
    held = common.in_process(empty, OURS, shape, threads, 0.0, runs=1, warmup=0)["memory"]
    row["session_bytes"] = common.private_bytes(held, "first_run")
    row["activation_bytes"] = live.activation_bytes(files.int8, shape)
    row["faster_than_dense_int8"] = times["dense INT8"] / times["packed INT8"]
    row["stock_against_dense_int8"] = times["dense INT8"] / times["packed INT8, stock"]
    return row


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    parts = [f"{row['what']:44s} {row['threads']} thread(s)"]
    for name, milliseconds in row["ms"].items():
        size, private = row["bytes"][name] / 1e6, row["private_bytes"][name] / 1e6
        parts.append(f"{name} {milliseconds:7.3f} ms {size:6.2f} MB (private {private:5.1f})")
    packed, needed = "packed INT8", row["bytes"]["packed INT8"] + row["activation_bytes"]
    held = row["private_bytes"][packed] - row["session_bytes"]
    parts.append(
        f"{packed} holds {held / 1e6:.1f} MB beside {row['session_bytes'] / 1e6:.1f} of an empty session: "
        f"{held / needed:.2f}x its file and {row['activation_bytes'] / 1e6:.2f} MB of activations"
    )
    wanted = f" (wanted {row['wanted']}x)" if "wanted" in row else ""
    parts.append(f"{row['faster_than_dense_int8']:.2f}x dense INT8{wanted}")
    parts.append(f"stock {row['stock_against_dense_int8']:.2f}x")
    return "\n    ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="nets and layers whose name holds this")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--target", choices=TARGETS, help="hold the library to it, below AVX-512 both")
    parser.add_argument("--save", action="store_true", help="with --only: replace these rows in the results")
    arguments = parser.parse_args()
    todo: list[tuple[str, Path, tuple[int, ...], float | None]] = []
    for shape, x, pad, sparsity, structure in LAYERS:
        what = f"layer {'x'.join(map(str, shape))} {sparsity:.0%} {structure}"
        if arguments.only in what:
            todo.append((what, layer_file(shape, pad, sparsity, structure), x, None))
    for name, kind, x, sparsity, structure, wanted in NETS:
        what = f"{name} {sparsity:.0%} {structure}"
        if arguments.only in what:
            todo.append((what, net_file(name, kind, x, sparsity, structure), x, wanted))
    made = [
        Files.of(path) for _, path, _, _ in todo
    ]  # before a target is forced: the files do not hang on it
    os.environ.update(avx2_runtime.environment(arguments.target))
    print(f"kernels for {kernel_target()}", file=sys.stderr)
    rows = []
    for (what, _, x, goal), files in zip(todo, made, strict=True):
        for threads in arguments.threads if files else ():
            assert files is not None
            row = measured(what, files, x, threads, arguments.rounds)
            row |= {"wanted": goal if arguments.target is None else 1.0} if goal is not None else {}
            print(line(row), flush=True)
            rows.append(row)
    if not arguments.only or arguments.save:
        name = "-".join(["int8", *([arguments.target.removesuffix("_evex")] if arguments.target else [])])
        save(name, rows)


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows among those that were measured before, in the order of the tables."""
    path = common.RESULTS / f"{name}.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    named = {(row["what"], row["threads"]): row for row in [*before, *rows]}
    order = [f"layer {'x'.join(map(str, one[0]))} {one[3]:.0%} {one[4]}" for one in LAYERS]
    order += [f"{one[0]} {one[3]:.0%} {one[4]}" for one in NETS]
    kept = [key for key in named if key[0] in order]
    common.save(name, [named[key] for key in sorted(kept, key=lambda key: (order.index(key[0]), key[1]))])


if __name__ == "__main__":
    main()
