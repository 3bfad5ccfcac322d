"""What an ONNX model would cost whoever runs it, found out before anybody does: sizes, folding, functions.

An ONNX file is a program. A runtime folds its constants when it is opened, inlines its functions, and keeps
every size that the file states; a kilobyte of it can ask for terabytes or never end. Here the declared sizes
are proved against the bytes, and what constants grow to is worked out from shapes alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from ...errors import CorruptFileError, UnsupportedError
from ...text import shown
from . import budget

#: Initializers above this many bytes take no part in the working out of shapes.
_SMALL = 4096
#: The IR version since which a weight need not be listed among the graph's inputs.
_IR_OF_PLAIN_WEIGHTS = 4
#: Nodes of a model once its functions are in their places.
_MOST_NODES = 2_000_000
#: Bytes that the inputs of a model may take: it is run on some, to be proved.
_MOST_INPUT = 256 << 20
#: Rounds of a loop that nothing but its count ends.
_MOST_ROUNDS = 1_000_000
#: Operators whose result is another one each time: no constant, whatever their inputs are.
_RANDOM = frozenset({"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"})


def prove(model: onnx.ModelProto, size: int, where: str) -> None:
    """Refuse a model that costs more than its file of `size` bytes may.

    Parameters
    ----------
    model
        Its external data may be absent.

    Raises
    ------
    CorruptFileError
        If a tensor is not as large as it says, or constants grow beyond the limit.
    UnsupportedError
        If its functions call each other in a circle, or its inputs are too large to be made.
    """
    _prove_tensors(model, size, where)
    _prove_functions(model, where)
    _prove_inputs(model, where)
    _prove_loops(model.graph, where)
    skeleton = without_weights(model)
    check(skeleton, where)
    variable = {value.name for value in model.graph.input} - {t.name for t in model.graph.initializer}
    _prove_constants(skeleton, variable, size, where)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all those in its nodes."""
    pending = [graph]
    while pending:
        found = pending.pop()
        yield found
        for node in found.node:
            pending += subgraphs(node)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs in the attributes of a node."""
    return [
        graph
        for attribute in node.attribute
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    ]


def nbytes(tensor: onnx.TensorProto, name: str) -> int:
    """Bytes the tensor's shape and type take."""
    if any(dim < 0 for dim in tensor.dims):
        raise CorruptFileError(f"{name}: negative dimension in {shown(list(tensor.dims))}")
    if math.prod(max(1, dim) for dim in tensor.dims) >= 1 << 60 or len(tensor.dims) > budget.MAX_RANK:
        raise CorruptFileError(f"{name}: a shape that nothing has: {shown(list(tensor.dims))}")
    return -(-int(math.prod(tensor.dims)) * _bits(tensor.data_type, name) // 8)


def _bits(data_type: int, name: str) -> int:
    if data_type == onnx.TensorProto.STRING:
        raise CorruptFileError(f"{name}: strings cannot be external data")
    try:
        dtype: Any = onnx.helper.tensor_dtype_to_np_dtype(data_type)
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{name}: unknown element type {data_type}") from error
    narrow: dict[str, int] = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    return narrow.get(onnx.TensorProto.DataType.Name(data_type), int(dtype.itemsize) * 8)


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph and its subgraphs, its own initializers first."""
    for found in graphs(graph):
        yield from found.initializer
        for sparse in found.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in found.node:
            yield from node_tensors(node)


def node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """The tensors in the attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in _sparse_of(attribute):
            yield from (sparse.values, sparse.indices)


def _sparse_of(attribute: onnx.AttributeProto) -> list[onnx.SparseTensorProto]:
    one = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    return [*one, *attribute.sparse_tensors]


def _sparse(graph: onnx.GraphProto) -> Iterator[onnx.SparseTensorProto]:
    for found in graphs(graph):
        yield from found.sparse_initializer
        for node in found.node:
            for attribute in node.attribute:
                yield from _sparse_of(attribute)


def _prove_tensors(model: onnx.ModelProto, size: int, where: str) -> None:
    for tensor in tensors(model.graph):
        name = f"{where}: tensor '{shown(tensor.name)}'"
        if tensor.data_type == onnx.TensorProto.STRING or tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        need = nbytes(tensor, name)
        if tensor.HasField("raw_data") and len(tensor.raw_data) != need:
            raise CorruptFileError(
                f"{name}: holds {len(tensor.raw_data):,} bytes, but its shape and type take {need:,}"
            )
        if not tensor.HasField("raw_data") and need > 16 * size:
            raise CorruptFileError(f"{name}: claims {need:,} bytes in a file of {size:,}")
    dense = 0
    for sparse in _sparse(model.graph):
        name = f"{where}: sparse tensor '{shown(sparse.values.name)}'"
        whole = onnx.TensorProto(dims=sparse.dims, data_type=sparse.values.data_type)
        dense += nbytes(whole, name)
    budget.current().refuse_growth(dense, size, f"{where}: its sparse tensors")


def _prove_functions(model: onnx.ModelProto, where: str) -> None:
    """No function calls itself, and all of them in their places are no more nodes than a model has."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    if len(bodies) != len(model.functions):
        raise CorruptFileError(f"{where}: not a valid ONNX model: two functions of one name")
    sizes: dict[tuple[str, str], int] = {}

    def count(nodes: Any, depth: int) -> int:
        total = 0
        for node in nodes:
            total += 1 + sum(count(graph.node, depth) for graph in subgraphs(node))
            key = (node.domain, node.op_type)
            if key in bodies:
                if key not in sizes:
                    if depth > 32:
                        raise UnsupportedError(
                            f"{where}: not a valid ONNX model: function '{shown(node.op_type)}' calls itself,"
                            " or others more than 32 deep"
                        )
                    sizes[key] = count(bodies[key].node, depth + 1)
                total += sizes[key]
        return min(total, 1 << 60)

    if count(model.graph.node, 0) > _MOST_NODES:
        raise UnsupportedError(f"{where}: over {_MOST_NODES:,} nodes once its functions are in their places")


def _prove_inputs(model: onnx.ModelProto, where: str) -> None:
    """Inputs and outputs are of types that there are; the inputs stated in full can be made, all at once."""
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.tensor_type.elem_type
        if kind not in onnx.TensorProto.DataType.values():
            raise CorruptFileError(f"{where}: '{shown(value.name)}' has the unknown element type {kind}")
    known = {tensor.name for tensor in model.graph.initializer}
    limit, total = max(_MOST_INPUT, budget.current().dense or 0), 0
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if any(dim < 0 for dim in shape):
            raise CorruptFileError(f"{where}: input '{shown(value.name)}' has a negative dimension")
        total += 0 if value.name in known else 4 * math.prod(max(1, dim) for dim in shape)
        if total > limit:
            raise UnsupportedError(
                f"{where}: its inputs up to '{shown(value.name)}' take {total:,} bytes, over the limit of"
                f" {limit:,}; raise it with --max-dense"
            )


def _prove_loops(graph: onnx.GraphProto, where: str) -> None:
    """A loop that only its count ends does not run for ever."""
    constants = {tensor.name: tensor for found in graphs(graph) for tensor in found.initializer}
    for found in graphs(graph):
        for node in found.node:
            if node.op_type == "Constant" and node.output:
                constants.update((node.output[0], a.t) for a in node.attribute if a.HasField("t"))
    _rounds(graph, constants, where)


def _rounds(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto], where: str) -> int:
    """Rounds that the loops of a graph make in one run of it, as far as their counts alone tell."""
    total = 0
    for node in graph.node:
        inner = sum(_rounds(body, constants, where) for body in subgraphs(node))
        body = next(iter(subgraphs(node)), None) if node.op_type == "Loop" else None
        given = node.input[0] if node.input else ""
        # A count that is computed is an honest one, of steps or boxes, as far as can be told here.
        if body is not None and body.output and (not given or given in constants):
            count = _number(constants.get(given))
            if _never_ends_itself(body, constants):
                rounds = None if count is None else max(0, count) * (1 + inner)
                if rounds is None or rounds > _MOST_ROUNDS:
                    raise UnsupportedError(
                        f"{where}: loop '{shown(node.name or node.output[0])}' never ends:"
                        f" {'any' if rounds is None else f'{rounds:,}'} rounds, and a condition that does not"
                        " change"
                    )
                inner = rounds
        total += inner
    return total


def _never_ends_itself(body: onnx.GraphProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether the condition that a loop's body gives is the one it got, or a constant."""
    made = {name: inner for inner in body.node for name in inner.output}
    condition, passed = body.output[0].name, len(body.input) > 1 and body.input[1].name
    while condition in made and made[condition].op_type == "Identity":
        condition = made[condition].input[0]
    ends = condition in made and made[condition].op_type != "Constant"
    return not ends and (condition == passed or condition in constants)


def _number(tensor: onnx.TensorProto | None) -> int | None:
    """The one integer that a small constant holds."""
    if tensor is None or tensor.data_type != onnx.TensorProto.INT64 or math.prod(tensor.dims) != 1:
        return None
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    return int(onnx.numpy_helper.to_array(tensor).reshape(-1)[0])


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the shapes of the large initializers alone: what checks and shapes need of them."""
    made = onnx.ModelProto()
    for name in ("ir_version", "producer_name", "domain", "model_version"):
        setattr(made, name, getattr(model, name))
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    _copy(model.graph, made.graph, top=True)
    return made


def _copy(graph: onnx.GraphProto, made: onnx.GraphProto, *, top: bool) -> None:
    made.name = graph.name or "graph"
    for field in ("input", "output", "value_info", "sparse_initializer"):
        getattr(made, field).extend(getattr(graph, field))
    known = {value.name for value in graph.input}
    for tensor in graph.initializer:
        large = tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.ByteSize() > _SMALL
        if not large:
            made.initializer.append(tensor)
        elif not top:
            made.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=[0], raw_data=b"")
        elif tensor.name not in known:
            made.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in graph.node:
        copied = made.node.add()
        for field in ("name", "op_type", "domain"):
            setattr(copied, field, getattr(node, field))
        copied.input.extend(node.input)
        copied.output.extend(node.output)
        for attribute in node.attribute:
            _copy_attribute(attribute, copied.attribute.add())


def _copy_attribute(attribute: onnx.AttributeProto, made: onnx.AttributeProto) -> None:
    """The attribute; large tensors in it empty, graphs in it copied likewise."""
    external = attribute.HasField("t") and attribute.t.data_location == onnx.TensorProto.EXTERNAL
    if attribute.HasField("g"):
        made.name, made.type = attribute.name, attribute.type
        _copy(attribute.g, made.g, top=False)
    elif attribute.HasField("t") and (external or attribute.t.ByteSize() > _SMALL):
        made.name, made.type = attribute.name, attribute.type
        made.t.data_type, made.t.raw_data = attribute.t.data_type, b""
        made.t.dims.append(0)
    else:
        made.CopyFrom(attribute)


def check(model: onnx.ModelProto, where: str) -> None:
    """Run onnx's own checker.

    Raises
    ------
    CorruptFileError
        With the first line of what it says.
    """
    if model.ByteSize() > 1 << 30:
        return  # the checker serializes its input
    lenient = _as_runtimes_take_it(model)
    try:
        onnx.checker.check_model(lenient)
    except Exception as error:  # ValidationError, or a decoding error below it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = shown(lines[0]) if lines else type(error).__name__
        raise CorruptFileError(f"{where}: not a valid ONNX model: {text}") from error


def _as_runtimes_take_it(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with what the checker alone insists on, and every runtime does without.

    Shapes of inputs and outputs, types of outputs, and in files of IR 3 a second mention of each weight among
    the inputs.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for value in made.graph.output:
        if not value.HasField("type"):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for value in (*made.graph.input, *made.graph.output):
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    if made.ir_version < _IR_OF_PLAIN_WEIGHTS:
        known = {value.name for value in made.graph.input}
        made.graph.input.extend(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in made.graph.initializer
            if tensor.name not in known
        )
    return made


def _prove_constants(model: onnx.ModelProto, variable: set[str], size: int, where: str) -> None:
    """What depends on no `variable`, and so is worked out when the model is opened, is not too large.

    First from shapes alone. The second time onnx works out the numbers in shapes too, by making them: what is
    long by then was refused.
    """
    for numbers in (False, True):
        total = _constant_bytes(model, variable, numbers)
        budget.current().refuse_growth(total, size, f"{where}: its constants")


def _constant_bytes(model: onnx.ModelProto, variable: set[str], numbers: bool) -> int:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=numbers)
    except MemoryError:
        raise
    except Exception:  # unknown operators, types that do not fit: onnxruntime will say so
        inferred = model
    graph = inferred.graph
    shapes = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    depends, total = set(variable), 0
    for node in graph.node:
        constant = not any(name in depends for name in node.input) and node.op_type not in _RANDOM
        if constant and not subgraphs(node):
            total += sum(_declared(shapes.get(name)) for name in node.output)
        else:
            depends.update(node.output)
    return total


def _declared(value: Any) -> int:
    """Bytes of a value whose shape is known in full, else 0."""
    if value is None or not value.HasField("shape"):
        return 0
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.shape.dim]
    if any(dim < 0 for dim in dims):
        return 0
    try:
        width = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.elem_type)).itemsize
    except (KeyError, ValueError, TypeError):
        width = 8
    return math.prod(dims) * max(1, width)
