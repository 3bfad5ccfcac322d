"""The decision for one weight, and what of it a report tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ... import formats
from ..graph.site import Site
from .values import Encoded

#: Of csr's stream in memory: a value and a narrow gap for every non-zero, an end for every row.
ENTRY_BYTES, ROW_BYTES = 4 + 1, 4


@dataclass
class TensorPlan:
    """The decision for one weight.

    `format` is what it is stored as, `run` what computes with it: "packed" (an operator takes the
    components), "expanded" (a `<Prefix>Weight` node gives the tensor, which is constant once a session is
    made) or "dense"; `run_reason` says why. `dense_bytes` and `packed_bytes` are exact sizes of the tensor
    data, headers apart. `role` is "weight";
    "parameter" for a vector (a bias, a normalisation's); "value" for what stays computed,
    so that the file holds not it but what it is computed from. The last two count neither as packed nor as
    kept. `freed` are the tensors of the model that packing makes needless: the weight itself, or what it is
    computed from. `sizes` are the bytes of every format that may hold it, "dense" among them; none where it
    must stay. `origin` says what the weight is computed from, where it is. `turned` tells that an expanded
    weight is stored outputs first and transposed when it is expanded.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    nnz: int
    size: int
    format: str
    dense_bytes: int
    packed_bytes: int
    reason: str
    run: str = "dense"
    run_reason: str = ""
    values: str = "fp32"
    runner_up: tuple[str, int] | None = None
    sizes: dict[str, int] = field(default_factory=dict, repr=False)
    origin: str = ""
    turned: bool = False
    role: str = "weight"
    freed: tuple[str, ...] = ()
    sites: list[Site] = field(default_factory=list, repr=False)
    encoded: Encoded | None = field(default=None, repr=False)
    candidates: tuple[str, ...] = field(default=(), repr=False)

    @property
    def density(self) -> float:
        """Non-zeros over elements."""
        return self.nnz / self.size if self.size else 0.0

    @property
    def packed(self) -> bool:
        """Whether it is stored in a format."""
        return self.format != "dense"

    @property
    def runs_packed(self) -> bool:
        """Whether its layers' nodes are replaced by operators that take the components."""
        return self.packed and self.run == "packed"

    @property
    def expanded(self) -> bool:
        """Whether a node in front of its readers gives the tensor."""
        return self.packed and self.run == "expanded"

    @property
    def memory_bytes(self) -> int:
        """Bytes of the weight in a session with the library, headers and the runtime's own copies apart.

        Run packed, a format with a kernel is read where it lies; of any other the components stay, and its
        rows stand beside them in csr's stream. Expanded or dense, it is an ordinary tensor.
        """
        if not self.runs_packed:
            return self.dense_bytes
        if formats.get(self.format).kernels:
            return self.packed_bytes
        rows = self.sites[0].scale.size if self.sites else 0
        return self.packed_bytes + ENTRY_BYTES * self.nnz + ROW_BYTES * (rows + 1)

    def stay_dense(self, reason: str) -> None:
        """Take the decision back; what was chosen becomes the runner-up."""
        self.runner_up = (self.format, self.packed_bytes)
        self.format, self.packed_bytes, self.reason = "dense", self.dense_bytes, reason
        self.run, self.run_reason = "dense", ""
        self.values, self.encoded, self.sizes = "fp32", None, {}

    def at(self, sites: list[Site]) -> TensorPlan:
        """The same decision for the sites of another graph."""
        return replace(self, sites=sites)

    def to_json(self) -> dict[str, Any]:
        """The plan of this weight as JSON-able values."""
        row = asdict(replace(self, sites=[], encoded=None))
        for name in ("sites", "encoded", "freed", "sizes", "origin", "turned", "candidates"):
            del row[name]
        why = f"{self.run}: {self.run_reason}" if self.packed and self.run_reason else ""
        row["reason"] = "; ".join(text for text in (self.reason, self.origin, why) if text)
        return row | {"shape": list(self.shape), "density": self.density, "memory_bytes": self.memory_bytes}
