"""The formats that make the smallest file: components, headers, nodes, and each decoder paid for once.

A packed weight costs its components, and beside them what a file needs to hold and read them: a header for
each tensor, a node, vectors of scales and offsets, less what the layer's neighbours no longer need. The
operator's function is in the file once, whoever uses it. So the best format of a weight depends on what the
others take: for the weights that share operators every set of formats is tried, with the best of the set for
each weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ... import formats
from ...formats import Format
from ...runtime.expand import WEIGHT
from ..files import proto_size
from ..graph.domain import DOMAIN, main_opset
from ..graph.fuse import fuse
from ..graph.index import GraphIndex
from ..graph.site import Fused
from ..plan import runs
from ..plan.tensor_plan import TensorPlan
from . import functions, weight_functions
from .op_spec import OpSpec
from .portable import decode_bytes
from .weight_functions import Twin, twin_of

#: Bytes of a tensor in a file beside its data and its name: dimensions, type, and the lengths of its fields.
TENSOR_HEADER = 20
#: More formats than this are not tried in every combination; the rest have lost against them one by one.
MAX_FORMATS = 10
#: What an operator does beside its layer: kind, whether a residual is added, activation. For one that
#: expands a
#: weight: `WEIGHT`, whether it decodes in float64, whether a Cast follows.
Shape = tuple[str, bool, str]


@dataclass(frozen=True)
class _Weight:
    """A weight that may be packed, and what its layers ask of an operator."""

    plan: TensorPlan
    layers: list[Fused]

    @property
    def shapes(self) -> set[Shape]:
        """Which operators of a format it needs."""
        if self.plan.run == "expanded":
            twin = self.twin
            return {(WEIGHT, twin.double, "Cast" if twin.to else "")}
        return {(layer.kind, layer.residual is not None, layer.activation) for layer in self.layers}

    @property
    def twin(self) -> Twin:
        """Which function of a format gives it, expanded."""
        return twin_of(np.dtype(self.plan.dtype))


def settle(
    index: GraphIndex,
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    *,
    measured: bool = False,
    portable: bool = False,
) -> None:
    """Give every weight in `plans` that has candidates the format with which the file gets smallest.

    Parameters
    ----------
    index
        Index over `model`.
    plans
        Changed in place: `format`, `packed_bytes`, `reason`, `runner_up`; `sizes` has the candidates.
    measured
        What runs packed takes no other format than the one it was measured in.
    portable
        Every weight brings its own decoder, spelled out.
    """
    if measured:
        for plan in plans:
            if plan.runs_packed:
                plan.sizes = {n: plan.sizes[n] for n in (plan.format, "dense") if n in plan.sizes}
    opset = main_opset(model.opset_import)
    weights = _weights(index, plans)
    for group in [[weight] for weight in weights] if portable else _groups(weights):
        names = _contenders(index, group)
        if not names:
            continue
        sizes = np.array([_sizes(index, weight, names) for weight in group])
        decoders = {
            (name, shape): _function_bytes(formats.get(name), shape, opset, portable)
            for name in names
            for shape in set().union(*(weight.shapes for weight in group))
        }
        chosen = _best(group, names, sizes, decoders)
        for weight, row, column in zip(group, sizes, chosen, strict=True):
            _decide(weight, [*names, "dense"], row, column, decoders)


def expand_the_rest(index: GraphIndex, model: onnx.ModelProto, plans: Sequence[TensorPlan]) -> None:
    """Try once more, expanded, what no operator of its own holds or pays for."""
    rest = [plan for plan in plans if plan.sites and not plan.packed and plan.candidates]
    for plan in rest:
        told = plan.reason, plan.runner_up
        if index.is_computed(plan.name):
            continue
        runs.expand(index, plan, "run packed it would make the file no smaller")
        if not plan.packed:
            plan.reason, plan.runner_up = told
    if any(plan.packed for plan in rest):
        settle(index, model, plans)


def _weights(index: GraphIndex, plans: Sequence[TensorPlan]) -> list[_Weight]:
    """The weights with candidates, their layers as they would be if all of them were packed."""
    tried = [plan for plan in plans if any(name != "dense" for name in plan.sizes)]
    layers = fuse(index, [site for plan in tried if plan.runs_packed for site in plan.sites])
    of_weight: dict[str, list[Fused]] = defaultdict(list)
    for layer in layers:
        of_weight[layer.weight].append(layer)
    return [_Weight(plan, of_weight[plan.name] if plan.runs_packed else []) for plan in tried]


def _groups(weights: Iterable[_Weight]) -> list[list[_Weight]]:
    """Weights that share an operator, directly or through others, together."""
    groups: list[tuple[set[Shape], list[_Weight]]] = []
    for weight in weights:
        shapes, members = set(weight.shapes), [weight]
        for group in [group for group in groups if group[0] & shapes]:
            groups.remove(group)
            shapes |= group[0]
            members = group[1] + members
        groups.append((shapes, members))
    return [members for _, members in groups]


def _contenders(index: GraphIndex, group: Sequence[_Weight]) -> list[str]:
    """Formats to try: those that fit a weight, the ones that would alone make the group smallest first."""
    names = {name for weight in group for name in weight.plan.sizes if name != "dense"}

    def alone(name: str) -> float:
        return float(sum(min(_sizes(index, weight, [name])) for weight in group))

    best = {min(set(weight.plan.sizes) & names, key=lambda n: weight.plan.sizes[n]) for weight in group}
    place = {name: (formats.get(name).precedence, name) for name in names}
    ranked = sorted(names, key=lambda name: (name not in best, alone(name), place[name]))
    return sorted(ranked[:MAX_FORMATS], key=lambda name: place[name])


def _sizes(index: GraphIndex, weight: _Weight, names: Sequence[str]) -> list[float]:
    """Bytes that the weight and its layers add to the file in each format, infinite where it does not fit."""
    plan = weight.plan
    sizes = []
    for name in names:
        if name not in plan.sizes:
            sizes.append(np.inf)
            continue
        fmt = formats.get(name)
        parts = weight_functions.parts(fmt) if plan.run == "expanded" else fmt.operator_inputs
        headers = sum(len(f"{plan.name}.{part}") + TENSOR_HEADER for part in parts)
        layers = sum(_layer_bytes(index, plan, layer, fmt) for layer in weight.layers)
        if plan.run == "expanded":
            layers = _weight_bytes(weight, fmt)
        sizes.append(float(plan.sizes[name] + headers + layers))
    return [*sizes, float(plan.sizes["dense"] + len(plan.name) + TENSOR_HEADER)]


def _layer_bytes(index: GraphIndex, plan: TensorPlan, layer: Fused, fmt: Format) -> int:
    """Bytes of the packed node and its vectors, less those of the nodes and tensors that go."""
    parts = [f"{plan.name}.{part}" for part in (*fmt.operator_inputs, "scale", "bias")]
    attributes: dict[str, Any] = dict(layer.attributes)
    node = helper.make_node(
        OpSpec.of(layer, fmt).name,
        [*layer.reads, *parts],
        [layer.output],
        name=layer.site.name,
        domain=DOMAIN,
        **attributes,
    )
    vectors = [layer.bias] if fmt.scale_component else [layer.scale - 1, layer.bias]
    added = node.ByteSize() + sum(
        4 * vector.size + len(plan.name) + TENSOR_HEADER for vector in vectors if vector.any()
    )
    mine = {id(item) for item in layer.nodes}
    gone = {
        entry
        for item in layer.nodes
        for entry in item.input
        if entry in index.initializers
        and entry not in (plan.name, *plan.freed)
        and all(id(reader) in mine for reader in index.readers[entry])
        and entry not in index.pinned
    }
    saved = sum(int(item.ByteSize()) for item in layer.nodes)
    return int(added) - saved - sum(proto_size.tensor_bytes(index.initializers[entry]) for entry in gone)


def _weight_bytes(weight: _Weight, fmt: Format) -> int:
    """Bytes of the node that expands a weight."""
    plan, twin = weight.plan, weight.twin
    parts = [f"{plan.name}.{part}" for part in weight_functions.parts(fmt)]
    attributes: dict[str, Any] = {"shape": list(plan.shape)} | ({"to": twin.to} if twin.to else {})
    name = weight_functions.operator_name(fmt, twin)
    node = helper.make_node(name, parts, [plan.name], name=plan.name, domain=DOMAIN, **attributes)
    return int(node.ByteSize()) + 4


def _function_bytes(fmt: Format, shape: Shape, opset: int, portable: bool) -> int:
    if shape[0] == WEIGHT:
        twin = Twin(shape[1], int(bool(shape[2])))
        if portable:
            return decode_bytes(fmt, twin, opset)
        return int(weight_functions.build(fmt, twin, opset).ByteSize()) + 4
    return int(functions.build(OpSpec(fmt, *shape), opset).ByteSize()) + 4


def _best(
    group: Sequence[_Weight],
    names: Sequence[str],
    sizes: NDArray[np.float64],
    decoders: dict[tuple[str, Shape], int],
) -> NDArray[np.int64]:
    """Column of each weight (the last: dense) with which weights and decoders take the fewest bytes."""
    dense = len(names)
    asked = [weight.shapes for weight in group]
    best_total, best = np.inf, np.full(len(group), dense)
    for count in range(dense + 1):
        for allowed in combinations(range(dense), count):
            columns = [*allowed, dense]
            picked = np.array(columns)[np.argmin(sizes[:, columns], axis=1)]
            used = {
                (names[column], shape)
                for column, shapes in zip(picked, asked, strict=True)
                if column != dense
                for shape in shapes
            }
            total = sizes[np.arange(len(group)), picked].sum() + sum(decoders[key] for key in used)
            if total < best_total:
                best_total, best = total, picked
    return best


def _decide(
    weight: _Weight,
    names: Sequence[str],
    row: NDArray[np.float64],
    column: int,
    decoders: dict[tuple[str, Shape], int],
) -> None:
    """Write the decision into the plan, with the reason."""
    plan, chosen = weight.plan, names[column]
    if chosen == plan.format and len(plan.sizes) == 2:
        return
    density = f"density {plan.density:.1%}"
    ranked = [names[place] for place in np.argsort(row, kind="stable") if np.isfinite(row[place])]
    others = [name for name in ranked if name != chosen]
    plan.runner_up = (others[0], plan.sizes[others[0]]) if others else None
    plan.format, plan.packed_bytes = chosen, plan.sizes[chosen]
    first = ranked[0]
    decoder = sum(decoders.get((first, shape), 0) for shape in weight.shapes)
    if chosen == "dense" and first == "dense":
        packed = others[0]
        plan.reason = f"{density}: {packed} would take {plan.sizes[packed]:,} B, and its headers"
    elif chosen == "dense":
        gain = int(row[column] - row[names.index(first)])
        plan.reason = f"{density}: {first} would save {gain:,} B, its decoder takes {decoder:,} B"
    else:
        nbytes = plan.packed_bytes
        plan.reason = (
            f"{plan.sizes['dense'] / nbytes:.1f}x smaller at {density}"
            if nbytes
            else f"nothing to store at {density}"
        )
        if first != chosen:
            gain = int(row[column] - row[names.index(first)])
            plan.reason += f"; {first} would save {gain:,} B more, its decoder takes {decoder:,} B"
    if chosen == "dense":
        plan.values, plan.encoded, plan.sizes = "fp32", None, {}
        plan.run, plan.run_reason = "dense", ""
