"""Nets of ``gpu.py``: pruned, and measured by `sparse-export bench`."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_setting import NotHereError, Setting, write


def prune(module: Any, zeros: float) -> Any:
    """The module with that share of each weight but the first layer's zero, the smallest first."""
    import torch

    layers = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in layers[1:]:
        weight = layer.weight.data
        weight.view(-1)[weight.abs().view(-1).topk(round(weight.numel() * zeros), largest=False).indices] = 0
    return module


def prune_two_of_four(module: Any) -> Any:
    """The module with the two smaller weights of every four zero, in each linear layer."""
    import torch

    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear) and layer.weight.shape[1] % 4 == 0:
            groups = layer.weight.data.view(-1, 4)
            groups.scatter_(1, groups.abs().topk(2, largest=False).indices, 0)
    return module


def build(arch: str) -> Any:
    """A seeded net by the name that `--arch` takes."""
    import torch

    from sparse_export.exporter.nets import cifar

    torch.manual_seed(0)
    return cifar.create(arch).eval()


def bench(setting: Setting, name: str, paths: list[Path], variants: tuple[str, ...], **given: Any) -> None:
    """`sparse-export bench` on these files, written even where the clock stopped it."""
    from sparse_export.measure import run
    from sparse_export.measure.pages import table
    from sparse_export.measure.request import Request
    from sparse_export.measure.subjects import Options

    if setting.small:
        given |= {"rounds": 1, "batch": (1,), "min_runs": 3, "min_seconds": 0.0, "warmup": 1}
    defaults: dict[str, Any] = {
        "rounds": 3,
        "min_runs": 150,
        "min_seconds": 0.9,
        "warmup": 20,
        "timeout": 120.0,
    }
    if setting.device == "cuda":
        defaults["threads"] = (4,)  # for the compiler; a GPU is fed by one
    options = Options(**(defaults | given), device=setting.device)
    request = Request(tuple(paths), variants=variants)
    command = f"python benchmarks/gpu.py --only {name}"
    found = run.run(
        request, options, command, lambda text, done, of: print(f"{done}/{of} {text}", flush=True)
    )
    for model in found["models"]:
        model["path"] = Path(model["path"]).name
    write(setting, name, found)
    print(table.markdown(found), flush=True)


def run_vgg11(setting: Setting) -> None:
    """VGG-11 for 32 x 32 images at 90 % zeros: every variant for weights without a pattern."""
    import torch

    variants: tuple[str, ...] = ("fp32", "fp16-graph", "compiled", "csr")
    if setting.device == "cpu":
        variants = ("fp32", "fp16-graph", "csr")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vgg11.pt"
        torch.save(prune(build("vgg11-cifar"), 0.9).state_dict(), path)
        shape = {"architecture": "vgg11-cifar", "input_shape": (1, 3, 32, 32)}
        bench(setting, "vgg11", [path], variants, batch=(1, 64), **shape)


def run_vit(setting: Setting) -> None:
    """A vision transformer whose linear layers have two zeros in every four weights."""
    import torch

    arch = "vit_b_16"
    if find_spec("torchvision") is None:
        raise NotHereError("torchvision is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vit-2of4.pt"
        net = build(arch)
        torch.nn.init.normal_(net.heads.head.weight, std=0.02)  # zero in a new net, and so its outputs
        torch.save(prune_two_of_four(net).state_dict(), path)
        shape = {"architecture": arch, "input_shape": (1, 3, 224, 224)}
        variants: tuple[str, ...] = ("fp16", "fp16-graph", "2:4-graph")
        if setting.device == "cpu":
            variants = ("fp32", "csr")  # the 2:4 kernels are the GPU's alone
        bench(setting, "vit", [path], variants, batch=(1, 64), **shape)


def run_resnet50(setting: Setting) -> None:
    """ResNet-50 at 90 % zeros."""
    import torch

    if find_spec("torchvision") is None:
        raise NotHereError("torchvision is not installed")
    arch, side = ("resnet18", 64) if setting.small else ("resnet50", 224)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{arch}.pt"
        torch.save(prune(build(arch), 0.9).state_dict(), path)
        shape = {"architecture": arch, "input_shape": (1, 3, side, side)}
        variants = ("fp32", "csr") if setting.small else ("fp32", "tf32", "fp16-graph", "csr")
        bench(setting, "resnet50", [path], variants, rounds=2, **shape)


def cuda_provider() -> None:
    """Make sure that onnxruntime has a CUDA provider, and that it finds CUDA's libraries."""
    if find_spec("onnxruntime") is None:
        raise NotHereError("onnxruntime is not installed")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise NotHereError(f"this onnxruntime {onnxruntime.__version__} has no CUDA provider")
    from sparse_export.measure.runners.cuda import preload

    preload()


def run_onnxruntime(setting: Setting) -> None:
    """The dense and the packed ONNX file of one net in onnxruntime's CUDA provider."""
    import torch

    cuda_provider()
    import sparse_export

    with tempfile.TemporaryDirectory() as folder:
        net, dense, packed = (Path(folder) / name for name in ("vgg11.pt", "vgg11.onnx", "vgg11.csr.onnx"))
        torch.save(prune(build("vgg11-cifar"), 0.9).state_dict(), net)
        for form, path in (("dense", dense), ("csr", packed)):
            sparse_export.export(net, format=form, output=path, arch="vgg11-cifar", verify=False)
        bench(setting, "onnxruntime", [dense, packed], ("fp32",), batch=(1, 64))
