"""The functions that a model defines for itself put in the places that call them, as every runtime does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import onnx

from ...errors import CorruptFileError, UnsupportedError
from ...text import shown
from ..files import held, proto_size
from .domain import DOMAIN
from .walk import all_nodes, constant_tensor

#: Nodes that a model may have once its functions are in their places: a few nested lines can call for 2^40.
MAX_NODES = 200_000
#: Tensors of this many bytes that a function holds are stored once, however often it is called.
SHARED_BYTES = 1024

_Key = tuple[str, str, str]


def inline(model: onnx.ModelProto) -> tuple[onnx.ModelProto, set[bytes]]:
    """The model without functions of its own but those of packed weights; and its functions' large tensors.

    The tensors are told by their digests.

    Raises
    ------
    CorruptFileError
        If a function calls itself.
    UnsupportedError
        If the calls together make more nodes than a model may have.
    """
    from onnx import inliner

    if not model.functions:
        return model, set()
    functions = {(f.domain, f.name, f.overload): f for f in model.functions if f.domain != DOMAIN}
    if not functions:
        return model, set()
    sizes: dict[_Key, int] = {}
    for key in functions:
        _expanded(key, functions, sizes, ())
    total = sum(sizes.get(_key(node), 1) for node in all_nodes(model.graph))
    if total > MAX_NODES:
        raise UnsupportedError(
            f"the functions of the model call for {total:,} nodes, over {MAX_NODES:,}; export it without them"
        )
    held = {
        digest(tensor)
        for function in functions.values()
        for node in function.node
        if (tensor := constant_tensor(node)) is not None and large(tensor)
    }
    called = {entry.domain for function in functions.values() for entry in function.opset_import}
    own = {key[0] for key in functions}
    data = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in model.graph.initializer]
    for tensor in model.graph.initializer:
        for part in ("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data"):
            tensor.ClearField(part)
    flat = inliner.inline_selected_functions(model, [key[:2] for key in functions])
    packed = [function for function in model.functions if function.domain == DOMAIN]
    del flat.functions[:]
    flat.functions.extend(packed)
    del flat.graph.initializer[:]
    flat.graph.initializer.extend(data)
    used = {node.domain for node in all_nodes(flat.graph)}
    imports = [e for e in flat.opset_import if e.domain not in own or e.domain in used or not e.domain]
    missing = (called & used) - {entry.domain for entry in imports}
    for function in functions.values():
        for entry in function.opset_import:
            if entry.domain in missing:
                imports.append(entry)
                missing.discard(entry.domain)
    kept = [onnx.helper.make_opsetid(entry.domain, entry.version) for entry in imports]
    del flat.opset_import[:]
    flat.opset_import.extend(kept)
    return flat, held


def _key(node: onnx.NodeProto) -> _Key:
    return (node.domain, node.op_type, node.overload)


def _expanded(
    key: _Key, functions: dict[_Key, onnx.FunctionProto], sizes: dict[_Key, int], path: tuple[_Key, ...]
) -> int:
    """Nodes that one call of a function becomes."""
    if key in path:
        raise CorruptFileError(f"function '{shown(key[1])}' calls itself")
    if len(path) > 100:
        raise UnsupportedError(f"function '{shown(key[1])}' is called through more than 100 others")
    if key not in sizes:
        total = 0
        for node in _nodes(functions[key].node):
            inner = _key(node)
            total += _expanded(inner, functions, sizes, (*path, key)) if inner in functions else 1
        sizes[key] = total
    return sizes[key]


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    graph = onnx.GraphProto()
    graph.node.extend(nodes)
    return list(all_nodes(graph))


def large(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is worth storing once."""
    return proto_size.tensor_bytes(tensor) >= SHARED_BYTES


def digest(tensor: onnx.TensorProto) -> bytes:
    """What two tensors of the same type, shape and bytes have in common."""
    twin = onnx.TensorProto()
    twin.CopyFrom(held.whole(tensor))
    twin.ClearField("name")
    twin.ClearField("doc_string")
    return hashlib.blake2b(twin.SerializeToString(deterministic=True)).digest()
