"""The sections of ``gpu.py``, each run as ``python -m gpu_sections NAME OUTPUT DEVICE [--small]``.

A section that cannot be run here leaves its reason in a file for the parent and ends with code 0; one that
fails leaves it too and ends with 1. Ctrl-C (the parent's clock) makes it write what it has.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparse_export.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[1]


class NotHereError(Exception):
    """The section needs something that this machine does not have; the message says what."""


class Setting(argparse.Namespace):
    """The command line: where figures go, the device, and whether only the steps matter."""

    section: str
    output: Path
    device: str
    small: bool


def write(setting: Setting, name: str, document: dict[str, Any]) -> None:
    """Figures of a section, whole or not at all."""
    target = setting.output / f"gpu-{name}.json"
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(target)
    print(f"wrote {target.name}", flush=True)


def run_tests(setting: Setting) -> None:
    """The tests marked gpu, in pytest of their own."""
    if find_spec("pytest") is None:
        raise NotHereError("pytest is not installed")
    marked = ["-m", "gpu"] if setting.device == "cuda" else ["-k", "csr_variant"]
    options = ["-q", "-p", "no:cacheprovider", "-o", "timeout=90"]
    if find_spec("pytest_timeout") is None:
        options = options[:-2]
    command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / "measure" / "test_cuda.py"), *options]
    done = subprocess.run([*command, *marked], cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"pytest ended with code {done.returncode}")


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


def show(text: str, done: int, total: int) -> None:
    """Progress of a comparison."""
    print(f"{done}/{total} {text}", flush=True)


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


def run_onnxruntime(setting: Setting) -> None:
    """The dense and the packed ONNX file of one net in onnxruntime's CUDA provider."""
    import torch

    if find_spec("onnxruntime") is None:
        raise NotHereError("onnxruntime is not installed")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise NotHereError(f"this onnxruntime {onnxruntime.__version__} has no CUDA provider")
    import sparse_export

    with tempfile.TemporaryDirectory() as folder:
        net, dense, packed = (Path(folder) / name for name in ("vgg11.pt", "vgg11.onnx", "vgg11.csr.onnx"))
        torch.save(prune(build("vgg11-cifar"), 0.9).state_dict(), net)
        for form, path in (("dense", dense), ("csr", packed)):
            sparse_export.export(net, format=form, output=path, arch="vgg11-cifar", verify=False)
        bench(setting, "onnxruntime", [dense, packed], ("fp32",), batch=(1, 64))


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
        begin = time.perf_counter()
        for layer in layers:
            layer(x)
        return (time.perf_counter() - begin) * 1e6 / len(layers)
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    start.record()
    for i in range(calls):
        layers[i % len(layers)](x)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e3 / calls


RUNS: dict[str, Callable[[Setting], None]] = {
    "tests": run_tests,
    "layers": run_layers,
    "vgg11": run_vgg11,
    "vit": run_vit,
    "onnxruntime": run_onnxruntime,
    "resnet50": run_resnet50,
}


def main() -> int:
    """Run one section; leave the reason where it did not get through."""
    parser = argparse.ArgumentParser()
    parser.add_argument("section", choices=RUNS)
    parser.add_argument("output", type=Path)
    parser.add_argument("device")
    parser.add_argument("--small", action="store_true")
    setting = parser.parse_args(namespace=Setting())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script starts with &
    try:
        RUNS[setting.section](setting)
    except KeyboardInterrupt:
        return 1
    except (Exception, SystemExit) as error:  # whatever it is, the parent shall know
        reason = str(error) or type(error).__name__
        (setting.output / f".{setting.section}.reason").write_text(reason)
        return 0 if isinstance(error, NotHereError | MissingDependencyError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
