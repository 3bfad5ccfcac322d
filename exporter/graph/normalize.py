"""A model made ready for packing: a recent opset, no functions, constants as initializers, no debris."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from ...notes import Note
from ...text import counted, listed
from ..files import proto_size
from .census import MIN_BYTES
from .domain import MAIN_DOMAINS
from .hoist import hoist
from .inline import digest, inline, large
from .latent import lower_bipolar
from .opsets import raise_opset, target_opset
from .qoperator import lower_qoperators
from .sparse import dense_tensor, densify
from .walk import read_names, replace_nodes, subgraphs

#: From this IR version on an initializer that is a graph input too is a default, which a caller may override.
OVERRIDABLE_IR = 4
#: What is written has functions, which came with this IR version.
IR = 8


@dataclass
class Normal:
    """A model ready for packing, what was noticed on the way, and the tensors its source holds sparse."""

    model: onnx.ModelProto
    notes: list[Note] = field(default_factory=list)
    sparse: dict[str, onnx.SparseTensorProto] = field(default_factory=dict)


def normalized(model: onnx.ModelProto) -> Normal:
    """The model ready for packing, in its own memory: opset 18 at least, constants as initializers.

    Raises
    ------
    InputError
        If it holds something that cannot be brought there, naming the node.
    """
    normal = Normal(model)
    normal.sparse = densify(model)
    normal.notes += _fix_inputs(model)
    model.ir_version = max(model.ir_version, IR)
    target = target_opset(model)
    held: set[bytes] = set()
    if model.functions:
        imports = {entry.version for item in (model, *model.functions) for entry in _main(item.opset_import)}
        if len(imports) > 1:  # functions and graph have to speak of the same operators before they mix
            model = raise_opset(model, target)
        model, held = inline(model)
    model = lower_bipolar(raise_opset(model, target))
    _lift_constants(model)
    lower_qoperators(model)
    moved = hoist(model)
    held |= {digest(tensor) for tensor in model.graph.initializer if tensor.name in moved and large(tensor)}
    _store_once(model, held)
    normal.notes += _drop_unread(model)
    normal.model = model
    return normal


def normalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model alone, as `normalized` makes it."""
    return normalized(model).model


def _main(imports: object) -> list[onnx.OperatorSetIdProto]:
    return [entry for entry in imports if entry.domain in MAIN_DOMAINS]  # type: ignore[attr-defined]


def _fix_inputs(model: onnx.ModelProto) -> list[Note]:
    """In old files every initializer is a graph input by rule, and constant: then it is no input here."""
    if model.ir_version >= OVERRIDABLE_IR:
        return []
    names = {tensor.name for tensor in model.graph.initializer}
    fixed = [place for place, value in enumerate(model.graph.input) if value.name in names]
    for place in reversed(fixed):
        del model.graph.input[place]
    what = f"{counted(len(fixed), 'weight')} listed as graph inputs, as IR version {model.ir_version} demands"
    return [Note("info", f"{what}: taken as fixed")] if fixed else []


def _lift_constants(model: onnx.ModelProto) -> None:
    """Constants of the main graph become initializers, Identity of one of them another name for it."""
    graph = model.graph
    for node in graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del graph.value_info[:]
    aliases: dict[str, str] = {}
    kept = []
    constants = {tensor.name for tensor in graph.initializer} - {value.name for value in graph.input}
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        tensor = _constant_value(node)
        if tensor is not None:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            constants.add(tensor.name)
        elif (
            node.op_type == "Identity"
            and node.domain in MAIN_DOMAINS
            and node.input[0] in constants
            and node.output[0] not in outputs
        ):
            aliases[node.output[0]] = aliases.get(node.input[0], node.input[0])
            constants.add(node.output[0])
        else:
            kept.append(node)
    for node in kept:
        _rename_inputs(node, aliases)
    if len(kept) < len(graph.node):
        replace_nodes(graph, kept)


def _store_once(model: onnx.ModelProto, held: set[bytes]) -> None:
    """What a function held was copied to each place that called it: one copy serves them all."""
    if not held:
        return
    first: dict[bytes, str] = {}
    aliases: dict[str, str] = {}
    overridable = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        key = digest(tensor) if large(tensor) and tensor.name not in overridable else b""
        if key in held and first.setdefault(key, tensor.name) != tensor.name:
            aliases[tensor.name] = first[key]
    for node in model.graph.node:
        _rename_inputs(node, aliases)
    outputs = {value.name for value in model.graph.output}
    for place in reversed(range(len(model.graph.initializer))):
        name = model.graph.initializer[place].name
        if name in aliases and name not in outputs:
            del model.graph.initializer[place]


def _drop_unread(model: onnx.ModelProto) -> list[Note]:
    """Without the initializers that nothing reads: no file needs them, so no dense size counts them."""
    graph = model.graph
    read = read_names(graph)
    read |= {value.name for value in graph.input}  # a default that a caller may override
    unread = [place for place, tensor in enumerate(graph.initializer) if tensor.name not in read]
    size = sum(proto_size.tensor_bytes(graph.initializer[place]) for place in unread)
    names = [graph.initializer[place].name for place in unread]
    for place in reversed(unread):
        del graph.initializer[place]
    if size < MIN_BYTES:
        return []
    what = f"{counted(len(names), 'tensor')} of {size:,} bytes that nothing reads left out"
    return [Note("info", f"{what}: {listed(names)}")]


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node, whichever attribute holds it; None for strings and other nodes."""
    if node.op_type != "Constant" or node.domain not in MAIN_DOMAINS or len(node.attribute) != 1:
        return None
    item, name = node.attribute[0], node.output[0]
    if item.name == "value":
        twin = onnx.TensorProto()
        twin.CopyFrom(item.t)
        return twin
    if item.name == "sparse_value":
        return dense_tensor(item.sparse_tensor)
    dtype = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if item.name not in dtype:
        return None
    value = np.array(onnx.helper.get_attribute_value(item), dtype[item.name])
    return onnx.numpy_helper.from_array(value, name)


def _rename_inputs(node: onnx.NodeProto, aliases: dict[str, str]) -> None:
    for place, name in enumerate(node.input):
        if name in aliases:
            node.input[place] = aliases[name]
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename_inputs(inner, aliases)
