"""Fit the cost model of what runs packed: layers of many shapes, dense and packed, on each instruction set.

``python benchmarks/fit_cost.py [--targets scalar avx2 avx512] [--rounds 3] [--seconds 0.6] [--only thin]
[--refit]``. Each layer is a model of its own, measured by the harness of `sparse-export bench` in fresh
processes that take turns, on one thread; for scalar and avx2 onnxruntime is held to that too
(`avx2_runtime`). The runs are kept in build/cost and measured once; ``--refit`` fits those that are there.
Writes runtime/cost_table.json, with the machine and how well the model fits. Needs an idle machine for
about an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import avx2_runtime
import common
import numpy as np
import onnx
from field import environment
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from scipy.optimize import nnls

import sparse_export
from sparse_export.exporter.plan.runs import MARGIN
from sparse_export.formats import get
from sparse_export.measure import document, harness, machine
from sparse_export.measure.subjects import Options, Subject
from sparse_export.runtime import cost

HOME = Path(__file__).resolve().parent.parent / "build" / "cost"
TABLE = Path(__file__).resolve().parent.parent / "runtime" / "cost_table.json"


def signs(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> common.Array:
    """Plus and minus alpha."""
    return np.where(rng.random(shape) < 0.5, np.float32(-0.1), np.float32(0.1))


#: A line for each format with a kernel: the densities measured, and what makes a weight of one. Where
#: that is 1 alone, the kernel reads every element.
WEIGHTS: dict[str, tuple[tuple[float, ...], Callable[..., common.Array]]] = {
    "csr": ((0.05, 0.1, 0.2, 0.4), common.pruned),
    "bitpack": ((1.0,), signs),
}
#: Weight (K, C, kernel) and what follows the channels of the input; a linear layer has its rows there.
SHAPES: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "square": [
        ((64, 64, 3, 3), (56, 56)),
        ((128, 128, 3, 3), (28, 28)),
        ((256, 256, 3, 3), (14, 14)),
        ((512, 512, 3, 3), (7, 7)),
        ((512, 512, 3, 3), (2, 2)),
        ((32, 32, 3, 3), (80, 80)),
        ((64, 32, 3, 3), (20, 20)),
    ],
    "pointwise": [
        ((256, 64, 1, 1), (56, 56)),
        ((128, 512, 1, 1), (28, 28)),
        ((1024, 256, 1, 1), (14, 14)),
        ((512, 2048, 1, 1), (7, 7)),
        ((96, 24, 1, 1), (56, 56)),
        ((480, 120, 1, 1), (1, 40)),
        ((512, 512, 1, 1), (1, 1)),
    ],
    "thin": [
        ((128, 16, 64, 1), (128, 1)),
        ((16, 128, 64, 1), (128, 1)),
        ((128, 128, 64, 1), (64, 1)),
        ((32, 16, 64, 1), (32, 1)),
        ((64, 64, 7, 1), (17, 17)),
        ((192, 160, 1, 7), (17, 17)),
    ],
    "line": [
        ((64, 64, 3), (1000,)),
        ((256, 256, 3), (100,)),
        ((512, 512, 5), (16,)),
        ((128, 64, 1), (256,)),
    ],
    "linear": [
        ((4096, 4096), (1,)),
        ((4096, 4096), (16,)),
        ((1024, 4096), (1,)),
        ((512, 512), (1,)),
        ((512, 512), (64,)),
        ((3072, 768), (128,)),
        ((120, 480), (40,)),
    ],
}


@dataclass(frozen=True)
class Case:
    """One layer with one weight."""

    kind: str
    weight: tuple[int, ...]
    rest: tuple[int, ...]
    format: str
    density: float

    @property
    def name(self) -> str:
        """Unique, and a file name."""
        sizes = "x".join(map(str, (*self.weight, "at", *self.rest)))
        return f"{self.kind}-{sizes}-{self.format}-{self.density:g}"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Of the layer's input."""
        return (self.rest[0], self.weight[1]) if self.kind == "linear" else (1, self.weight[1], *self.rest)

    def model(self) -> onnx.ModelProto:
        """The dense layer with a bias, padded so that its outputs are as many as its inputs."""
        rng = np.random.default_rng(0)
        weight = WEIGHTS[self.format][1](rng, self.weight, self.density)
        kernel = self.weight[2:]
        pads = [(size - 1) // 2 for size in kernel] + [size // 2 for size in kernel]
        node = (
            helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
            if self.kind == "linear"
            else helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=pads)
        )
        x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, self.x_shape)
        y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
        tensors = [numpy_helper.from_array(weight, "w")]
        tensors += [numpy_helper.from_array(np.zeros(self.weight[0], np.float32), "b")]
        graph = helper.make_graph([node], "layer", [x], [y], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    def work(self) -> cost.Work:
        """What the model knows of it."""
        size = int(np.prod(self.weight))
        outputs = int(np.prod(self.rest))
        return cost.Work(
            self.kind, size, round(size * self.density), self.weight[0], outputs, int(np.prod(self.x_shape))
        )

    def features(self, part: str) -> list[float]:
        """Of the dense layer, or of what the kernel reads."""
        return cost.features(self.work(), None if part == "dense" else self.work().nnz)


def cases(only: str) -> Iterator[Case]:
    """Every layer to measure."""
    for kind, shapes in SHAPES.items():
        for weight, rest in shapes:
            for name, density in [(name, density) for name, (all_, _) in WEIGHTS.items() for density in all_]:
                if only in kind:
                    yield Case(kind, weight, rest, name, density)


def measure(case: Case, target: str, rounds: int, seconds: float) -> dict[str, float]:
    """Milliseconds of the dense and the packed layer: the least seen, which other work disturbs least."""
    dense, packed = (HOME / f"{case.name}.{kind}.onnx" for kind in ("dense", "packed"))
    if not packed.exists():
        onnx.save(case.model(), dense)
        # "memory": the model that is to be fitted must not decide what it is fitted to.
        sparse_export.export(
            dense, format=case.format, optimize="memory", output=packed, verify=False, force=True
        )
    subjects = [
        Subject(path.name, path.name, path, "onnxruntime", packed=path == packed, files=(path,))
        for path in (dense, packed)
    ]
    batch = (case.x_shape[0],)
    options = Options(batch=batch, rounds=rounds, min_seconds=seconds, min_runs=5 * rounds, warmup=5)
    with environment(avx2_runtime.environment(target)):
        outcome = harness.measure(subjects, options)
    found = {}
    for kind, series in zip(("dense", "packed"), outcome.series, strict=True):
        row = document.result_entry(series, None, 0)
        if row["latency"] is None:
            raise SystemExit(f"{case.name}: {row['error']}")
        found[kind] = row["latency"]["min_ms"]
    return found


def fit(features: list[list[float]], times: list[float]) -> tuple[list[float], float]:
    """Coefficients that are not negative, in nanoseconds, and the median relative error."""
    rows, goal = np.array(features), np.array(times) * 1e6
    solution: NDArray[np.float64] = nnls(rows / goal[:, None], np.ones(len(goal)))[0]
    error = np.median(np.abs(rows @ solution / goal - 1))
    return [float(f"{value:.4g}") for value in solution], float(f"{error:.3g}")


def table(runs: dict[str, dict[str, float]], only: str) -> dict[str, Any]:
    """The coefficients of one instruction set, by what runs and the kind of layer."""
    found: dict[str, Any] = {}
    wrong = total = 0
    measured = [case for case in cases(only) if case.name in runs]
    for kind in dict.fromkeys(case.kind for case in measured):
        mine = [case for case in measured if case.kind == kind]
        parts = {"dense": mine}
        names = dict.fromkeys(case.format for case in mine)
        parts |= {name: [case for case in mine if case.format == name] for name in names}
        for part, members in parts.items():
            features = [case.features(part) for case in members]
            side = "dense" if part == "dense" else "packed"
            values, error = fit(features, [runs[case.name][side] for case in members])
            found[f"{part} {kind}"] = {"ns": values, "median_error": error}
    for case in measured:
        dense, packed = (
            float(np.dot(found[f"{part} {case.kind}"]["ns"], case.features(part)))
            for part in ("dense", case.format)
        )
        total += 1
        slower = runs[case.name]["packed"] > 1.05 * runs[case.name]["dense"]
        wrong += packed * MARGIN < dense and slower
    print(f"{wrong} of {total} layers would be packed although they measured slower by more than 5 %")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=["scalar", "avx2", "avx512"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.6, help="of runs of each side")
    parser.add_argument("--only", default="", help="kinds of layers whose name holds this; writes no table")
    parser.add_argument("--refit", action="store_true", help="measure nothing new")
    arguments = parser.parse_args()
    HOME.mkdir(parents=True, exist_ok=True)
    document_ = json.loads(TABLE.read_text())  # targets that are not asked for stay as they are
    described = machine.describe()
    kept_keys = ("date", "cpu", "cpus", "versions")
    settings: dict[str, Any] = {key: described[key] for key in kept_keys if key in described}
    settings |= {"rounds": arguments.rounds, "seconds": arguments.seconds}
    for target in arguments.targets:
        kept = HOME / f"{target}.json"
        runs: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
        for case in cases(arguments.only):
            if case.name not in runs and not arguments.refit:
                runs[case.name] = measure(case, target, arguments.rounds, arguments.seconds)
                kept.write_text(json.dumps(runs, indent=1))
                print(f"{target} {case.name}: {runs[case.name]}", file=sys.stderr, flush=True)
        print(target)
        document_["targets"][target] = table(runs, arguments.only)
        document_["measured"][target] = settings
    if not arguments.only:
        document_["kernels"] = {
            name: {"prefix": get(name).operator, "entries": "all" if densities == (1.0,) else "non-zeros"}
            for name, (densities, _) in WEIGHTS.items()
        }
        TABLE.write_text(json.dumps(document_, indent=1) + "\n")


if __name__ == "__main__":
    main()
