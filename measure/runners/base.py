"""The runtimes that can be measured, behind one small interface.

A runner is made (which imports its runtime), `load`ed (which is timed), asked for its inputs, and `run`.
Nothing here is imported by the parent: what a worker loads is part of what it measures.
"""

from __future__ import annotations

from typing import Any, Protocol

from ...runtime.inputs import Feeds, InputSpec

#: Name on the command line to the module that must be importable for it.
RUNTIMES = {
    "onnxruntime": "onnxruntime",
    "onnxruntime-stock": "onnxruntime",
    "torch": "torch",
    "torch-compiled": "torch",
    "openvino": "openvino",
}


class Runner(Protocol):
    """A model in a runtime."""

    def load(self) -> None:
        """Make the model ready to run: everything between a file and the first inference."""

    def inputs(self) -> list[InputSpec]:
        """What the model takes."""

    def run(self, feeds: Feeds) -> list[Any]:
        """Outputs as arrays, in the model's order."""
