"""onnx's own checker, without what it alone insists on."""

from __future__ import annotations

import onnx

from ....errors import CorruptFileError
from ....text import shown

#: The IR version since which a weight need not be listed among the graph's inputs.
_IR_OF_PLAIN_WEIGHTS = 4


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
