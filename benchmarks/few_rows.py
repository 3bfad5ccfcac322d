"""Linear 4096 x 4096 in every format, few rows of X: where how fast bytes come from memory is what counts.

Part of ``benchmarks/kernels.py --formats``. Beside each format stand the dense layer in onnxruntime and its
4- and 2-bit MatMulNBits, and the roofline: how long the bytes of the weight take at the rate at which dense
weights of one row of X are read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import onnx
from binary_models import two_bit_model
from onnx import TensorProto, helper, numpy_helper

from sparse_export.formats import Format, get
from sparse_export.runtime.target import kernel_target

SIZE = 4096


def _any(density: float) -> Callable[[np.random.Generator], common.Array]:
    return lambda rng: common.pruned(rng, (SIZE, SIZE), density)


def _two_of_four(rng: np.random.Generator) -> common.Array:
    weight = rng.standard_normal((SIZE, SIZE // 4, 4)).astype(np.float32)
    order = np.argsort(rng.random(weight.shape, np.float32), axis=2)
    weight[order < 2] = 0
    return weight.reshape(SIZE, SIZE)


def _sixteen(rng: np.random.Generator) -> common.Array:
    values = rng.standard_normal(16).astype(np.float32)
    return values[rng.integers(0, 16, (SIZE, SIZE))]


def _signs(density: float) -> Callable[[np.random.Generator], common.Array]:
    return lambda rng: np.sign(common.pruned(rng, (SIZE, SIZE), density)) * np.float32(0.03)


#: What a row says, its format, its weight.
WEIGHTS: dict[str, tuple[str, Callable[[np.random.Generator], common.Array]]] = {
    "50 %, bitmask": ("bitmask", _any(0.5)),
    "2:4, nm": ("nm", _two_of_four),
    "16 values, codebook": ("codebook", _sixteen),
    "1 bit, bitpack": ("bitpack", _signs(1.0)),
    "two thirds +-1, ternary": ("ternary", _signs(0.67)),
    "half +-1, signmask": ("signmask", _signs(0.5)),
    "a quarter +-1, signgaps": ("signgaps", _signs(0.25)),
    **{f"90 %, {name}": (name, _any(0.1)) for name in ("csr", "tight", "split", "bitmask")},
    **{f"90 % +-1, {name}": (name, _signs(0.1)) for name in ("signgaps", "signmask", "ternary")},
}


def packed_model(fmt: Format, weight: common.Array) -> onnx.ModelProto:
    """One packed matrix product; input "x", output "y"."""
    packed = fmt.pack(weight)
    scale = np.ones(SIZE, np.float32)
    if fmt.scale_component is not None:
        scale = np.broadcast_to(packed.components[fmt.scale_component], SIZE).astype(np.float32)
    parts = {name: np.asarray(packed.components[name]) for name in fmt.operator_inputs}
    parts |= {"scale": scale, "bias": np.zeros(SIZE, np.float32)}
    node = helper.make_node(
        f"{fmt.operator}MatMul", ["x", *parts], ["y"], domain="sparse_export", shape=weight.shape
    )
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in "xy"]
    inits = [numpy_helper.from_array(part, name) for name, part in parts.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("sparse_export", 1)]
    graph = helper.make_graph([node], "packed", infos[:1], infos[1:], inits)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _file(name: str, make: Callable[[], onnx.ModelProto]) -> Path:
    path = common.MODELS / f"few {name}.onnx".replace(" ", "-").replace("%", "pct")
    if not path.exists():
        common.MODELS.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make().SerializeToString())
    return path


def _row(name: str, rows: int, threads: int, seconds: float) -> dict[str, Any]:
    label, weight_of = WEIGHTS[name]
    fmt = get(label)
    packed = _file(f"{name} {label}", lambda: packed_model(fmt, weight_of(np.random.default_rng(0))))
    dense = _file("dense", lambda: common.layer_model(_any(1.0)(np.random.default_rng(0))))
    subjects = {
        "dense": (dense, "onnxruntime"),
        "packed": (packed, "onnxruntime"),
        **common.four_bits(dense),
        "2bit": (_file("2bit", lambda: two_bit_model(SIZE, SIZE)), "onnxruntime"),
    }
    row: dict[str, Any] = {
        "weight": name,
        "format": label,
        "rows": rows,
        "threads": threads,
        "target": kernel_target(),
    }
    row |= common.measure(subjects, (rows, SIZE), threads, seconds)
    model = onnx.load(packed)
    row["bytes"] = sum(numpy_helper.to_array(part).nbytes for part in model.graph.initializer)
    row["ratio"] = row["dense"] / row["packed"]
    return row


def table(rows: tuple[int, ...], threads: int, only: str = "", seconds: float = 0.3) -> list[dict[str, Any]]:
    """One line for each kind of weight and number of rows of X."""
    found = []
    speed = 0.0
    for count in rows:
        for name in (name for name in WEIGHTS if only in name):
            row = _row(name, count, threads, seconds)
            if count == 1 or not speed:
                speed = SIZE * SIZE * 4 / row["dense"]
            row["roofline"] = row["bytes"] / speed
            found.append(row)
            print(
                f"{name:26s} {row['target']:6s} M={count:<3d} dense {row['dense']:7.3f} ms  "
                f"packed {row['packed']:7.3f} ms {row['ratio']:6.2f}x  4 bits {row['4bit']:6.3f}  "
                f"2 bits {row['2bit']:6.3f}  {row['bytes'] / 2**20:5.1f} MiB: {row['roofline']:.3f} ms",
                flush=True,
            )
    return found
