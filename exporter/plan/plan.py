"""What will be done with every weight: its format, the exact bytes, and the reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ... import formats
from ...errors import InputError
from ...formats import Format, TensorStats
from ...formats.base import as_bits
from ...formats.choice import KERNELS
from ..graph.index import GraphIndex, Layer
from . import values
from .values import LOSSLESS, Encoded, Spec

#: Weights below this many bytes stay dense: node and tensor headers would eat the gain.
MIN_DENSE_BYTES = 1024
#: Bytes that a packed layer adds to the graph beside its components: tensor headers and names.
NODE_OVERHEAD = 320


@dataclass
class TensorPlan:
    """The decision for one weight.

    `dense_bytes` and `packed_bytes` are exact sizes of the tensor data, headers apart.
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
        self.values, self.encoded = "fp32", None

    def with_layers(self, layers: list[Layer]) -> TensorPlan:
        """The same decision for other layers."""
        return replace(self, layers=layers)

    def to_json(self) -> dict[str, Any]:
        """The plan of this weight as JSON-able values."""
        row = asdict(replace(self, layers=[], encoded=None))
        del row["layers"], row["encoded"]
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
        formats.get(name)
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
    """One plan for each weight that a layer reads.

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
    return plans


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
    nnz = int(np.count_nonzero(as_bits(array)))
    plan = TensorPlan(
        name=name,
        op="/".join(sorted({layer.op_type for layer in group})),
        shape=tuple(array.shape),
        dtype=str(array.dtype),
        nnz=nnz,
        size=int(array.size),
        format="dense",
        dense_bytes=int(array.nbytes),
        packed_bytes=int(array.nbytes),
        reason="",
        layers=group,
    )
    plan.reason = _obstacle(index, name, group) or ""
    if plan.reason:
        return plan
    if wanted == "dense":
        plan.reason = "asked for"
        return plan
    if plan.dense_bytes < MIN_DENSE_BYTES:
        plan.reason = f"under {MIN_DENSE_BYTES} B: headers would eat the gain"
        return plan
    plan.encoded = encode(index, name, group[0], spec)
    _choose(plan, TensorStats(plan.encoded.array), _candidates(wanted, optimize))
    if plan.packed:
        plan.values = str(spec)
    else:
        plan.encoded = None
    return plan


def _obstacle(index: GraphIndex, name: str, group: list[Layer]) -> str | None:
    """Why the weight must stay as it is, or None."""
    for layer in group:
        if layer.obstacle:
            return layer.obstacle
    if name in index.pinned:
        return "read by a subgraph or an output"
    nodes = {id(layer.nodes[0]) for layer in group}
    transposes = [index.makers.get(layer.nodes[0].input[1]) for layer in group]
    nodes |= {id(node) for node in transposes if node is not None}
    strangers = [node.op_type for node in index.readers[name] if id(node) not in nodes]
    if strangers:
        return f"shared with {strangers[0]}"
    if len({layer.transposed for layer in group}) > 1:
        return "shared by layers that read it in two orientations"
    return None


def _candidates(wanted: str, optimize: str) -> list[Format]:
    if wanted == "auto" and optimize == "speed":
        return [formats.get(name) for name in KERNELS]
    named = formats.all_formats() if wanted == "auto" else [formats.get(wanted)]
    return [fmt for fmt in named if fmt.operator is not None]


def _choose(plan: TensorPlan, stats: TensorStats, candidates: Sequence[Format]) -> None:
    choice = formats.choose(stats, candidates, plan.dense_bytes, NODE_OVERHEAD)
    plan.format, plan.packed_bytes, plan.reason = choice.chosen, choice.nbytes, choice.reason
    if choice.runner_up:
        plan.runner_up = (choice.runner_up, choice.sizes[choice.runner_up])
