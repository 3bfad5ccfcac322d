"""A model without its weights: what checks and shapes need of it."""

from __future__ import annotations

import onnx

#: Initializers above this many bytes take no part in the working out of shapes.
_SMALL = 4096


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
