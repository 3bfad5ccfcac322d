"""What a weight takes in a session with the library: what its decision costs beside the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import formats

if TYPE_CHECKING:
    from .plan import TensorPlan

#: Of csr's stream: a value and a narrow gap for every non-zero, an end for every row.
_ENTRY, _ROW = 4 + 1, 4


def held(plan: TensorPlan) -> int:
    """Bytes of the weight once a session is made, headers and the runtime's own copies apart.

    Run packed, a format with a kernel is read where it lies; of any other the components stay, and its rows
    stand beside them in csr's stream. Expanded or dense, it is an ordinary tensor.
    """
    if not plan.runs_packed:
        return plan.dense_bytes
    if formats.get(plan.format).kernels:
        return plan.packed_bytes
    rows = plan.layers[0].scale.size if plan.layers else 0
    return plan.packed_bytes + _ENTRY * plan.nnz + _ROW * (rows + 1)
