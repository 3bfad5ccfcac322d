"""Everything that a model must hold to before anybody runs it, in order."""

from __future__ import annotations

import onnx

from .checker import check
from .constants import prove_constants
from .functions import prove_functions
from .loops import prove_loops
from .sizes import prove_tensors
from .skeleton import without_weights
from .values import prove_inputs


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
    prove_tensors(model, size, where)
    prove_functions(model, where)
    prove_inputs(model, where)
    prove_loops(model.graph, where)
    skeleton = without_weights(model)
    check(skeleton, where)
    variable = {value.name for value in model.graph.input} - {t.name for t in model.graph.initializer}
    prove_constants(skeleton, variable, size, where)
