"""A checkpoint in torch on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...runtime.inputs import Feeds, InputSpec, as_shapes


class Torch:
    """A checkpoint in torch, eager or through torch.compile, on the CPU."""

    def __init__(
        self, path: str, threads: int, compiled: bool, arch: str | None, shape: list[int] | None
    ) -> None:
        import torch

        from ...exporter import checkpoint  # noqa: F401  part of the runtime, not of the load

        torch.set_num_threads(threads)
        self._torch, self._path, self._compiled = torch, path, compiled
        self._arch, self._shape = arch, shape

    def load(self) -> None:
        self._module, self._example = load_module(self._path, self._arch, self._shape)
        if self._compiled:
            self._module = self._torch.compile(self._module)

    def inputs(self) -> list[InputSpec]:
        return torch_inputs(self._example)

    def run(self, feeds: Feeds) -> list[Any]:
        with self._torch.inference_mode():
            output = self._module(*[self._torch.from_numpy(array) for array in feeds.values()])
        return [part.numpy() for part in (output if isinstance(output, tuple | list) else [output])]


def load_module(path: str, arch: str | None, shape: list[int] | None) -> tuple[Any, list[Any]]:
    """A checkpoint as a torch module in evaluation mode, and example inputs for it."""
    from ...exporter import checkpoint
    from ...exporter.trace import resolve as architecture

    shapes = [item[1] if isinstance(item[0], str) else item for item in as_shapes(shape)]
    resolved = architecture.resolve(checkpoint.load(Path(path)), arch, shapes or None, None)
    return resolved.module.eval(), list(resolved.example_inputs)


def torch_inputs(examples: list[Any]) -> list[InputSpec]:
    """Inputs of a module from its examples; the batch is open."""
    return [
        InputSpec(f"input{i}", (None, *example.shape[1:]), str(example.dtype).removeprefix("torch."))
        for i, example in enumerate(examples)
    ]
