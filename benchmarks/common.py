"""What the speed benchmarks share: pruned ONNX models, their peers, timing in fresh processes, results."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import sparse_export
from sparse_export.measure import harness, machine, peer_int8, peers
from sparse_export.measure.silence import silence
from sparse_export.measure.subjects import Options, Subject, job
from sparse_export.runtime.inputs import normal

RESULTS = Path(__file__).parent / "results"
MODELS = Path(__file__).resolve().parent.parent / "build" / "bench-models"
Array = np.ndarray[Any, Any]
Runnable = tuple[Path, str]  # a model file and the runtime of `bench` that runs it


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
    """The model with every weight that gets smaller as csr, and run as csr, beside the source; made once."""
    packed = source.with_suffix(".csr.onnx")
    if not packed.exists():
        sparse_export.export(source, format="csr", optimize="memory", output=packed, verify=False)
    return packed


def _peer(source: Path, kind: str, make: Callable[[Path, Path], None]) -> dict[str, Runnable]:
    """A peer of the dense model by the recipe of `sparse-export bench`, made once; nothing where it fails."""
    target = source.with_suffix(f".{kind}.onnx")
    if not target.exists():
        print(f"making {target.name} ...", file=sys.stderr)
        try:
            with silence():
                make(source, target)
        except Exception as error:  # the tools' own ways to fail: the table then lacks a column, not a row
            print(f"no {kind} of {source.name}: {error}", file=sys.stderr)
            return {}
    return {kind: (target, "onnxruntime")}


def subjects(source: Path) -> dict[str, Runnable]:
    """The dense model and its packed one."""
    return {"dense": (source, "onnxruntime"), "sparse": (pack(source), "onnxruntime")}


def int8(source: Path) -> dict[str, Runnable]:
    """The model quantized statically (QDQ, a scale for each channel of a weight, calibrated)."""
    return _peer(source, "int8", lambda dense, target: peer_int8.make_int8(dense, target, 0, None))


def four_bits(source: Path) -> dict[str, Runnable]:
    """The model with 4-bit weights: MatMulNBits, blocks of 128, accuracy level 4."""
    return _peer(source, "4bit", peers.make_matmul_nbits)


def openvino(source: Path) -> dict[str, Runnable]:
    """The dense model in OpenVINO, in float32; nothing where that is not installed."""
    return {"openvino": (source, "openvino")} if find_spec("openvino") else {}


def measure(
    subjects: dict[str, Runnable], shape: tuple[int, ...], threads: int, seconds: float, rounds: int = 3
) -> dict[str, float]:
    """Median milliseconds of each subject over rounds in which they take turns, in fresh processes."""
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, (path, runtime) in subjects.items():
            latencies = in_process(path, runtime, shape, threads, seconds)["latencies_ms"]
            times[name].append(statistics.median(latencies))
    return {name: statistics.median(values) for name, values in times.items()}


def takes_bytes(path: Path) -> bool:
    """Whether the model's input is uint8; numbers then have zero point 128 and scale 1/32."""
    if path.suffix != ".onnx":
        return False
    try:
        first = onnx.load(path, load_external_data=False).graph.input[0]
    except Exception:  # no model: the worker that is to load it says so
        return False
    return bool(first.type.tensor_type.elem_type == onnx.TensorProto.UINT8)


def in_process(
    path: Path,
    runtime: str,
    shape: tuple[int, ...],
    threads: int,
    seconds: float,
    runs: int = 5,
    warmup: int = 12,
) -> dict[str, Any]:
    """What a fresh worker of `bench` measures of one model; our library serves packed layers only.

    Parameters
    ----------
    shape
        Of its one input.
    seconds, runs
        It runs at least so long, and so many times.

    Raises
    ------
    SystemExit
        If the model cannot be measured.
    """
    with tempfile.TemporaryDirectory(prefix="sparse-export-bench-") as folder:
        feeds = Path(folder) / "inputs.npz"
        x = normal("x", shape)["x"]
        np.savez(feeds, x=(x * 32 + 128).clip(0, 255).astype(np.uint8) if takes_bytes(path) else x)
        model = Subject("m0", path.name, path, runtime, packed=True, files=(path,))
        options = Options(
            rounds=1, min_runs=runs, min_seconds=seconds, warmup=warmup, feeds=((1, str(feeds)),)
        )
        order = job(model, options, threads, 1, 1) | {"cpus": None, "precision": "f32"}
        found = harness.run_worker(order, timeout=600)
    if "error" in found:
        raise SystemExit(f"{path.name} in {runtime} failed:\n{found['error']}")
    return found


def private_bytes(memory: dict[str, Any], when: str) -> int:
    """What a file added to its process alone (RssAnon), after the allocator gave back what is free.

    Parameters
    ----------
    when
        "loaded" or "first_run".
    """
    return int(memory[when]["anon"] - memory["before"]["anon"])


def merged(name: str, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a result with these in the place of those that agree in every key; new ones last."""
    path = RESULTS / f"{name}.json"
    older = json.loads(path.read_text())["rows"] if path.exists() else []
    found = {tuple(row.get(key) for key in keys): row for row in older}
    return list((found | {tuple(row.get(key) for key in keys): row for row in rows}).values())


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows with a description of the machine."""
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine.describe(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
