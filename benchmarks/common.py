"""What the speed benchmarks share: timing in fresh processes, pruned ONNX models, results and machine."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import sparse_export
from sparse_export.bench import machine

RESULTS = Path(__file__).parent / "results"
MODELS = Path(__file__).resolve().parent.parent / "build" / "bench-models"
Array = np.ndarray[Any, Any]


def pruned(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> Array:
    """Random float32 weight with exactly that share of entries non-zero, anywhere."""
    size = int(np.prod(shape))
    weight = np.zeros(size, np.float32)
    kept = rng.choice(size, round(size * density), replace=False)
    weight[kept] = rng.standard_normal(kept.size)
    return weight.reshape(shape)


def layer_model(weight: Array, stride: int = 1, pad: int = 0) -> onnx.ModelProto:
    """One Conv (4-D weight) or Gemm (2-D) with a bias; input "x", output "y"."""
    names = ["x", "weight", "bias"]
    if weight.ndim == 2:
        node = helper.make_node("Gemm", names, ["y"], transB=1)
    else:
        node = helper.make_node("Conv", names, ["y"], strides=[stride] * 2, pads=[pad] * 4)
    infos = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * weight.ndim) for name in "xy"
    ]
    bias = np.zeros(weight.shape[0], np.float32)
    inits = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph([node], "layer", infos[:1], infos[1:], inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pack(source: Path) -> Path:
    """The model with every weight that gets smaller as csr, beside the source; made once."""
    packed = source.with_suffix(".csr.onnx")
    if not packed.exists():
        sparse_export.export(source, format="csr", output=packed, verify=False)
    return packed


def measure(
    path: Path, shape: tuple[int, ...], threads: int, seconds: float, rounds: int = 3
) -> dict[str, float]:
    """Median milliseconds of the dense model and its packed one; fresh processes, alternating."""
    times: dict[str, list[float]] = {"dense": [], "sparse": []}
    for _ in range(rounds):
        for kind, model in (("dense", path), ("sparse", pack(path))):
            command = [sys.executable, __file__, str(model), json.dumps(shape), str(threads), str(seconds)]
            times[kind].append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    return {kind: statistics.median(values) for kind, values in times.items()}


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows with a description of the machine."""
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine.describe(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def _time_one(model: str, shape: str, threads: str, seconds: str) -> None:
    """Print the median milliseconds of one model in this process; the library serves packed layers only."""
    import onnxruntime

    from sparse_export.runtime.session import register

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.log_severity_level = 3
    register(options)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal(json.loads(shape)).astype(np.float32)
    feeds = {session.get_inputs()[0].name: x}
    for _ in range(12):
        session.run(None, feeds)
    times: list[float] = []
    while sum(times) < float(seconds) or len(times) < 5:
        start = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - start)
    print(statistics.median(times) * 1e3)


if __name__ == "__main__":
    _time_one(*sys.argv[1:])
