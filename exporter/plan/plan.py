"""What will be done with every weight: its format, the exact bytes, and the reason.

Sizes here are of tensor data alone. What a format costs beside it hangs on what the other weights take:
`rewrite.smallest` settles that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ... import formats
from ...errors import InputError
from ...formats import Format, TensorStats
from ...formats.base import as_bits
from ..graph.census import Constant, others
from ..graph.index import GraphIndex, Layer
from ..graph.zeros import strangers
from . import values
from .values import LOSSLESS, Encoded, Spec

#: Weights below this many bytes stay dense: node and tensor headers would eat the gain.
MIN_DENSE_BYTES = 1024


@dataclass
class TensorPlan:
    """The decision for one weight.

    `dense_bytes` and `packed_bytes` are exact sizes of the tensor data, headers apart. `role` is "weight";
    "parameter" for a vector (a bias, a normalisation's); "value" for what stays computed, so that the file
    holds not it but what it is computed from. The last two count neither as packed nor as kept. `freed` are
    the tensors of the model that packing makes needless: the weight itself, or what it is computed from.
    `sizes` are the bytes of every format that may hold it, "dense" among them; none where it must stay.
    `origin` says what the weight is computed from, where it is.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    nnz: int
    size: int
    format: str
    dense_bytes: int
    packed_bytes: int
    reason: str
    values: str = "fp32"
    runner_up: tuple[str, int] | None = None
    sizes: dict[str, int] = field(default_factory=dict, repr=False)
    origin: str = ""
    role: str = "weight"
    freed: tuple[str, ...] = ()
    layers: list[Layer] = field(default_factory=list, repr=False)
    encoded: Encoded | None = field(default=None, repr=False)

    @property
    def density(self) -> float:
        """Non-zeros over elements."""
        return self.nnz / self.size if self.size else 0.0

    @property
    def packed(self) -> bool:
        """Whether the layer's node is replaced."""
        return self.format != "dense"

    def stay_dense(self, reason: str) -> None:
        """Take the decision back; what was chosen becomes the runner-up."""
        self.runner_up = (self.format, self.packed_bytes)
        self.format, self.packed_bytes, self.reason = "dense", self.dense_bytes, reason
        self.values, self.encoded, self.sizes = "fp32", None, {}

    def with_layers(self, layers: list[Layer]) -> TensorPlan:
        """The same decision for other layers."""
        return replace(self, layers=layers)

    def to_json(self) -> dict[str, Any]:
        """The plan of this weight as JSON-able values."""
        row = asdict(replace(self, layers=[], encoded=None))
        for name in ("layers", "encoded", "freed", "sizes", "origin"):
            del row[name]
        row["reason"] = "; ".join(text for text in (self.reason, self.origin) if text)
        return row | {"shape": list(self.shape), "density": self.density}


def parse_overrides(pairs: Iterable[str]) -> list[tuple[str, str]]:
    """`GLOB=FORMAT` options as pairs.

    Raises
    ------
    InputError
        If there is no '=' or no such format.
    """
    overrides = []
    for pair in pairs:
        glob, equals, name = pair.rpartition("=")
        if not equals or not glob:
            raise InputError(f"--layers {pair}: expected GLOB=FORMAT, for example 'features.*=csr'")
        formats.asked(name)
        overrides.append((glob, name))
    return overrides


def make(
    index: GraphIndex,
    layers: Sequence[Layer],
    format_name: str,
    overrides: Sequence[tuple[str, str]] = (),
    spec: Spec = LOSSLESS,
    optimize: str = "size",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TensorPlan]:
    """One plan for each weight that a layer reads, and one for every other constant of 1 kB or more.

    Parameters
    ----------
    format_name
        Format for every weight it fits, or "auto": the smallest of all that fit.
    overrides
        (glob, format) pairs over weight names; the last that matches wins.
    spec
        How values are stored.
    optimize
        "size", or "speed": only formats that a kernel runs are taken.

    Raises
    ------
    InputError
        If an override matches no weight.
    """
    by_weight: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        by_weight[layer.weight].append(layer)
    for glob, _ in overrides:
        if not any(fnmatchcase(name, glob) for name in by_weight):
            raise InputError(
                f"--layers {glob}: no weight has such a name; 'sparse-export inspect' lists them"
            )
    plans = []
    for done, (name, group) in enumerate(by_weight.items()):
        wanted = next((fmt for glob, fmt in reversed(overrides) if fnmatchcase(name, glob)), format_name)
        plans.append(_plan_weight(index, name, group, wanted, spec, optimize))
        progress(done + 1, len(by_weight))
    covered = {name for plan in plans if plan.role == "weight" for name in (plan.name, *plan.freed)}
    told = {
        source: f"{plan.name} is computed from it: {plan.reason}"
        for plan in plans
        if plan.role == "value"
        for source in index.sources(plan.name)
    }
    return plans + [_as_it_is(constant, told) for constant in others(index, covered)]


def encode(index: GraphIndex, name: str, layer: Layer, spec: Spec) -> Encoded:
    """What is packed for a weight: outputs as its first axis, its values as asked for."""
    array = index.constant(name)
    assert array is not None
    return values.encode(np.ascontiguousarray(array.T) if layer.transposed else array, spec)


def _plan_weight(
    index: GraphIndex, name: str, group: list[Layer], wanted: str, spec: Spec, optimize: str
) -> TensorPlan:
    array = index.constant(name)
    assert array is not None
    freed = [name] if name in index.initializers else index.freed(name, [layer.nodes[0] for layer in group])
    sizes = {entry: tensor_bytes(index.initializers[entry]) for entry in freed}
    nbytes = min(int(array.nbytes), sum(sizes.values()))
    plan = TensorPlan(
        name=name,
        op="/".join(sorted({layer.op_type for layer in group})),
        shape=tuple(array.shape),
        dtype=str(array.dtype),
        nnz=int(np.count_nonzero(as_bits(array))),
        size=int(array.size),
        format="dense",
        dense_bytes=nbytes,
        packed_bytes=nbytes,
        reason="",
        freed=tuple(freed),
        layers=group,
    )
    large = [
        entry for entry in index.sources(name) if tensor_bytes(index.initializers[entry]) >= MIN_DENSE_BYTES
    ]
    plan.origin = f"computed from {', '.join(large[:3])}" if index.is_computed(name) and large else ""
    plan.reason = _obstacle(index, name, group) or ""
    if not plan.reason and index.is_computed(name) and set(large) - set(freed):
        plan.reason = "its constants are read elsewhere too: packed, it would be a second copy"
    if not plan.reason and wanted == "dense":
        plan.reason = "asked for"
    if not plan.reason and plan.dense_bytes < MIN_DENSE_BYTES:
        plan.reason = f"under {MIN_DENSE_BYTES} B: headers would eat the gain"
    if not plan.reason:
        plan.encoded = encode(index, name, group[0], spec)
        _choose(plan, TensorStats(plan.encoded.array), _candidates(wanted, optimize))
    if plan.packed:
        plan.values = str(spec)
    else:
        plan.encoded = None
        if index.is_computed(name):
            plan.role, plan.freed, plan.dense_bytes, plan.packed_bytes = "value", (), 0, 0
    return plan


def _as_it_is(constant: Constant, told: Mapping[str, str]) -> TensorPlan:
    """The plan of a constant that no packed operator reads; `told` has better reasons than its readers."""
    tensor = constant.tensor
    shape = tuple(tensor.dims)
    array = numpy_helper.to_array(tensor)
    nbytes = tensor_bytes(tensor)
    return TensorPlan(
        name=constant.name,
        op="/".join(constant.readers),
        shape=shape,
        dtype=str(array.dtype),
        nnz=int(np.count_nonzero(array)) if array.dtype.kind != "O" else int(array.size),
        size=int(array.size),
        format="dense",
        dense_bytes=nbytes,
        packed_bytes=nbytes,
        reason=told.get(constant.name, constant.reason),
        role="weight" if sum(dim > 1 for dim in shape) > 1 else "parameter",
    )


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's data in a file."""
    return len(tensor.raw_data) if tensor.HasField("raw_data") else int(numpy_helper.to_array(tensor).nbytes)


def _obstacle(index: GraphIndex, name: str, group: list[Layer]) -> str | None:
    """Why the weight must stay as it is, or None."""
    for layer in group:
        if layer.obstacle:
            return layer.obstacle
    if name in index.pinned:
        return "read by a subgraph or an output"
    others_reading = strangers(index, name, group)
    if others_reading:
        return f"shared with {others_reading[0]}"
    if len({layer.transposed for layer in group}) > 1:
        return "shared by layers that read it in two orientations"
    return None


def _candidates(wanted: str, optimize: str) -> list[Format]:
    if wanted == "auto" and optimize == "speed":
        return formats.with_kernel()
    if wanted == "auto":
        return formats.packable()
    fmt = formats.asked(wanted)
    return [fmt] if fmt.operator is not None else []


def _choose(plan: TensorPlan, stats: TensorStats, candidates: Sequence[Format]) -> None:
    choice = formats.choose(stats, candidates, plan.dense_bytes)
    plan.format, plan.packed_bytes, plan.reason = choice.chosen, choice.nbytes, choice.reason
    plan.sizes = choice.sizes if plan.packed else {}
    if choice.runner_up:
        plan.runner_up = (choice.runner_up, choice.sizes[choice.runner_up])
