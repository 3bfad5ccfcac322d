"""A linear layer of ``gpu.py`` in every form."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from gpu_setting import Setting, write


def run_layers(setting: Setting) -> None:
    """A linear layer in every form: microseconds of a call, and its error against float64."""
    from sparse_export.measure import machine
    from sparse_export.measure.runners import cuda

    size, rows = (256, (1, 16)) if setting.small else (4096, (1, 16, 256, 4096))
    document: dict[str, Any] = {"machine": {**machine.describe(), "gpu": cuda.describe()}, "rows": []}
    for pattern, forms in {"90 %": ("fp32", "tf32", "fp16", "csr"), "2:4": ("fp16", "2:4")}.items():
        for form in forms:
            for m in rows:
                row: dict[str, Any] = {"pattern": pattern, "form": form, "size": size, "rows": m}
                try:
                    row |= time_layer(setting.device, pattern, form, size, m)
                except Exception as error:  # torch's own ways to fail: a row that says so
                    row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
                document["rows"].append(row)
                print(json.dumps(row), flush=True)
                write(setting, "layers", document)


def time_layer(device: str, pattern: str, form: str, size: int, m: int) -> dict[str, Any]:
    """Median microseconds of one call, and the relative error of its result.

    The same product is computed by several layers in turn, together larger than the GPU's cache.
    """
    import torch

    from sparse_export.measure.runners.torch_variants import HALF, precise, transform

    precise(form)
    torch.manual_seed(0)
    dtype = torch.float16 if form in HALF else torch.float32
    x = torch.randn(m, size, device=device)
    weight = torch.randn(size, size, device=device) / size**0.5
    if pattern == "2:4":
        groups = weight.view(-1, 4)
        groups.scatter_(1, groups.abs().topk(2, largest=False).indices, 0)
    else:
        weight.masked_fill_(torch.rand_like(weight) < 0.9, 0.0)
    layers = [_layer(weight, form, transform) for _ in range(6)]
    given = x.to(dtype)
    with torch.inference_mode():
        wanted = x.double() @ weight.double().T
        error = (layers[0](given).double() - wanted).norm() / wanted.norm()
        samples = [_microseconds(device, layers, given) for _ in range(15)]
    return {"us": statistics.median(samples), "us_min": min(samples), "relative_error": float(error)}


def _layer(weight: Any, form: str, transform: Callable[[Any, str], Any]) -> Any:
    """A linear layer without a bias with a copy of this weight, in a form."""
    import torch

    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device)
    layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    return transform(torch.nn.Sequential(layer).eval(), form)


def _microseconds(device: str, layers: list[Any], x: Any, calls: int = 30) -> float:
    """Microseconds a call of so many in a row."""
    import torch

    if device == "cpu":
        from sparse_export.runtime.timing import medians

        return sum(medians([partial(layer, x) for layer in layers], rounds=1, seconds=0)) * 1e6 / len(layers)
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    start.record()
    for i in range(calls):
        layers[i % len(layers)](x)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e3 / calls
