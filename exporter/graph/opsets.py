"""A model of an older opset brought to 18, every node meaning what it meant; newer ones keep their own."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import helper

from ...errors import InputError
from ...text import shown
from ..files import streamed
from .domain import MAIN_DOMAINS, OPSET, main_opset
from .opset_rules import RULES, Context
from .shapes import inferred
from .walk import all_graphs, all_nodes, captured, copied, read_names, replace_nodes, subgraphs, value_names

#: The oldest opset whose operators the rules know; before it onnx's own converter is asked.
OLDEST = 7
#: Operators that changed after opset 18 in more than what they allow, and the opset that did it.
_LATER = {"GroupNormalization": 21, "DFT": 20, "GridSample": 20}


def target_opset(model: onnx.ModelProto) -> int:
    """The opset that a model is brought to: that of its newest part, 18 at least."""
    imports = [main_opset(holder.opset_import) for holder in (model, *model.functions)]
    return max(OPSET, *imports)


def raise_opset(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """The model with its operators, those of its functions too, in the opset `target`.

    Raises
    ------
    UnsupportedError
        Naming a node that has no equal there.
    InputError
        If the opset is older than the rules and onnx cannot convert it either.
    """
    current = main_opset(model.opset_import)
    if not current and any(node.domain in MAIN_DOMAINS for node in all_nodes(model.graph)):
        raise InputError("the model does not say which opset its operators are of; export it anew")
    if 0 < current < OLDEST:
        model, current = _by_onnx(model, current), OLDEST
    if 0 < current < target:
        shaped = inferred(model)
        context = Context(
            current,
            shaped.types,
            shaped.ranks,
            {tensor.name: tensor for tensor in model.graph.initializer},
            value_names(model.graph),
            read_names(model.graph),
        )
        _convert_graph(context, model.graph, target)
        if any(graph.value_info for graph in all_graphs(model.graph)):
            for graph in all_graphs(model.graph):
                del graph.value_info[:]
    _import(model.opset_import, target)
    for function in model.functions:
        version = main_opset(function.opset_import)
        if 0 < version < target:
            used = {name for node in function.node for name in [*node.input, *node.output]}
            read = {name for node in function.node for name in [*node.input, *captured(node)]}
            read.update(function.output)
            context = Context(version, {}, {}, {}, used, read)
            nodes = _convert_nodes(context, function.node, target)
            nodes = [copied(node) for node in nodes]
            del function.node[:]
            function.node.extend(nodes)
        if version:
            _import(function.opset_import, target)
    return model


def _by_onnx(model: onnx.ModelProto, current: int) -> onnx.ModelProto:
    from onnx import version_converter

    try:
        return version_converter.convert_version(streamed.whole_model(model), OLDEST)
    except Exception as error:  # whatever the converter's C++ throws
        reason = shown(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
        raise InputError(
            f"opset {current} cannot be converted to {OLDEST} ({reason}); export the model anew"
        ) from error


def _import(imports: Iterable[onnx.OperatorSetIdProto], target: int) -> None:
    """Set the version of ONNX's own operators in a list of imports."""
    found = [entry for entry in imports if entry.domain in MAIN_DOMAINS]
    for entry in found:
        entry.version = target
    if not found:
        imports.append(helper.make_opsetid("", target))  # type: ignore[attr-defined]


def _convert_graph(context: Context, graph: onnx.GraphProto, target: int) -> None:
    replace_nodes(graph, _convert_nodes(context, graph.node, target))


def _convert_nodes(context: Context, nodes: Iterable[onnx.NodeProto], target: int) -> list[onnx.NodeProto]:
    result = []
    for node in nodes:
        node = copied(node)
        for inner in subgraphs(node):
            _convert_graph(context, inner, target)
        if node.op_type == "Constant" and node.domain in MAIN_DOMAINS:
            _remember(context, node)
        until, rule = RULES.get(node.op_type, (0, None))
        if node.domain not in MAIN_DOMAINS:
            rule = None
        elif context.version < _LATER.get(node.op_type, 0) <= target:
            raise context.refuse(node, f"has no equal in opset {target}")
        if rule is None or context.version >= until:
            result.append(node)
            continue
        if any(item.ref_attr_name for item in node.attribute):
            raise context.refuse(node, "takes its attributes from the function it is in")
        made = rule(context, node)
        result += [*context.made, *made]
        context.made.clear()
    return result


def _remember(context: Context, node: onnx.NodeProto) -> None:
    tensor = next((item.t for item in node.attribute if item.name == "value"), None)
    if tensor is not None and node.output and isinstance(context.constants, dict):
        context.constants[node.output[0]] = tensor
