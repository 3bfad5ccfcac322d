"""Dead neurons: what pruning cut off from the input or from the output, found along the net's graph.

Han et al. 2015: neurons with no input or no output connection left can be pruned, with all connections to
and from them. A neuron is an output channel of a convolution or a linear layer. One that nothing reads goes
without a trace; one that reads nothing still gives a constant (its bias, BatchNorm's shift), which goes too.

NOTES
-----
Channels are followed through what keeps them apart. Behind anything else all of them count as alive: a
connection may stay that could go, but none goes that matters.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from ..errors import UnsupportedError
from ..exporter.nets.cifar import Sign
from . import prune

_BATCHNORM, _DROPOUT = nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid)
_POOLS = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)
#: What works on each element by itself, and what works on each channel of a map by itself.
ELEMENTWISE = (_BATCHNORM, _DROPOUT, *_ACTIVATIONS, nn.Tanh, nn.Identity, Sign)
ELEMENTWISE_CALLS: set[Any] = {F.relu, F.relu6, F.gelu, F.silu, F.dropout, torch.relu, "relu", "relu_"}
POOL_CALLS: set[Any] = {F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d}
SUMS: set[Any] = {operator.add, operator.iadd, torch.add, operator.mul, operator.imul, torch.mul}
FLATTENS: set[Any] = {torch.flatten, "flatten"}


@dataclass(frozen=True)
class Flow:
    """Which channels of a tensor the input reaches, and where they lie.

    Parameters
    ----------
    alive
        bool [channels].
    place
        "map": axis 1 of a convolution's output; "flat": such a map as one vector, channel by channel;
        "last": the last axis.
    """

    alive: torch.Tensor
    place: str


#: From the channels of a result that are used (None: all) to those of one operand.
Pull = Callable[[torch.Tensor | None], torch.Tensor | None]
Step = tuple[Flow | None, list[tuple[fx.Node, Pull]]]


@dataclass(frozen=True)
class Connections:
    """Which channels of a convolution or linear layer are connected: bool (group, output, input)."""

    connected: torch.Tensor
    linear: bool

    @classmethod
    def of(cls, module: nn.Module, kept: torch.Tensor) -> Connections:
        """Of a layer whose weights outside `kept` are gone."""
        groups = int(getattr(module, "groups", 1))
        taps = kept.reshape(groups, kept.shape[0] // groups, kept.shape[1], -1)
        return cls(taps.any(dim=3), isinstance(module, nn.Linear))

    def inputs(self, flow: Flow | None) -> torch.Tensor:
        """Inputs that are reached, (group, input)."""
        groups, _, each = self.connected.shape
        if flow is None or not self.fits(flow):
            return torch.ones(groups, each, dtype=torch.bool)
        return flow.alive.repeat_interleave(groups * each // len(flow.alive)).reshape(groups, each)

    def fits(self, flow: Flow) -> bool:
        """Whether the channels of that flow are the ones that this layer tells apart."""
        groups, _, each = self.connected.shape
        if self.linear and flow.place == "flat":
            return each % len(flow.alive) == 0
        return flow.place == ("last" if self.linear else "map") and groups * each == len(flow.alive)

    def outputs(self, used: torch.Tensor | None) -> torch.Tensor:
        """Outputs that are used, (group, output)."""
        shape = self.connected.shape[:2]
        return torch.ones(shape, dtype=torch.bool) if used is None else used.reshape(shape)

    def push(self, flow: Flow | None) -> Flow:
        """Outputs that the input reaches."""
        reached = (self.connected & self.inputs(flow)[:, None, :]).any(dim=2).reshape(-1)
        return Flow(reached, "last" if self.linear else "map")

    def pull(self, flow: Flow | None, used: torch.Tensor | None) -> torch.Tensor | None:
        """Inputs that a used output reads."""
        if flow is None or not self.fits(flow):
            return None
        read = (self.connected & self.outputs(used)[:, :, None]).any(dim=1).reshape(-1)
        return read.reshape(len(flow.alive), -1).any(dim=1)


def without_dead(model: nn.Module, masks: prune.Masks) -> prune.Masks:
    """The masks less every connection to or from a neuron with no input or no output left.

    What stays lies on a path from the net's input to its output.

    Parameters
    ----------
    masks
        Of the layers that may lose weights; in all others what is not zero is connected.

    Raises
    ------
    UnsupportedError
        If the net's graph cannot be traced.
    """
    layers = {}
    for name, module in prune.prunable(model).items():
        assert isinstance(module.weight, torch.Tensor)
        kept = module.weight.detach() != 0
        layers[name] = Connections.of(module, kept & masks[name] if name in masks else kept)
    alive = _alive(_trace(model), dict(model.named_modules()), layers)
    result = {}
    for name, mask in masks.items():
        result[name] = mask
        if name in alive:
            result[name] = mask & alive[name].reshape(*mask.shape[:2], *[1] * (mask.dim() - 2))
    return result


class _Tracer(fx.Tracer):
    """Enters a net's own modules, but not those whose effect on channels is known."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (*prune.KINDS, *ELEMENTWISE, *_POOLS))
        return known or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module) -> fx.Graph:
    was_training = model.training
    model.eval()
    try:
        return _Tracer().trace(model)
    except Exception as error:  # tracing runs the net's own code
        reason = str(error).strip().splitlines()[:1]
        raise UnsupportedError(
            f"dead neurons cannot be found, the net's graph cannot be traced: {''.join(reason)}"
        ) from error
    finally:
        model.train(was_training)


def _alive(graph: fx.Graph, modules: dict[str, nn.Module], layers: dict[str, Connections]) -> prune.Masks:
    """Layer in the graph -> what connects a reached input to a used output, bool (output, input)."""
    flows: dict[fx.Node, Flow | None] = {}
    pulls: dict[fx.Node, list[tuple[fx.Node, Pull]]] = {}
    for node in graph.nodes:
        flows[node], pulls[node] = _step(node, flows, modules, layers)
    used: dict[fx.Node, torch.Tensor | None] = {}
    alive: prune.Masks = {}
    for node in reversed(graph.nodes):
        if not node.users and node.op != "output":
            continue
        wanted = used.get(node)
        for operand, pull in pulls[node]:
            used[operand] = _either(used[operand], pull(wanted)) if operand in used else pull(wanted)
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if layer:
            pairs = layer.outputs(wanted)[:, :, None] & layer.inputs(flows[node.all_input_nodes[0]])[:, None]
            found = pairs.reshape(-1, pairs.shape[2])
            name = str(node.target)
            alive[name] = found | alive[name] if name in alive else found
    return alive


def _either(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    return None if one is None or other is None else one | other


def _step(
    node: fx.Node,
    flows: dict[fx.Node, Flow | None],
    modules: dict[str, nn.Module],
    layers: dict[str, Connections],
) -> Step:
    """The channels of a node's result, and how their use falls back on its operands."""
    operands = node.all_input_nodes
    lost: Step = None, [(operand, lambda used: None) for operand in operands]
    if not operands:
        return lost
    if node.target in ("size", "dim") or (node.target is getattr and node.args[1] in ("shape", "ndim")):
        return None, []  # reads no values
    first = flows[operands[0]]
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    if str(node.target) in layers and module is not None:
        layer = layers[str(node.target)]
        return layer.push(first), [(operands[0], partial(layer.pull, first))]
    if first is None:
        return lost
    if node.target is torch.cat:
        return _concatenated(node, [flows[operand] for operand in operands]) or lost
    place: str | None = None
    if isinstance(module, ELEMENTWISE) or node.target in ELEMENTWISE_CALLS:
        place = first.place
    elif node.target in SUMS:
        return _summed(operands, [flows[operand] for operand in operands]) or lost
    elif first.place == "map":
        place = _place_of_map(node, module)
    if place is None:
        return lost
    # Operands behind the first are sizes, as in x.view(x.size(0), -1).
    return Flow(first.alive, place), [(operands[0], lambda used: used), *lost[1][1:]]


def _place_of_map(node: fx.Node, module: nn.Module | None) -> str | None:
    """Where the channels of a map lie behind a node that keeps them apart, or None."""
    rest = node.args[1:]
    if isinstance(module, _POOLS) or node.target in POOL_CALLS:
        return "map"
    if isinstance(module, nn.Flatten):
        return "flat" if (module.start_dim, module.end_dim) == (1, -1) else None
    if node.target in ("view", "reshape"):
        return "flat" if len(rest) == 2 and rest[1] == -1 else None
    if node.target in FLATTENS:
        return "flat" if (rest, dict(node.kwargs)) in (((1,), {}), ((), {"start_dim": 1})) else None
    if node.target in ("mean", torch.mean) and rest and not node.kwargs:
        axes = tuple(rest[0]) if isinstance(rest[0], Sequence) else rest
        return "flat" if sorted(map(str, axes)) in (["2", "3"], ["-1", "-2"]) else None
    return None


def _concatenated(node: fx.Node, flows: list[Flow | None]) -> Step | None:
    """Maps side by side, each operand used as its part is."""
    parts = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    known = [flow.alive for flow in flows if flow is not None and flow.place == "map"]
    if axis != 1 or not isinstance(parts, Sequence) or len(known) != len(parts):
        return None
    sizes = [len(alive) for alive in known]

    def part(number: int, used: torch.Tensor | None) -> torch.Tensor | None:
        return None if used is None else torch.split(used, sizes)[number]

    pulls: list[tuple[fx.Node, Pull]] = [
        (operand, partial(part, number)) for number, operand in enumerate(node.all_input_nodes)
    ]
    return Flow(torch.cat(known), "map"), pulls


def _summed(operands: Sequence[fx.Node], flows: list[Flow | None]) -> Step | None:
    """Element by element: alive where one operand is, and all of them used alike."""
    known = [flow for flow in flows if flow is not None]
    if len(known) != len(flows) or len({(len(flow.alive), flow.place) for flow in known}) > 1:
        return None
    alive = torch.stack([flow.alive for flow in known]).any(dim=0)
    return Flow(alive, known[0].place), [(operand, lambda used: used) for operand in operands]
