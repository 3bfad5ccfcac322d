"""Measuring on an NVIDIA GPU: torch variants of a checkpoint, and onnxruntime's CUDA provider.

Latencies are taken with CUDA events around the forward pass, inputs already on the device. For an ONNX
model the time includes the copies of inputs and outputs, as `session.run` does them. A packed ONNX file
runs through its local functions: the packed weights are expanded on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MissingDependencyError, UnsupportedError
from ..inputs import Feeds, InputSpec
from ..onnx_files import all_files
from ..subjects import CHECKPOINTS, Subject, is_packed
from .base import OnnxRuntime, Runner, load_module, torch_inputs

#: What a checkpoint is turned into on the GPU, and how the table calls it.
VARIANTS = {
    "fp32": "torch fp32",
    "fp16": "torch fp16",
    "compiled": "torch fp16, compiled",
    "csr": "torch sparse CSR",
    "2:4": "torch 2:4 semi-structured fp16",
}


def require_gpu() -> None:
    """Do nothing where there is an NVIDIA GPU that torch can use.

    Raises
    ------
    MissingDependencyError
        In one line: what was looked for, and that everything else works without it.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("--device cuda needs torch: pip install torch") from error
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"no NVIDIA GPU that torch {torch.__version__} can use; measure without --device cuda"
        )


def subjects(paths: Sequence[Path]) -> list[Subject]:
    """Every variant of every checkpoint, and every ONNX file in the CUDA provider."""
    found: list[Subject] = []
    for path in paths:
        if path.suffix in CHECKPOINTS:
            for variant, label in VARIANTS.items():
                name, number = f"{path.name} [{label}]", f"m{len(found)}"
                found.append(Subject(number, name, path, "torch", variant=variant, files=(path,)))
        else:
            packed = is_packed(path)
            label = f"{path.name} [onnxruntime CUDA{', expanded' if packed else ''}]"
            files = tuple(all_files(path))
            number = f"m{len(found)}"
            found.append(Subject(number, label, path, "onnxruntime-stock", packed=packed, files=files))
    return found


def make_runner(job: dict[str, Any]) -> Runner:
    """The GPU runner that a job asks for."""
    if job["runtime"] == "torch":
        return TorchCuda(job["path"], job["variant"], job.get("architecture"), job.get("input_shape"))
    return CudaProvider(job["path"], int(job["threads"]), stock=True, provider="CUDAExecutionProvider")


class CudaProvider(OnnxRuntime):
    """onnxruntime on the GPU; refuses to fall back to the CPU in silence."""

    def load(self) -> None:
        super().load()
        if "CUDAExecutionProvider" not in self._session.get_providers():
            raise MissingDependencyError("onnxruntime has no CUDA provider: pip install onnxruntime-gpu")


class TorchCuda:
    """A checkpoint on the GPU in one of `VARIANTS`."""

    def __init__(self, path: str, variant: str, arch: str | None, shape: list[int] | None) -> None:
        import torch

        self._torch, self._path, self._variant = torch, path, variant
        self._arch, self._shape = arch, shape
        self._half = variant in {"fp16", "compiled", "2:4"}

    def load(self) -> None:
        module, self._example = load_module(self._path, self._arch, self._shape)
        module = transform(module.cuda(), self._variant)
        self._module = self._torch.compile(module) if self._variant == "compiled" else module
        self._torch.cuda.synchronize()

    def inputs(self) -> list[InputSpec]:
        return torch_inputs(self._example)

    def _tensors(self, feeds: Feeds) -> list[Any]:
        tensors = [self._torch.from_numpy(array).cuda() for array in feeds.values()]
        return [t.half() if self._half and t.is_floating_point() else t for t in tensors]

    def run(self, feeds: Feeds) -> list[Any]:
        with self._torch.inference_mode():
            output = self._module(*self._tensors(feeds))
        parts = output if isinstance(output, tuple | list) else [output]
        return [part.float().cpu().numpy() for part in parts]

    def timed_run(self, feeds: Feeds) -> float:
        """Milliseconds of one forward pass between two CUDA events."""
        if not hasattr(self, "_resident"):
            self._resident = self._tensors(feeds)
        event: Any = self._torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        with self._torch.inference_mode():
            start.record()
            self._module(*self._resident)
            end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def device_memory(self) -> int:
        """Peak bytes that torch held on the device."""
        return int(self._torch.cuda.max_memory_allocated())


def transform(module: Any, variant: str) -> Any:
    """The module in a variant; its convolutions and linear layers are replaced in place where that applies.

    Raises
    ------
    UnsupportedError
        If no layer of the module has the pattern that the variant needs.
    """
    if variant in {"fp16", "compiled"}:
        return module.half()
    if variant == "csr":
        return _replace(module, _csr_layer, "no convolution or linear layer that sparse CSR can take")
    if variant == "2:4":
        return _replace(
            module.half(), _semi_structured, "no linear layer with two zeros in every four weights"
        )
    return module


def _replace(module: Any, make: Any, otherwise: str) -> Any:
    """Put `make(layer)` in the place of each layer for which it is not None."""
    changed = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            new = make(child)
            if new is not None:
                setattr(parent, name, new)
                changed += 1
    if not changed:
        raise UnsupportedError(otherwise)
    return module


def _csr_layer(layer: Any) -> Any:
    """A linear layer or an ungrouped 2-D convolution with its weight in CSR: sparse times unfolded input."""
    import torch
    from torch import nn
    from torch.nn import functional

    class CsrLinear(nn.Module):
        def __init__(self, dense: nn.Linear) -> None:
            super().__init__()
            self.weight, self.bias = dense.weight.detach().to_sparse_csr(), dense.bias

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            product = (self.weight @ x.reshape(-1, x.shape[-1]).T).T.reshape(*x.shape[:-1], -1)
            return product if self.bias is None else product + self.bias

    class CsrConv2d(nn.Module):
        def __init__(self, dense: nn.Conv2d) -> None:
            super().__init__()
            self.weight, self.bias = dense.weight.detach().flatten(1).to_sparse_csr(), dense.bias
            self.window = (dense.kernel_size, dense.dilation, dense.padding, dense.stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            size, dilation, padding, stride = self.window
            height, width = (
                (x.shape[2 + i] + 2 * int(padding[i]) - dilation[i] * (size[i] - 1) - 1) // stride[i] + 1
                for i in range(2)
            )
            columns = functional.unfold(x, size, dilation, padding, stride)  # type: ignore[arg-type]
            product = self.weight @ columns.transpose(0, 1).flatten(1)
            y = product.reshape(-1, x.shape[0], height, width).transpose(0, 1)
            return y if self.bias is None else y + self.bias[:, None, None]

    if isinstance(layer, nn.Linear):
        return CsrLinear(layer)
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and not isinstance(layer.padding, str):
        return CsrConv2d(layer)
    return None


def has_two_of_four(weight: Any) -> bool:
    """Whether every group of four consecutive weights of a row holds two zeros at least."""
    array = np.asarray(weight)
    return (
        array.ndim == 2 and array.shape[1] % 4 == 0 and bool(((array.reshape(-1, 4) != 0).sum(1) <= 2).all())
    )


def _semi_structured(layer: Any) -> Any:
    """A linear layer of a fitting pattern and size with its weight in 2:4 form."""
    from torch import nn
    from torch.sparse import to_sparse_semi_structured

    if not isinstance(layer, nn.Linear) or any(d % 64 for d in layer.weight.shape):
        return None
    if not has_two_of_four(layer.weight.detach().float().cpu().numpy()):
        return None
    layer.weight = nn.Parameter(to_sparse_semi_structured(layer.weight.detach()), requires_grad=False)
    return layer
