"""What will be done with every weight: its format, the exact bytes, and the reason.

Sizes here are of tensor data alone. What a format costs beside it hangs on what the other weights take:
`rewrite.smallest` settles that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ... import formats
from ...errors import InputError
from ...formats import TensorStats
from ...formats.base import Array, as_bits
from ..graph.census import others
from ..graph.index import GraphIndex, Layer
from ..graph.zeros import strangers
from . import expanding, values
from .values import LOSSLESS, Encoded, Spec

#: Weights below this many bytes stay dense: node and tensor headers would eat the gain.
MIN_DENSE_BYTES = 1024
#: Decodes count positions in int32.
MAX_ELEMENTS = 1 << 31


@dataclass
class TensorPlan:
    """The decision for one weight.

    `format` is what it is stored as, `run` what computes with it: "packed" (an operator takes the
    components),
    "expanded" (a `<Prefix>Weight` node gives the tensor, which is constant once a session is made) or
    "dense";
    `run_reason` says why. `dense_bytes` and `packed_bytes` are exact sizes of the tensor data, headers
    apart. `role` is "weight";
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
    run: str = "dense"
    run_reason: str = ""
    values: str = "fp32"
    runner_up: tuple[str, int] | None = None
    sizes: dict[str, int] = field(default_factory=dict, repr=False)
    origin: str = ""
    role: str = "weight"
    freed: tuple[str, ...] = ()
    layers: list[Layer] = field(default_factory=list, repr=False)
    encoded: Encoded | None = field(default=None, repr=False)
    candidates: tuple[str, ...] = field(default=(), repr=False)

    @property
    def density(self) -> float:
        """Non-zeros over elements."""
        return self.nnz / self.size if self.size else 0.0

    @property
    def packed(self) -> bool:
        """Whether it is stored in a format."""
        return self.format != "dense"

    @property
    def runs_packed(self) -> bool:
        """Whether its layers' nodes are replaced by operators that take the components."""
        return self.packed and self.run == "packed"

    @property
    def expanded(self) -> bool:
        """Whether a node in front of its readers gives the tensor."""
        return self.packed and self.run == "expanded"

    def stay_dense(self, reason: str) -> None:
        """Take the decision back; what was chosen becomes the runner-up."""
        self.runner_up = (self.format, self.packed_bytes)
        self.format, self.packed_bytes, self.reason = "dense", self.dense_bytes, reason
        self.run, self.run_reason = "dense", ""
        self.values, self.encoded, self.sizes = "fp32", None, {}

    def with_layers(self, layers: list[Layer]) -> TensorPlan:
        """The same decision for other layers."""
        return replace(self, layers=layers)

    def to_json(self) -> dict[str, Any]:
        """The plan of this weight as JSON-able values."""
        row = asdict(replace(self, layers=[], encoded=None))
        for name in ("layers", "encoded", "freed", "sizes", "origin", "candidates"):
            del row[name]
        why = f"{self.run}: {self.run_reason}" if self.packed and self.run_reason else ""
        row["reason"] = "; ".join(text for text in (self.reason, self.origin, why) if text)
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

    def wanted(name: str) -> str:
        return next((fmt for glob, fmt in reversed(overrides) if fnmatchcase(name, glob)), format_name)

    plans = []
    for done, (name, group) in enumerate(by_weight.items()):
        plans.append(_plan_weight(index, name, group, wanted(name), spec, optimize))
        progress(done + 1, len(by_weight))
    covered = {name for plan in plans if plan.role == "weight" for name in (plan.name, *plan.freed)}
    told = {
        source: f"{plan.name} is computed from it: {plan.reason}"
        for plan in plans
        if plan.role == "value"
        for source in index.sources(plan.name)
    }
    for constant in others(index, covered):
        plans.append(expanding.plan_constant(constant, told, wanted(constant.name), optimize))
    for glob, _ in overrides:
        if not any(fnmatchcase(plan.name, glob) for plan in plans):
            raise InputError(
                f"--layers {glob}: no weight has such a name; 'sparse-export inspect' lists them"
            )
    return plans


def encode(index: GraphIndex, name: str, layer: Layer, spec: Spec) -> Encoded:
    """What a packed operator takes of a weight: outputs as its first axis, its values as asked for."""
    array = index.constant(name)
    assert array is not None
    outputs_first = np.ascontiguousarray(array.T) if layer.transposed else array
    if layer.quantized is not None:
        return Encoded(layer.quantized.codes(outputs_first))
    return values.encode(outputs_first, spec)


def stored(index: GraphIndex, plan: TensorPlan) -> Array:
    """What is packed for a planned weight: as its operator takes it, or in its own shape."""
    if plan.run == "packed":
        return encode(index, plan.name, plan.layers[0], values.parse(plan.values)).array
    array = index.constant(plan.name)
    assert array is not None
    return array


def _plan_weight(
    index: GraphIndex, name: str, group: list[Layer], wanted: str, spec: Spec, optimize: str
) -> TensorPlan:
    array = index.constant(name)
    assert array is not None
    part = group[0].quantized
    codes = array if part is None else part.codes(array)
    freed = [name] if name in index.initializers else index.freed(name, [layer.nodes[0] for layer in group])
    sizes = {entry: tensor_bytes(index.initializers[entry]) for entry in freed}
    nbytes = min(int(array.nbytes), sum(sizes.values()))
    plan = TensorPlan(
        name=name,
        op="/".join(sorted({layer.op_type for layer in group})),
        shape=tuple(array.shape),
        dtype=str(array.dtype),
        nnz=int(np.count_nonzero(as_bits(codes))),
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
    plan.reason = refusal(wanted, plan)
    obstacle = "" if plan.reason else _obstacle(index, name, group) or ""
    if index.is_computed(name) and set(large) - set(freed):
        obstacle = obstacle or "its constants are read elsewhere too: packed, it would be a second copy"
    plan.candidates = () if plan.reason else candidates(wanted, optimize)
    if part is not None and not obstacle:
        plan.candidates = tuple(name for name in plan.candidates if not formats.get(name).scale_component)
    if obstacle and (index.is_computed(name) or optimize == "speed"):
        plan.reason = obstacle
    elif obstacle:
        expanding.expand(plan, array, obstacle)
    elif not plan.reason:
        plan.encoded = encode(index, name, group[0], spec)
        plan.values = str(LOSSLESS if part else spec)
        plan.run = "packed"
        choose(plan, TensorStats(plan.encoded.array))
        if optimize != "speed" and index.is_computed(name):
            expanding.prefer_sources(index, plan)
    if not plan.packed:
        plan.run, plan.values, plan.encoded = "dense", "fp32", None
        if index.is_computed(name):
            plan.role, plan.freed, plan.dense_bytes, plan.packed_bytes = "value", (), 0, 0
    return plan


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


def refusal(wanted: str, plan: TensorPlan) -> str:
    """Why a weight stays dense whatever reads it; empty where nothing speaks against packing."""
    if wanted == "dense":
        return "asked for"
    if plan.dense_bytes < MIN_DENSE_BYTES:
        return f"under {MIN_DENSE_BYTES} B: headers would eat the gain"
    if plan.size >= MAX_ELEMENTS:
        return "2^31 elements or more: a decode counts positions in 32 bits"
    return ""


def candidates(wanted: str, optimize: str) -> tuple[str, ...]:
    """Names of the formats that are tried."""
    if wanted == "auto" and optimize == "speed":
        return tuple(fmt.name for fmt in formats.with_kernel())
    if wanted == "auto":
        return tuple(fmt.name for fmt in formats.packable())
    fmt = formats.asked(wanted)
    return (fmt.name,) if fmt.operator is not None else ()


def choose(plan: TensorPlan, stats: TensorStats) -> None:
    """Give a plan the smallest of its candidates, or let it stay dense."""
    choice = formats.choose(stats, [formats.get(name) for name in plan.candidates], plan.dense_bytes)
    plan.format, plan.packed_bytes, plan.reason = choice.chosen, choice.nbytes, choice.reason
    plan.sizes = choice.sizes if plan.packed else {}
    if choice.runner_up:
        plan.runner_up = (choice.runner_up, choice.sizes[choice.runner_up])
