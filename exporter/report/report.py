"""What was done, in numbers: the export report as data. `cli` prints it, `bench` renders it as HTML."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import shards

if TYPE_CHECKING:
    import onnx

    from ..plan.tensor_plan import TensorPlan
    from ..prove.compare import Verification
    from ..source import Source
    from .waterfall import Waterfall


@dataclass
class Report:
    """One export (or one look inside a file).

    All sizes are bytes. `dense_bytes` and `packed_bytes` are all tensors in the plan; `dense_file_bytes` is
    the dense ONNX file of the same model; `lab_bytes` is the "non-zeros x 32 bits" of the theory, which
    leaves out every position. `waterfall` has the steps between theory and file, and the order-0 entropy.
    `nnz`, `size` and `density` are of weights: no vectors, nothing computed.
    """

    source: str
    output: str | None
    format: str
    arch: str | None = None
    files: list[Path] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    dense_file_bytes: int | None = None
    source_bytes: int | None = None
    waterfall: Waterfall | None = None
    verification: Verification | None = None
    seconds: float = 0.0
    command: str | None = None

    @classmethod
    def begin(cls, source: Source, target: Path, format_name: str, plans: Sequence[TensorPlan]) -> Report:
        """The report of a plan; what comes later is filled in as it happens."""
        return cls(
            source=str(source.path),
            output=str(target),
            format=format_name,
            arch=source.arch,
            layers=[plan.to_json() for plan in plans],
            notes=list(source.notes),
            source_bytes=shards.size(source.path),
        )

    @property
    def weights(self) -> list[dict[str, Any]]:
        """The rows that count: no vectors that layers and normalisations bring along, nothing computed."""
        return [row for row in self.layers if row.get("role", "weight") == "weight"]

    @property
    def dense_bytes(self) -> int:
        """Bytes of the tensors in the plan as they are."""
        return sum(row["dense_bytes"] for row in self.layers)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the tensors in the plan as written."""
        return sum(row["packed_bytes"] for row in self.layers)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the tensors in the plan in a session with the library."""
        return sum(row["memory_bytes"] for row in self.layers)

    @property
    def nnz(self) -> int:
        """Non-zeros in the weights."""
        return sum(row["nnz"] for row in self.weights)

    @property
    def size(self) -> int:
        """Elements in the weights."""
        return sum(row["size"] for row in self.weights)

    @property
    def density(self) -> float:
        """Non-zeros over elements of the weights; 0 where there are none."""
        return self.nnz / self.size if self.size else 0.0

    @property
    def lab_bytes(self) -> int:
        """Non-zeros x 32 bits, in bytes."""
        return self.nnz * 4

    @property
    def file_bytes(self) -> int | None:
        """Bytes of all files written."""
        return sum(path.stat().st_size for path in self.files) if self.files else None

    def measure(self, model: onnx.ModelProto, compare: bool) -> None:
        """The dense file's size, and the waterfall from it down to what was written.

        Parameters
        ----------
        model
            The dense model, every weight in it as the layers compute with it.
        compare
            Also run `gzip -6` and `zstd -19` over the dense weights: some seconds for each 10 MB.
        """
        from onnx import TensorProto

        from ..files import held
        from ..files.onnx_size import dense_bytes, file_bytes, tensors
        from ..plan.choosing import tensor_bytes
        from .waterfall import waterfall

        self.dense_file_bytes = dense_bytes(model)
        source = shards.locate(Path(self.source))
        if shards.identify(source) == "onnx":
            self.source_bytes = file_bytes(source)
            self.dense_file_bytes = min(self.dense_file_bytes, self.source_bytes)
        planned = {row["name"] for row in self.layers}
        kept = [tensor for tensor in tensors(model) if tensor.data_type != TensorProto.STRING]
        arrays = (held.array(tensor) for tensor in kept)
        rest = sum(tensor_bytes(tensor) for tensor in kept if tensor.name not in planned)
        self.waterfall = waterfall(
            arrays, positions=self.packed_bytes + rest, file=self.file_bytes, compare=compare
        )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able values; the layout is docs/report.schema.json."""
        return {
            "source": self.source,
            "output": self.output,
            "files": [str(path) for path in self.files],
            "format": self.format,
            "arch": self.arch,
            "source_bytes": self.source_bytes,
            "dense_file_bytes": self.dense_file_bytes,
            "file_bytes": self.file_bytes,
            "gzip_bytes": self.waterfall.gzip if self.waterfall else None,
            "zstd_bytes": self.waterfall.zstd if self.waterfall else None,
            "waterfall": self.waterfall.to_json() if self.waterfall else None,
            "dense_bytes": self.dense_bytes,
            "packed_bytes": self.packed_bytes,
            "memory_bytes": self.memory_bytes if all("memory_bytes" in row for row in self.layers) else None,
            "lab_bytes": self.lab_bytes,
            "nnz": self.nnz,
            "size": self.size,
            "layers": self.layers,
            "notes": [{"level": level, "text": text} for level, text in self.notes],
            "verification": self.verification.to_json() if self.verification else None,
            "seconds": self.seconds,
            "command": self.command,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Versions of what took part."""
    found = {"python": platform.python_version()}
    for name in ("sparse-export", "torch", "onnx", "onnxruntime", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
