"""The nets the size benchmarks run on: the lab's two, trained on real digits, pruned by magnitude."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

HOME = Path(__file__).resolve().parent.parent / "build" / "bench-nets"
EPOCHS = {"vgg11-cifar": 4, "densenet-cifar": 3}
State = dict[str, torch.Tensor]


def trained(arch: str, folder: Path = HOME) -> State:
    """State dict of a trained net; trained once (some minutes) and kept in `folder`."""
    path = folder / f"{arch}.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"training {arch} on digits, once, into {path} ...", file=sys.stderr)
        run = "import sys; from sparse_export.cli import main; main(sys.argv[1:])"
        epochs = str(EPOCHS[arch])
        command = [sys.executable, "-c", run, "train", "--arch", arch, "--epochs", epochs, "-o", str(path)]
        subprocess.run([*command, "--quiet", "--force"], check=True, stdout=sys.stderr)
    state: State = torch.load(path, weights_only=True)
    return state


def weights(state: State) -> list[str]:
    """Names of the convolution and linear weights."""
    return [name for name, tensor in state.items() if name.endswith("weight") and tensor.ndim > 1]


def pruned(state: State, rate: float) -> State:
    """The net with that share of its weights zero, the smallest of all layers together."""
    names = weights(state)
    magnitudes = torch.cat([state[name].abs().flatten() for name in names])
    drop = torch.zeros(magnitudes.numel(), dtype=torch.bool)
    drop[torch.topk(magnitudes, round(rate * magnitudes.numel()), largest=False).indices] = True
    result, at = dict(state), 0
    for name in names:
        size = state[name].numel()
        result[name] = state[name].masked_fill(drop[at : at + size].view_as(state[name]), 0.0)
        at += size
    return result


def binarized(state: State) -> State:
    """Every convolution but the first as sign(w) x mean |w| of its output channel (XNOR-Net)."""
    result = dict(state)
    for name in weights(state)[1:-1]:
        alpha = state[name].abs().flatten(1).mean(1).view(-1, 1, 1, 1)
        result[name] = torch.where(state[name] < 0, -alpha, alpha)
    return result
