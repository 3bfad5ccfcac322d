"""SHA-256 of what the exporter writes for nets with seeded weights: the same before and after a change.

    python -m tools.identity [FOLDER] [--only NAME ...]

Each line is `digest  net.way/file`. Run it on two commits, each with its own environment, and compare: a line
that differs is a file that changed. The .onnx sources are made once and kept in FOLDER, so both runs read the
same ones.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

import sparse_export
from sparse_export.exporter import archive
from sparse_export.exporter.nets import torchvision
from sparse_export.exporter.nets.cifar import MODELS

#: Zeros among the weights of a convolution or linear layer.
RATE = 0.9
VISION = ("resnet18", "mobilenet_v2", "vit_b_16")
FORMATS = ("csr", "auto", "bitpack")
State = dict[str, torch.Tensor]


def weights(name: str) -> State:
    """The net's state dict: random, seeded, its small weights zero."""
    torch.manual_seed(0)
    module = MODELS[name](10) if name in MODELS else torchvision.build(name)
    state = module.state_dict()
    return {key: _pruned(tensor) if tensor.ndim > 1 else tensor for key, tensor in state.items()}


def _pruned(tensor: torch.Tensor) -> torch.Tensor:
    kept = max(1, round((1 - RATE) * tensor.numel()))
    least = tensor.abs().flatten().topk(kept).values[-1]
    return torch.where(tensor.abs() >= least, tensor, 0.0)


def binarized(state: State) -> State:
    """Every convolution and linear weight as +alpha and -alpha of its rows: what `bitpack` holds."""
    result = dict(state)
    for name, tensor in state.items():
        if name.endswith("weight") and tensor.ndim in (2, 4):
            alpha = tensor.abs().flatten(1).mean(1).view(-1, *[1] * (tensor.ndim - 1))
            result[name] = torch.where(tensor < 0, -alpha, alpha)
    return result


def files(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """(way, file) of everything that is written for one net."""
    state = weights(name)
    pruned, binary = folder / f"{name}.pt", folder / f"{name}-binary.pt"
    torch.save(state, pruned)
    torch.save(binarized(state), binary)
    dense = folder / f"{name}.onnx"
    if not dense.exists():
        sparse_export.export(pruned, format="dense", output=dense, arch=name, verify=False)
    for way in FORMATS:
        yield from _exported(f"{name}.{way}", binary if way == "bitpack" else pruned, way, folder, arch=name)
    for way in ("csr", "auto"):
        yield from _exported(f"{name}.onnx.{way}", dense, way, folder)
    yield from _exported(f"{name}.external", pruned, "auto", folder, arch=name, external_data=True)
    target = folder / "packed.safetensors"
    archive.write(pruned, target, force=True)
    yield f"{name}.archive", target


def _exported(
    label: str, source: Path, way: str, folder: Path, **options: str | bool
) -> Iterator[tuple[str, Path]]:
    target = folder / "out"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    sparse_export.export(source, format=way, output=target / "net.onnx", verify=False, **options)  # type: ignore[arg-type]
    for path in sorted(target.iterdir()):
        yield label, path


def main() -> None:
    """Print the digests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("build/identity"))
    parser.add_argument("--only", nargs="*", default=[*MODELS, *VISION])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        for label, path in files(name, options.folder):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"{digest}  {label}/{path.name}", flush=True)


if __name__ == "__main__":
    main()
