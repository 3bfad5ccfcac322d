"""Whether the inputs and outputs of a model are of types that there are, and can be made."""

from __future__ import annotations

import math

import onnx

from ....errors import CorruptFileError, UnsupportedError
from ....text import shown
from .. import budget

#: Bytes that the inputs of a model may take: it is run on some, to be proved.
_MOST_INPUT = 256 << 20


def prove_inputs(model: onnx.ModelProto, where: str) -> None:
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
