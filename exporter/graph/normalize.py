"""A model made ready for packing: a recent opset, constants as initializers, no exporter debris."""

from __future__ import annotations

import onnx
import onnx.version_converter

from ...errors import InputError
from .domain import MAIN_DOMAINS, OPSET, main_opset


def normalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model ready for packing: opset 18 at least, constants as initializers, no exporter debris.

    Raises
    ------
    InputError
        If an older opset cannot be converted.
    """
    model = _raise_opset(model)
    graph = model.graph
    for node in graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del graph.value_info[:]
    aliases: dict[str, str] = {}
    kept = []
    constants = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        tensor = _constant_value(node)
        if tensor is not None:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            constants.add(tensor.name)
        elif node.op_type == "Identity" and node.input[0] in constants and node.output[0] not in outputs:
            aliases[node.output[0]] = aliases.get(node.input[0], node.input[0])
            constants.add(node.output[0])
        else:
            kept.append(node)
    for node in kept:
        _rename_inputs(node, aliases)
    if len(kept) < len(graph.node):
        kept = [_copy(node) for node in kept]
        del graph.node[:]
        graph.node.extend(kept)
    return model


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    return twin


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    current = main_opset(model.opset_import)
    if current >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise InputError(
            f"opset {current} cannot be converted to {OPSET} ({error}); export the model anew"
        ) from error


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in MAIN_DOMAINS or len(node.attribute) != 1:
        return None
    if node.attribute[0].name != "value":
        return None
    tensor = onnx.TensorProto()
    tensor.CopyFrom(node.attribute[0].t)
    return tensor


def _rename_inputs(node: onnx.NodeProto, aliases: dict[str, str]) -> None:
    for place, name in enumerate(node.input):
        if name in aliases:
            node.input[place] = aliases[name]
    for item in node.attribute:
        for graph in [*item.graphs, *([item.g] if item.HasField("g") else [])]:
            for inner in graph.node:
                _rename_inputs(inner, aliases)
