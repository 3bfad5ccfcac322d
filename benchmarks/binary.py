"""1-bit layers and nets against onnxruntime's float32, INT8 and 2-bit operators, one thread, one run.

``python benchmarks/binary.py [--only xnor] [--targets avx512 avx2] [--rounds 5]``. Prints one line a layer
and puts it into results/binary.json in the place of an older one; with ``--only`` it writes nothing.
Everything a line compares runs in one process in turns, a process for each instruction set (for avx2 and
scalar onnxruntime is held to it too: `avx2_runtime`); activations are packed inside the measured time. A
time is the median over rounds of the mean call of a round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import avx2_runtime
import common
import numpy as np
import onnx
from binary_models import binary_weight, int8_model, two_bit_model, with_signs
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export.exporter.files.onnx_write import save
from sparse_export.runtime.inputs import normal
from sparse_export.runtime.stock import Session
from sparse_export.runtime.target import kernel_target
from sparse_export.runtime.timing import medians

Array = NDArray[Any]
Row = dict[str, Any]
FOLDER = Path(tempfile.mkdtemp(prefix="sparse-export-binary-"))

CONVOLUTIONS = {  # (outputs, inputs, size): 3x3, stride 1, pad 1
    "64 @56": (64, 64, 56),
    "128 @28": (128, 128, 28),
    "256 @14": (256, 256, 14),
    "512 @14": (512, 512, 14),
    "512 @7": (512, 512, 7),
    "512 @2": (512, 512, 2),
}


def open_session(model: onnx.ModelProto | Path, library: bool = False) -> Session:
    """A model on one thread; with our library its packed layers run packed."""
    source = model if isinstance(model, Path) else model.SerializeToString()
    return Session(source, threads=1, registered=library)


def race(subjects: dict[str, Session], x: Array, rounds: int) -> dict[str, float]:
    """Milliseconds of every subject; they take turns."""
    calls = [partial(one.raw.run, None, {one.inputs[0].name: x}) for one in subjects.values()]
    times = medians(calls, rounds=rounds, seconds=0.15)
    return {name: 1e3 * seconds for name, seconds in zip(subjects, times, strict=True)}


def export(dense: onnx.ModelProto, name: str) -> Path:
    """The packed file of a dense model."""
    source, target = FOLDER / f"{name}.onnx", FOLDER / f"{name}.packed.onnx"
    model: onnx.ModelProto = onnx.ModelProto.FromString(dense.SerializeToString())
    rank = len(model.graph.initializer[0].dims)
    for value in (model.graph.input[0], model.graph.output[0]):  # a file must say its ranks
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, [None] * rank))
    onnx.save(model, source)
    sparse_export.export(source, format="bitpack", optimize="memory", output=target, force=True, verify=False)
    return target


def memory_ratio(packed: Path, weight: Array) -> float:
    """Dense bytes of the weight over the bytes of its bits and scales in the file (and in RAM)."""
    inits = {t.name: numpy_helper.to_array(t).nbytes for t in onnx.load(packed).graph.initializer}
    return weight.nbytes / sum(size for name, size in inits.items() if name.endswith((".bits", ".scale")))


def agreement(dense: onnx.ModelProto, packed: Path, x: Array) -> Row:
    """Largest difference over the largest output: stock and library against the float graph."""
    outputs = [
        open_session(dense).run({"x": x})[0],
        open_session(packed).run({"x": x})[0],
        open_session(packed, True).run({"x": x})[0],
    ]
    largest = float(np.abs(outputs[0]).max())
    return {
        "stock_error": float(np.abs(outputs[1] - outputs[0]).max()) / largest,
        "native_error": float(np.abs(outputs[2] - outputs[0]).max()) / largest,
        "native_equals_stock": bool((outputs[1] == outputs[2]).all()),
    }


def compare(
    name: str,
    dense: onnx.ModelProto,
    packed: Path,
    x: Array,
    rounds: int,
    peers: dict[str, onnx.ModelProto],
    reference: onnx.ModelProto | None = None,
) -> Row:
    subjects = {"ours": open_session(packed, True), "fp32": open_session(dense)}
    subjects |= {peer: open_session(model) for peer, model in peers.items()}
    times = race(subjects, x, rounds)
    weight = numpy_helper.to_array(dense.graph.initializer[0])
    row = {"name": name, "ms": times, "memory_ratio": memory_ratio(packed, weight)}
    row |= agreement(reference or dense, packed, x)
    return row


def xnor(rounds: int) -> Iterator[Row]:
    for name, (outputs, inputs, size) in CONVOLUTIONS.items():
        dense = common.layer_model(binary_weight(outputs, inputs, 3, 3), pad=1)
        x = normal("x", (1, inputs, size, size))["x"]
        signed = with_signs(dense)
        packed = export(signed, f"xnor-{outputs}-{size}")
        yield compare(
            f"XnorConv 3x3 {name}", dense, packed, x, rounds, {"int8": int8_model(dense, x)}, signed
        )


def convolutions(rounds: int) -> Iterator[Row]:
    for name, (outputs, inputs, size) in CONVOLUTIONS.items():
        dense = common.layer_model(binary_weight(outputs, inputs, 3, 3), pad=1)
        x = normal("x", (1, inputs, size, size))["x"]
        packed = export(dense, f"conv-{outputs}-{size}")
        yield compare(f"BinaryWeightConv 3x3 {name}", dense, packed, x, rounds, {})


def products(rounds: int) -> Iterator[Row]:
    dense = common.layer_model(binary_weight(4096, 4096))
    packed = export(dense, "product")
    for rows in (1, 16, 196):
        x = normal("x", (rows, 4096))["x"]
        peers = {"2 bits": two_bit_model(4096, 4096)}
        yield compare(f"BinaryWeightMatMul 4096 M={rows}", dense, packed, x, rounds, peers)


def nets(rounds: int) -> Iterator[Row]:
    """VGG-11 for CIFAR with random binary weights, first and last layer float."""
    import torch

    from sparse_export.exporter.nets.cifar import VGG
    from sparse_export.exporter.source import open_source
    from sparse_export.measure.peer_int8 import make_int8

    for name, binary in (("XNOR-Net VGG-11", True), ("BNN VGG-11, float activations", False)):
        torch.manual_seed(0)
        net = VGG(binary_activations=binary).eval()
        layers = [key for key, module in net.named_modules() if isinstance(module, torch.nn.Conv2d)][1:]
        source = FOLDER / f"vgg-{binary}.pt"
        torch.save(net.state_dict(), source)
        factory = FOLDER / "nets.py"
        factory.write_text(
            "from sparse_export.exporter.nets.cifar import VGG\n"
            "def make_True(): return VGG(binary_activations=True)\n"
            "def make_False(): return VGG()\n"
        )
        arch = f"{factory}:make_{binary}"
        packed, dense, int8 = (FOLDER / f"vgg-{binary}.{kind}.onnx" for kind in ("packed", "dense", "int8"))
        shapes = [(1, 3, 32, 32)]
        sparse_export.export(
            source,
            arch=arch,
            input_shape=shapes,
            format="bitpack",
            optimize="memory",
            binarize=layers,
            output=packed,
        )
        opened = open_source(source, arch=arch, input_shape=shapes, binarize=layers)
        save(opened.model, dense, force=True)
        make_int8(dense, int8, 0, None)
        x = normal("x", shapes[0])["x"]
        subjects = {
            "ours": open_session(packed, True),
            "fp32": open_session(dense),
            "int8": open_session(int8),
        }
        yield {
            "name": name,
            "ms": race(subjects, x, rounds),
            "file_ratio": dense.stat().st_size / packed.stat().st_size,
            "bytes": {"dense": dense.stat().st_size, "packed": packed.stat().st_size},
        }


SECTIONS: dict[str, Callable[[int], Iterator[Row]]] = {
    "xnor": xnor,
    "products": products,
    "convolutions": convolutions,
    "nets": nets,
}


def show(row: Row) -> None:
    times = row["ms"]
    parts = [f"{row['name']:34} {times['ours']:8.3f} ms"]
    parts += [
        f"{times[peer] / times['ours']:6.2f}x {peer} ({times[peer]:.3f})" for peer in times if peer != "ours"
    ]
    if "memory_ratio" in row:
        parts.append(f"weights 1/{row['memory_ratio']:.1f}")
        parts.append(f"error {max(row['stock_error'], row['native_error']):.1e}")
        parts.append(f"native {'==' if row['native_equals_stock'] else '~'} stock")
    else:
        parts.append(f"file 1/{row['file_ratio']:.1f} ({row['bytes']['packed']:,} B)")
    print("  ".join(parts), flush=True)


def measure(only: str | None, rounds: int) -> list[Row]:
    """The rows, on the instruction set of this process."""
    rows = []
    for name, section in SECTIONS.items():
        if only in (None, name):
            for row in section(rounds):
                show(row)
                rows.append(row | {"target": kernel_target()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SECTIONS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--targets", nargs="+", default=[], help="instruction sets")
    arguments = parser.parse_args()
    for target in arguments.targets:
        words = [sys.executable, __file__, "--rounds", str(arguments.rounds)]
        words += ["--only", arguments.only] if arguments.only else []
        print(target, flush=True)
        subprocess.run(words, check=True, env={**os.environ, **avx2_runtime.environment(target)})
    if not arguments.targets:
        rows = measure(arguments.only, arguments.rounds)
        if arguments.only is None:
            common.save("binary", common.merged("binary", rows, ("target", "name")))


if __name__ == "__main__":
    main()
