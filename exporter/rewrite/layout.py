"""The packed graph before it is written: which nodes it has, and which operators stand among them.

Nothing here needs the packed bytes, so what a plan brings about can be looked at before it is carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from ... import formats
from ...formats.base import Array
from ..graph.fuse import fuse
from ..graph.index import GraphIndex
from ..graph.site import Fused, Site
from ..graph.walk import captured
from ..plan.tensor_plan import TensorPlan
from . import sign_chains
from .sign_chains import Node
from .signed_layers import take_signs


@dataclass(frozen=True)
class Layout:
    """The nodes of a packed graph, in their order, some of which nobody reads any more.

    Attributes
    ----------
    constants
        Small tensors that nodes among them read.
    pools
        Whether packed signs are pooled.
    """

    nodes: list[Node]
    constants: dict[str, Array]
    pools: bool


def operators(index: GraphIndex, plans: Sequence[TensorPlan]) -> list[Fused]:
    """What the operator of every layer that runs packed does, in graph order, chains of signs apart."""
    return _operators(index, plans, {})


def _operators(
    index: GraphIndex, plans: Sequence[TensorPlan], shapers: dict[int, onnx.NodeProto]
) -> list[Fused]:
    begun: list[Site | Fused] = []
    for plan in plans:
        if plan.runs_packed and formats.get(plan.format).sign_format:
            begun += take_signs(index, plan.sites, shapers)
        elif plan.runs_packed:
            begun += plan.sites
    return fuse(index, begun)


def lay_out(index: GraphIndex, plans: Sequence[TensorPlan]) -> Layout:
    """The graph with every planned layer as one operator."""
    index.free_names()
    shapers: dict[int, onnx.NodeProto] = {}
    layers = _operators(index, plans, shapers)
    taken = {id(node) for layer in layers for node in layer.nodes}
    last = {id(layer.nodes[-1]): layer for layer in layers}
    nodes: list[Node] = []
    for node in index.nodes:
        if id(node) in shapers:
            nodes.append(shapers[id(node)])
        if id(node) in last or id(node) not in taken:
            nodes.append(last.get(id(node), node))
    outputs = {value.name for value in index.graph.output}
    chains = sign_chains.link(index, alive(nodes, outputs), outputs)
    changed: dict[int, Node] = {**chains.layers, **chains.pools}
    return Layout([changed.get(id(node), node) for node in nodes], chains.constants, bool(chains.pools))


def keep_what_is_read(index: GraphIndex, plans: Sequence[TensorPlan]) -> None:
    """Let an expanded weight stay dense that packed layers take into their scales and biases."""
    outputs = {value.name for value in index.graph.output}
    read = {name for node in alive(lay_out(index, plans).nodes, outputs) for name in reads(node)} | outputs
    for plan in plans:
        if plan.expanded and plan.name not in read:
            plan.stay_dense("folded into the scale and bias of the layer before it")


def alive(nodes: Sequence[Node], outputs: set[str]) -> list[Node]:
    """Without the nodes (a weight's Transpose, a sign) whose only readers were layers that are packed now."""
    read = set(outputs)
    found = []
    for node in reversed(nodes):
        if read & set([node.output] if isinstance(node, Fused) else node.output):
            found.append(node)
            read.update(reads(node))
    return found[::-1]


def reads(node: Node) -> list[str]:
    """The values that a node reads, those of its subgraphs too."""
    if isinstance(node, Fused):
        return node.reads
    return [*node.input, *captured(node)]
