"""Whole nets: the packed file against onnxruntime's dense float32 of the same pruned model, and its peers.

``python benchmarks/models.py [--only resnet50] [--threads 1 2] [--rounds 3] [--memory]``. Weights are
random, pruned by magnitude in every convolution and linear layer but the first: speed depends on density,
not on values. Beside them stand the same net in INT8 (onnxruntime, static QDQ) and, where it is installed,
the dense net in OpenVINO in float32. Prints one line a model and writes results/models.json, with
``--memory`` results/memory.json; with ``--only`` it writes nothing. About ten minutes for ``--threads 1 2``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

import sparse_export

# name: factory, input, sparsities, target ratio on one thread at each
MODELS: dict[str, tuple[str, tuple[int, ...], dict[float, float]]] = {
    "resnet50": ("torchvision", (1, 3, 224, 224), {0.8: 1.5, 0.9: 3.0, 0.95: 4.5}),
    "densenet121": ("torchvision", (1, 3, 224, 224), {0.9: 2.2}),
    "vgg11_bn": ("torchvision", (1, 3, 224, 224), {0.9: 2.5}),
    "vgg11-cifar": ("lab", (1, 3, 32, 32), {0.9: 3.0}),
    "densenet-cifar": ("lab", (1, 3, 32, 32), {0.9235: 1.5}),
}

_BUILD = """
import sys, torch
from sparse_export.exporter.nets import cifar, torchvision
name, kind, sparsity, path, *shape = sys.argv[1:]
torch.manual_seed(0)
net = (torchvision.build(name) if kind == "torchvision" else cifar.create(name)).eval()
layers = [m for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
for layer in layers[1:]:
    weight = layer.weight.data
    drop = round(weight.numel() * float(sparsity))
    weight.view(-1)[weight.abs().view(-1).topk(drop, largest=False).indices] = 0
torch.onnx.export(net, (torch.zeros([int(d) for d in shape]),), path, dynamo=False, opset_version=17)
"""


@dataclass
class Net:
    """A pruned net as an ONNX file."""

    name: str
    sparsity: float

    def path(self) -> Path:
        """The dense file, made once."""
        kind, shape, _ = MODELS[self.name]
        path = common.MODELS / f"{self.name}-{self.sparsity}.onnx"
        if not path.exists():
            common.MODELS.mkdir(parents=True, exist_ok=True)
            words = [self.name, kind, str(self.sparsity), str(path), *map(str, shape)]
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _BUILD, *words], check=True, stdout=sys.stderr
            )
        return path


def run(net: Net, threads: int, rounds: int) -> dict[str, Any]:
    """One line of the table."""
    _, shape, targets = MODELS[net.name]
    path = net.path()
    row: dict[str, Any] = {"model": net.name, "sparsity": net.sparsity, "threads": threads}
    subjects = common.subjects(path) | common.int8(path) | common.openvino(path)
    times = common.measure(subjects, shape, threads, 2.0, rounds)
    row |= times | {"ratio": times["dense"] / times["sparse"], "target": targets[net.sparsity]}
    row["fastest"] = min(times, key=lambda name: times[name])
    print(line(row), flush=True)
    return row


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    parts = [
        f"{row['model']:15s} {row['sparsity']:.2%} {row['threads']} thread(s)",
        f"dense {row['dense']:7.2f} ms",
        f"sparse {row['sparse']:7.2f} ms",
        f"{row['ratio']:5.2f}x (target {row['target']}x)",
        *(f"{peer} {row[peer]:7.2f} ms" for peer in ("int8", "openvino") if peer in row),
        f"fastest: {row['fastest']}",
    ]
    return "  ".join(parts)


def memory(net: Net) -> list[dict[str, Any]]:
    """Anonymous memory of the dense and the packed file, weights inline and external."""
    shape = MODELS[net.name][1]
    dense = net.path()
    external = dense.with_suffix(".external.onnx")
    if not external.exists():
        sparse_export.export(
            dense, format="csr", optimize="memory", output=external, verify=False, external_data=True
        )
    rows = []
    for kind, path in (("dense", dense), ("packed", common.pack(dense)), ("packed, external data", external)):
        held = common.in_process(path, "onnxruntime", shape, 1, 0.0, runs=1, warmup=0)["memory"]
        used = {
            "loaded_mb": common.private_bytes(held, "loaded") / 2**20,
            "run_mb": common.private_bytes(held, "first_run") / 2**20,
            "peak_mb": held["end"]["peak"] / 2**20,
        }
        data = path.parent.glob(f"{path.stem}.*.data")
        files = [path, *(file for file in data if file.name.count(".") == path.name.count(".") + 1)]
        size = sum(file.stat().st_size for file in files) / 2**20
        row = {"model": net.name, "kind": kind, "file_mb": size, **used}
        print(
            f"{net.name} {kind:22s} file {size:6.1f} MB  anonymous: loaded {row['loaded_mb']:6.1f} MB,",
            end="",
        )
        print(f" after a run {row['run_mb']:6.1f} MB; peak {row['peak_mb']:6.1f} MB")
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="memory of VGG-11-BN instead")
    arguments = parser.parse_args()
    if arguments.memory:
        common.save("memory", memory(Net("vgg11_bn", 0.9)))
        return
    nets = [Net(n, s) for n, (_, _, t) in MODELS.items() for s in t if arguments.only in n]
    rows = [run(net, threads, arguments.rounds) for net in nets for threads in arguments.threads]
    if not arguments.only:
        common.save("models", rows)


if __name__ == "__main__":
    main()
