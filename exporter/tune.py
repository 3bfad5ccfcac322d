"""Measuring dense against packed on this machine, layer by layer, then as a whole.

Each layer is timed as a model of its own, in the shapes it has inside the net, dense and packed in turn; the
slower ones are stored to be expanded. The whole net is timed at the end: layouts change between neighbouring
layers, so a sum of parts can still lose. A net that does not win as a whole is expanded as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import onnx
from onnx import helper, numpy_helper

from ..formats import Packed
from ..runtime.choice import computed_in_floats
from ..runtime.cost import FLOAT_TARGETS, Estimate
from ..runtime.inputs import Feeds, normal
from ..runtime.stock import Session
from ..runtime.target import kernel_target
from ..runtime.timing import medians
from . import tune_integers
from .files import streamed
from .graph.find import find
from .graph.index import GraphIndex, concrete_shapes
from .graph.site import Site
from .plan import runs
from .plan.tensor_plan import TensorPlan
from .rewrite.layout import operators
from .rewrite.write import rewrite

#: Packed must be this much faster: below it the difference is noise.
MARGIN = 1.03

Progress = Callable[[int, int], None]


def expand_measured_slow(
    index: GraphIndex,
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    packed: Mapping[str, Packed],
    examples: Sequence[tuple[int | None, ...]] | None,
    feeds: Feeds,
    *,
    threads: int = 1,
    progress: Progress = lambda done, total: None,
) -> dict[str, Estimate]:
    """Let every weight in `plans` be expanded whose packed layers measured slower; what was measured.

    Parameters
    ----------
    examples, feeds
        Shapes of the inputs, for the layers alone; the inputs, for the whole net.

    Raises
    ------
    MissingDependencyError
        If the native library is not there to be measured.
    """
    shapes = concrete_shapes(model, examples)
    measured: dict[str, Estimate] = {}
    todo = [plan for plan in plans if plan.runs_packed]
    for done, plan in enumerate(todo):
        times = [
            _time_layer(index, model, site, plan, packed[plan.name], shapes, threads) for site in plan.sites
        ]
        known = [one for one in times if one is not None]
        seconds = Estimate(
            *(sum(getattr(one, way) for one in known) for way in ("dense", "packed", "floats"))
        )
        if len(known) < len(times):
            runs.expand(index, plan, "its shapes are not known, so not measured")
        elif seconds.wins_by(MARGIN):
            measured[plan.name] = seconds
            plan.run_reason = f"measured {seconds}"
        else:
            runs.expand(index, plan, f"measured no faster: {seconds}")
        progress(done + 1, len(todo))
    return _check_whole(index, model, plans, packed, feeds, threads, measured)


def _check_whole(
    index: GraphIndex,
    model: onnx.ModelProto,
    plans: Sequence[TensorPlan],
    packed: Mapping[str, Packed],
    feeds: Feeds,
    threads: int,
    measured: dict[str, Estimate],
) -> dict[str, Estimate]:
    """Let all be expanded where the whole net does not get faster; what then still holds of `measured`.

    What is expanded already runs as if it were dense, and takes part so.
    """
    mine = [plan for plan in plans if plan.runs_packed]
    if not mine:
        return {}
    whole = rewrite(index, model, mine, packed)
    floats = any(one.floats < one.packed for one in measured.values())
    best: onnx.ModelProto | bytes = whole
    if floats:
        best = computed_in_floats(streamed.serialized(whole))
    found = _alternate([_session(model, threads), _session(best, threads)], feeds)
    if found.wins_by(1.0):
        return measured
    for plan in mine:
        runs.expand(index, plan, f"the whole net measured {found}")
    return {}


def _time_layer(
    index: GraphIndex,
    model: onnx.ModelProto,
    site: Site,
    plan: TensorPlan,
    packed: Packed,
    shapes: dict[str, tuple[object, ...]],
    threads: int,
) -> Estimate | None:
    """Median seconds of the layer alone, dense and packed; None where its input shape is not known.

    A layer of integers is computed in floats too where processors are faster so.
    """
    found = _layer(index, model, site, plan, shapes)
    if found is None:
        return None
    alone, feeds = found
    sparse = _packed(alone, plan, packed)
    ways: list[onnx.ModelProto | bytes] = [alone, sparse]
    if site.quantized is not None:
        ways += _in_floats(sparse)
    return _alternate([_session(one, threads) for one in ways], feeds)


def _layer(
    index: GraphIndex,
    model: onnx.ModelProto,
    site: Site,
    plan: TensorPlan,
    shapes: dict[str, tuple[object, ...]],
) -> tuple[onnx.ModelProto, Feeds] | None:
    """The dense layer as a model of its own, and what to feed it; None where its input shape is not known."""
    if site.quantized is not None:
        operator = next(one for one in operators(index, [plan]) if one.site is site)
        return tune_integers.alone(index, model, operator, shapes)
    shape = shapes.get(site.x)
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return _alone(index, model, site, shape), normal(site.x, [int(str(dim)) for dim in shape])


def _in_floats(sparse: onnx.ModelProto) -> list[bytes]:
    """The model with its integers computed in floats, where this processor may be faster so."""
    return [computed_in_floats(streamed.serialized(sparse))] if kernel_target() in FLOAT_TARGETS else []


def _packed(alone: onnx.ModelProto, plan: TensorPlan, packed: Packed) -> onnx.ModelProto:
    """A model of one layer, that packed."""
    inner = GraphIndex(alone)
    (found,) = find(inner)
    return rewrite(inner, alone, [plan.at([found])], {plan.name: packed})


def _alone(
    index: GraphIndex, model: onnx.ModelProto, site: Site, shape: tuple[object, ...]
) -> onnx.ModelProto:
    """A model of the one dense layer."""
    node = site.node
    nodes = [node]
    if site.weight != node.input[1]:  # it reads the weight through a Transpose
        nodes.insert(0, index.makers[node.input[1]])
    made = {name for item in nodes for name in item.output}
    wanted = {name for item in nodes for name in item.input} - made - {site.x}
    initializers = []
    for name in sorted(wanted):
        array = index.constant(name)
        if array is not None:
            initializers.append(numpy_helper.from_array(array, name))
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(site.x, onnx.TensorProto.FLOAT, [int(str(dim)) for dim in shape])],
        [helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def _session(model: onnx.ModelProto | bytes, threads: int) -> Session:
    content = model if isinstance(model, bytes) else streamed.serialized(model)
    return Session(content, threads=threads, registered=True)


def _alternate(sessions: Sequence[Session], feeds: Feeds) -> Estimate:
    """Median seconds of one run of each, dense, packed and maybe packed in floats, taken in turn."""
    sessions[0].run(feeds)
    # The bare sessions: what the wrapper adds is no part of a layer's time.
    return Estimate(*medians([partial(session.raw.run, None, feeds) for session in sessions]))
