"""Proof that a written file computes what its source computes.

The file is opened again in a fresh stock onnxruntime session; its outputs are compared with the
source's on seeded inputs, and every packed tensor with the source's weight, bit for bit.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ... import formats
from ...errors import InputError, VerificationError
from ...formats import Format, Packed
from ...formats.base import Array
from ..files.onnx_write import MAX_INLINE_TOTAL, data_bytes, save
from ..graph.domain import DOMAIN
from ..graph.index import attribute
from ..rewrite.functions import BINARY_INPUT, PACKED, POOL
from ..rewrite.sign_bits import channels_first

Run = Callable[[dict[str, Array]], list[Array]]

RTOL = 1e-3
ATOL = 1e-5


@dataclass
class Verification:
    """How far the file's outputs are from the source's.

    `max_abs` and `mean_abs` are in units of the output; `max_rel` is `max_abs` over the largest
    magnitude of the reference output. `top1_agreement` is the share of samples with the same argmax
    over the last axis of the first output.
    """

    max_abs: float = 0.0
    mean_abs: float = 0.0
    max_rel: float = 0.0
    top1_agreement: float = 1.0
    inputs: int = 0
    tensors: int = 0
    passed: bool = True
    reference: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


def session(model: Path | bytes) -> Any:
    """A stock onnxruntime session: no library registered, errors only on the log."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        name = model if isinstance(model, Path) else "the model"
        raise InputError(f"{name}: onnxruntime cannot load it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def runner(model: onnx.ModelProto) -> Run:
    """A function that runs a model in stock onnxruntime, whatever its size."""
    if data_bytes(model) <= MAX_INLINE_TOTAL:
        opened = session(model.SerializeToString())
    else:
        with tempfile.TemporaryDirectory(prefix="sparse-export-") as folder:
            path = Path(folder) / "source.onnx"
            save(model, path, external_data=True)
            opened = session(path)
    return lambda feeds: opened.run(None, feeds)


def make_inputs(
    model: onnx.ModelProto, examples: Sequence[tuple[int, ...]] | None, seed: int, batch: int
) -> dict[str, Array]:
    """Seeded inputs of a model: normal floats, small integers, fair booleans.

    Parameters
    ----------
    examples
        Shape of each input; fills in what the graph leaves open. The first axis, where open, is `batch`.

    Raises
    ------
    InputError
        If an open dimension has no value.
    """
    rng = np.random.default_rng(seed)
    names = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    inputs = [value for value in model.graph.input if value.name not in names]
    for place, value in enumerate(inputs):
        example = examples[place] if examples and place < len(examples) else None
        shape = []
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                shape.append(dim.dim_value)
            elif axis == 0:
                shape.append(batch)
            elif example and axis < len(example):
                shape.append(example[axis])
            else:
                raise InputError(f"input '{value.name}' has an open dimension {axis}; give --input-shape")
        feeds[value.name] = _random(rng, shape, value.type.tensor_type.elem_type)
    return feeds


def _random(rng: np.random.Generator, shape: list[int], elem_type: int) -> Array:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0, 10, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def compare(
    reference: Run,
    candidate: Run,
    inputs: Sequence[dict[str, Array]],
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
) -> Verification:
    """Run both on every input; `passed` when max |a - b| <= atol + rtol * max |b| for every output."""
    result = Verification(inputs=len(inputs))
    total, count, same, samples = 0.0, 0, 0, 0
    for feeds in inputs:
        expected, got = reference(feeds), candidate(feeds)
        if len(expected) != len(got):
            raise VerificationError(f"the file has {len(got)} outputs, the source {len(expected)}")
        for place, (a, b) in enumerate(zip(got, expected, strict=True)):
            if a.shape != b.shape:
                raise VerificationError(f"output {place} has shape {a.shape}, the source {b.shape}")
            if a.dtype.kind not in "fiub" or not a.size:
                continue
            equal = (a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a == b
            with np.errstate(invalid="ignore", over="ignore"):
                gap = np.where(equal, 0.0, np.abs(a.astype(np.float64) - b.astype(np.float64)))
            worst = float(np.max(gap))
            finite = np.abs(b[np.isfinite(b)].astype(np.float64)) if b.dtype.kind == "f" else np.abs(b)
            largest = float(np.max(finite, initial=0.0))
            result.max_abs = max(result.max_abs, worst) if not math.isnan(worst) else math.inf
            result.max_rel = max(result.max_rel, worst / largest if largest else (math.inf if worst else 0.0))
            result.passed &= bool(worst <= atol + rtol * largest)
            total, count = total + float(gap.sum()), count + gap.size
            if place == 0 and a.ndim >= 2 and a.shape[-1] > 1:
                agree = a.argmax(-1) == b.argmax(-1)
                same, samples = same + int(agree.sum()), samples + agree.size
    result.mean_abs = total / count if count else 0.0
    result.top1_agreement = same / samples if samples else 1.0
    return result


def packed_nodes(model: onnx.ModelProto) -> dict[str, tuple[onnx.NodeProto, Format, dict[str, Array]]]:
    """Every packed weight of a model: name to its node, format and component arrays, as they were packed.

    Raises
    ------
    InputError
        If a node of our domain has no known format, or a component is not an initializer.
    """
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    prefixes = {fmt.operator: fmt for fmt in formats.all_formats() if fmt.operator}
    twins = {twin: prefixes[prefix] for prefix, twin in BINARY_INPUT.items()}
    prefixes |= twins | {f"{twin}{PACKED}": fmt for twin, fmt in twins.items()}
    found = {}
    for node in model.graph.node:
        if node.domain != DOMAIN or node.op_type == POOL:
            continue
        fmt = prefixes.get(node.op_type.partition("Conv")[0].partition("MatMul")[0])
        if fmt is None:
            raise InputError(f"node '{node.name}': operator {node.op_type} is not known to this version")
        parts = node.input[1 : 1 + len(fmt.operator_inputs)]
        missing = [part for part in parts if part not in initializers]
        if missing or len(parts) < len(fmt.operator_inputs):
            raise InputError(f"node '{node.name}': packed input {missing or parts} is not an initializer")
        arrays = [numpy_helper.to_array(initializers[part]) for part in parts]
        if node.op_type.startswith(tuple(twins)):
            arrays = [channels_first(array, attribute(node, "shape")) for array in arrays]  # type: ignore[arg-type]
        found[parts[0].rpartition(".")[0]] = (node, fmt, dict(zip(fmt.operator_inputs, arrays, strict=True)))
    return found


def check_tensors(model: onnx.ModelProto, expected: dict[str, Packed], dense: Callable[[str], Array]) -> int:
    """Compare every packed tensor of the written model with its source, bit for bit; return how many.

    Parameters
    ----------
    expected
        What was packed, by weight name.
    dense
        Gives the weight that was packed, outputs first.

    Raises
    ------
    VerificationError
        Naming the first tensor that is missing or differs in a bit.
    """
    written = packed_nodes(model)
    for name, packed in expected.items():
        if name not in written:
            raise VerificationError(f"{name}: missing in the written file")
        _, fmt, components = written[name]
        for part, array in components.items():
            if array.tobytes() != packed.components[part].tobytes():
                raise VerificationError(f"{name}: component '{part}' differs from what was packed")
        if fmt.unpack(packed).tobytes() != np.ascontiguousarray(dense(name)).tobytes():
            raise VerificationError(f"{name}: the {fmt.name} tensor does not unpack to the source weight")
    return len(expected)
