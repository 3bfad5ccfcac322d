"""Layers that compute with integers, one by one: each on the activations that the source itself gives it.

Every such layer is held to its meaning: dequantize, convolve in floats, quantize, as onnxruntime computes
the source without any graph optimisation. Sums of integers are exact and sums of floats are not, so a value
may fall on the other side of a half: one quantum is allowed, and how many values take it is said. Where a
processor's dense kernel saturates (AVX2 without VNNI), what the optimised source gives is as right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from onnx import helper

from ...errors import VerificationError
from ...formats.base import Array
from ...runtime.inputs import Feeds
from ...runtime.stock import Session
from ...text import shown
from ..files import streamed
from ..files.onnx_write import MAX_INLINE_TOTAL, data_bytes
from ..graph.walk import copied
from ..rewrite.packed_nodes import PackedNode, find

#: What a float result may differ by, relative to the largest of its tensor: sums in another order.
_FLOAT = 1e-4


@dataclass
class Integers:
    """How many layers compute with integers, and how far their results are from the source's.

    `values` are all that were compared, `differing` those that are one quantum away, in the runtime with the
    most of them.
    """

    layers: int = 0
    values: int = 0
    differing: int = 0

    @property
    def share(self) -> float:
        """Share of values that differ by a quantum."""
        return self.differing / self.values if self.values else 0.0

    def to_json(self) -> dict[str, float]:
        """As JSON-able values."""
        return {**vars(self), "share": self.share}


@dataclass(frozen=True)
class _Layer:
    """A packed node, the nodes to run for it, the values it reads, and the one that it gives."""

    one: PackedNode
    nodes: tuple[onnx.NodeProto, ...]
    reads: tuple[str, ...]
    gives: str


def prove(
    source: onnx.ModelProto,
    written: onnx.ModelProto,
    feeds: Feeds,
    runtimes: Mapping[str, bool],
    subject: str,
) -> Integers | None:
    """Compare every layer of integers in a written model; None where it has none that the source shows.

    Parameters
    ----------
    source
        The dense graph, in which the values that layers read and give have the same names.
    runtimes
        Name to whether the operators are registered there.

    Raises
    ------
    VerificationError
        Naming the layer, the runtime and how far it is off.
    """
    known = {name for node in source.graph.node for name in node.output}
    known |= {value.name for value in source.graph.input}
    layers = [layer for layer in _layers(written) if {*layer.reads, layer.gives} <= known]
    if not layers or data_bytes(source) > MAX_INLINE_TOTAL:
        return None
    wanted = list(dict.fromkeys(name for layer in layers for name in (*layer.reads, layer.gives)))
    exposed = _exposed(source, [name for name in wanted if name not in feeds])
    plain = dict(feeds) | _run(exposed, feeds, optimize=False)
    optimised: dict[str, Array] = {}

    def as_optimised(name: str) -> Array:
        if not optimised:
            optimised.update(_run(exposed, feeds))
        return optimised[name]

    alone = _alone(written, layers, plain)
    result = Integers(len(layers))
    for runtime, registered in runtimes.items():
        given = {
            f"x{place}.{at}": plain[name]
            for place, layer in enumerate(layers)
            for at, name in enumerate(layer.reads)
        }
        got = _run(alone, given, registered=registered)
        differing = values = 0
        for place, layer in enumerate(layers):
            here = f"{shown(subject)}: {shown(layer.one.name)} in {runtime}"
            array = got[f"y{place}"]
            differing += _compare(plain[layer.gives], array, partial(as_optimised, layer.gives), here)
            values += array.size
        result.differing, result.values = max(result.differing, differing), values
    return result


def _layers(written: onnx.ModelProto) -> list[_Layer]:
    """The nodes that compute with integers, each with the Clip of its result."""
    constants = {tensor.name for tensor in written.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in written.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for one in find(written.graph):
        if not one.quantized:
            continue
        nodes = [one.node]
        behind = readers.get(one.node.output[0], [])
        if len(behind) == 1 and behind[0].op_type == "Clip" and one.node.output[0].endswith(".whole"):
            nodes.append(behind[0])
        reads = tuple(dict.fromkeys(name for name in one.node.input if name not in constants))
        found.append(_Layer(one, tuple(nodes), reads, nodes[-1].output[0]))
    return found


def _exposed(source: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The source giving these values, and nothing else."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return model


def _alone(
    written: onnx.ModelProto, layers: Sequence[_Layer], values: Mapping[str, Array]
) -> onnx.ModelProto:
    """Every layer beside the others, on inputs and with an output of its own."""
    nodes, inputs, outputs, needed = [], [], [], set()
    for place, layer in enumerate(layers):
        names = {name: f"x{place}.{at}" for at, name in enumerate(layer.reads)}
        for name, mine in names.items():
            kind = helper.np_dtype_to_tensor_dtype(values[name].dtype)
            inputs.append(helper.make_tensor_value_info(mine, kind, values[name].shape))
        names[layer.gives] = f"y{place}"
        outputs.append(helper.make_empty_tensor_value_info(f"y{place}"))
        for node in layer.nodes:
            twin = copied(node)
            for at, name in enumerate(twin.input):
                twin.input[at] = names.get(name, name)
            for at, name in enumerate(twin.output):
                twin.output[at] = names.get(name, name)
            needed.update(twin.input)
            nodes.append(twin)
    held = [tensor for tensor in written.graph.initializer if tensor.name in needed]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, held)
    model = helper.make_model(
        graph, opset_imports=list(written.opset_import), functions=list(written.functions)
    )
    model.ir_version = written.ir_version
    return model


def _run(
    model: onnx.ModelProto, feeds: Feeds, optimize: bool = True, registered: bool = False
) -> dict[str, Array]:
    session = Session(streamed.serialized(model), optimize=optimize, registered=registered)
    names = [name for name, _, _ in session.outputs]
    return dict(zip(names, session.run(feeds), strict=True))


def _compare(wanted: Array, got: Array, optimised: Callable[[], Array], where: str) -> int:
    """How many values differ by a quantum; refused where one differs by more."""
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        raise VerificationError(
            f"{where}: gives {got.dtype}{list(got.shape)}, not {wanted.dtype}{list(wanted.shape)}"
        )
    if wanted.dtype.kind == "f":
        gap = np.abs(wanted.astype(np.float64) - got)
        if bool((gap <= _FLOAT * max(float(np.abs(wanted).max(initial=0)), 1e-30)).all()):
            return 0
        raise VerificationError(
            f"{where}: differs by up to {float(gap.max()):.3g}, more than rounding explains"
        )
    gap = np.abs(wanted.astype(np.int32) - got.astype(np.int32))
    if gap.size and int(gap.max()) > 1:
        gap = np.minimum(gap, np.abs(optimised().astype(np.int32) - got.astype(np.int32)))
    if gap.size and int(gap.max()) > 1:
        many = f"{int((gap > 1).sum()):,} of {gap.size:,} values by more than one"
        raise VerificationError(f"{where}: differs by up to {int(gap.max())} quanta, {many}")
    return int((gap > 0).sum())
