"""What a checkpoint is turned into in torch: precisions, CUDA graphs, sparse CSR, 2:4 semi-structured."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UnsupportedError

#: Name of a variant to what the table calls it.
VARIANTS = {
    "fp32": "torch fp32",
    "tf32": "torch tf32",
    "fp16": "torch fp16",
    "fp16-graph": "torch fp16, CUDA graph",
    "compiled": "torch fp16, compiled",
    "csr": "torch sparse CSR",
    "2:4": "torch 2:4 semi-structured fp16",
    "2:4-graph": "torch 2:4 semi-structured fp16, CUDA graph",
}
#: Those that compute in float16.
HALF = {"fp16", "fp16-graph", "compiled", "2:4", "2:4-graph"}


def precise(variant: str) -> None:
    """Let float32 mean float32: torch rounds the operands of convolutions to tf32 unless told not to."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = variant == "tf32"


def transform(module: Any, variant: str) -> Any:
    """The module in a variant; its convolutions and linear layers are replaced in place where that applies.

    Raises
    ------
    UnsupportedError
        If no layer of the module has the pattern that the variant needs.
    """
    import torch

    if variant == "csr":
        return _replace(module, _csr_layer, "no convolution or linear layer that sparse CSR can take")
    if variant.startswith("2:4"):
        return _replace(
            module.half(), _semi_structured, "no linear layer with two zeros in every four weights"
        )
    if variant in HALF:
        module = module.half()
    return torch.compile(module) if variant == "compiled" else module


def _replace(module: Any, make: Any, otherwise: str) -> Any:
    """Put `make(layer)` in the place of each layer for which it is not None.

    An attention reads the weight of its output layer itself, so that layer stays; the fused paths of
    transformer layers do so with others and are switched off.
    """
    import torch

    torch.backends.mha.set_fastpath_enabled(False)
    changed = 0
    for parent in list(module.modules()):
        if isinstance(parent, torch.nn.MultiheadAttention):
            continue
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
