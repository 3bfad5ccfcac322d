"""What will be done with every weight: its format, the exact bytes, and the reason.

Sizes here are of tensor data alone. What a format costs beside it hangs on what the other weights take:
`rewrite.smallest` settles that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial

import numpy as np

from ... import formats
from ...errors import InputError
from ...formats import TensorStats
from ...formats.base import as_bits
from ..graph.census import others
from ..graph.index import GraphIndex
from ..graph.site import Site
from ..graph.zeros import strangers
from . import expanding
from .choosing import MIN_DENSE_BYTES, candidates, choose, refusal, tensor_bytes
from .encode import encode, stored
from .tensor_plan import TensorPlan
from .values import LOSSLESS, Encoded, Spec


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
    sites: Sequence[Site],
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
        "speed" and "measure": what runs packed takes only formats that have a kernel of their own.

    Raises
    ------
    InputError
        If an override matches no weight.
    """
    by_weight: dict[str, list[Site]] = defaultdict(list)
    for site in sites:
        by_weight[site.weight].append(site)

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
        plans.append(expanding.plan_constant(index, constant, told, wanted(constant.name)))
    for glob, _ in overrides:
        if not any(fnmatchcase(plan.name, glob) for plan in plans):
            raise InputError(
                f"--layers {glob}: no weight has such a name; 'sparse-export inspect' lists them"
            )
    return plans


def _plan_weight(
    index: GraphIndex, name: str, group: list[Site], wanted: str, spec: Spec, optimize: str
) -> TensorPlan:
    array = index.constant(name)
    assert array is not None
    part = group[0].quantized
    codes = array if part is None else part.codes(array)
    freed = [name] if name in index.initializers else index.freed(name, [site.node for site in group])
    sizes = {entry: tensor_bytes(index.initializers[entry]) for entry in freed}
    nbytes = min(int(array.nbytes), sum(sizes.values()))
    plan = TensorPlan(
        name=name,
        op="/".join(sorted({site.op_type for site in group})),
        shape=tuple(array.shape),
        dtype=str(array.dtype),
        nnz=int(np.count_nonzero(as_bits(codes))),
        size=int(array.size),
        format="dense",
        dense_bytes=nbytes,
        packed_bytes=nbytes,
        reason="",
        freed=tuple(freed),
        sites=group,
    )
    large = [
        entry for entry in index.sources(name) if tensor_bytes(index.initializers[entry]) >= MIN_DENSE_BYTES
    ]
    plan.origin = f"computed from {', '.join(large[:3])}" if index.is_computed(name) and large else ""
    plan.reason = refusal(wanted, plan)
    obstacle = "" if plan.reason else _obstacle(index, name, group) or ""
    if index.is_computed(name) and set(large) - set(freed):
        obstacle = obstacle or "its constants are read elsewhere too: packed, it would be a second copy"
    plan.candidates = () if plan.reason else candidates(wanted)
    if part is not None:
        spec = LOSSLESS
    if part is not None and not obstacle:
        plan.candidates = tuple(name for name in plan.candidates if not formats.get(name).scale_component)
    if obstacle and index.is_computed(name):
        plan.reason = obstacle
    elif obstacle:
        expanding.expand(index, plan, array, obstacle)
    elif not plan.reason:
        encoded = encode(index, name, group[0], spec)
        del array, codes  # a copy, where the source has it as it is not packed
        plan.encoded = encoded if spec.lossy else Encoded(partial(stored, index, plan))
        plan.values = str(spec)
        plan.run = "packed"
        quick = wanted == "auto" and optimize in ("speed", "measure")
        fast = [fmt.name for fmt in formats.with_kernel() if fmt.name in plan.candidates or part is None]
        names = fast if quick else list(plan.candidates)
        choose(plan, TensorStats(encoded.array), names)
        if index.is_computed(name):
            expanding.prefer_sources(index, plan)
    if not plan.packed:
        plan.run, plan.values, plan.encoded = "dense", "fp32", None
        if index.is_computed(name):
            plan.role, plan.freed, plan.dense_bytes, plan.packed_bytes = "value", (), 0, 0
    return plan


def _obstacle(index: GraphIndex, name: str, group: list[Site]) -> str | None:
    """Why the weight must stay as it is, or None."""
    for site in group:
        if site.obstacle:
            return site.obstacle
    if name in index.pinned:
        return "read by a subgraph or an output"
    others_reading = strangers(index, name, group)
    if others_reading:
        return f"shared with {others_reading[0]}"
    if len({site.transposed for site in group}) > 1:
        return "shared by layers that read it in two orientations"
    return None
