"""Functions of ONNX text, with what they need and no more."""

from __future__ import annotations

import re
from collections.abc import Iterable

import onnx
import onnx.parser

from ..graph.domain import DOMAIN
from ..graph.walk import captured

#: From this opset on onnxruntime has no kernel for the random numbers of which it is known only that they are
#: no constants: a file would load only while its optimizer runs, which takes their branches away. It does not
#: fold a DequantizeLinear either.
_NO_RANDOM = 22
_RANDOM = re.compile(r"(\w+) = RandomUniform <shape = \[(\d)\]> \(\)")


def parsed(
    name: str, attributes: Iterable[str], inputs: Iterable[str], body: str, opset: int
) -> onnx.FunctionProto:
    """The function of our domain that gives `Y`, `body` being its text.

    A text may name sizes and constants that are not read, or one constant twice: texts are put together of
    parts. What a runtime folds leaves names behind that it holds on to, so nothing stands here for nothing.

    Parameters
    ----------
    opset
        Of the model that will hold it: a runtime inlines the body.
    """
    if opset >= _NO_RANDOM:
        body = _RANDOM.sub(_dequantized, body)
    function = onnx.parser.parse_function(
        f'<domain: "{DOMAIN}", opset_import: ["": {opset}]>\n'
        f"{name} <{', '.join(attributes)}> ({', '.join(inputs)}) => (Y)\n{{{body}}}"
    )
    kept = _read(_with_constants_once(function.node), set(function.output))
    del function.node[:]
    function.node.extend(kept)
    return function


def _dequantized(random: re.Match[str]) -> str:
    """As many numbers, made another way."""
    name, length = random[1], int(random[2])
    zeros = ", ".join("0" * length)
    return (
        f"{name}_q = Constant <value = uint8[{length}] {{{zeros}}}> ()\n"
        f"{name}_s = Constant <value = float {{1.0}}> ()\n"
        f"{name} = DequantizeLinear ({name}_q, {name}_s)"
    )


def _with_constants_once(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes, of equal constants the first alone."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    found = []
    for node in nodes:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Constant":
            value = node.attribute[0].SerializeToString(deterministic=True)
            same[node.output[0]] = first.setdefault(value, node.output[0])
            if same[node.output[0]] != node.output[0]:
                continue
        found.append(node)
    return found


def _read(nodes: list[onnx.NodeProto], results: set[str]) -> list[onnx.NodeProto]:
    """The nodes that these results take."""
    read, kept = set(results), []
    for node in reversed(nodes):
        if read.intersection(node.output):
            kept.append(node)
            read.update(node.input, captured(node))
    return kept[::-1]
