"""Train the lab's VGG-11 on real digits, prune 90 % of it, save it the way torch.nn.utils.prune users do.

Writes DIR/model.pt (masks still in the state dict) and DIR/held-out.npz (images, labels).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import prune as torch_prune

from sparse_export.exporter.nets import cifar
from sparse_export.training import data, prune, train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR")
    parser.add_argument(
        "--rate", type=float, default=0.9, help="fraction of the weights to prune (default 0.9)"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    digits = data.digits()
    torch.manual_seed(0)
    model = cifar.vgg11_cifar(digits.classes)
    print(f"training VGG-11 on {digits.train.size} digits (3x32x32) …", flush=True)
    train.fit(model, digits, train.Recipe(epochs=2))
    print(
        f"  {train.accuracy(model, digits.test):.2%} of {digits.test.size} held-out digits, {seconds(start)}"
    )

    targets = [(module, "weight") for module in prune.prunable(model).values()]
    torch_prune.global_unstructured(targets, torch_prune.L1Unstructured, amount=args.rate)
    print(f"pruned {args.rate:.0%} of its weights, all layers ranked together (torch.nn.utils.prune)")
    print(
        f"  {train.accuracy(model, digits.test):.2%} held-out, one more epoch with the masks on …",
        flush=True,
    )
    # Weight decay stays off: it would only shrink the masked originals that nobody sees.
    train.fit(model, digits, train.Recipe(epochs=1, lr=5e-4, weight_decay=0.0, seed=1))
    print(f"  {train.accuracy(model, digits.test):.2%} held-out, {seconds(start)}")

    torch.save(model.state_dict(), args.out / "model.pt")
    images, labels = digits.test_arrays()
    np.savez(args.out / "held-out.npz", images=images.numpy(), labels=labels.numpy())
    print(
        f"wrote {args.out / 'model.pt'} ({(args.out / 'model.pt').stat().st_size:,} bytes) and held-out.npz"
    )


def seconds(start: float) -> str:
    """Time since the start, for people."""
    return f"{time.perf_counter() - start:.0f} s"


if __name__ == "__main__":
    main()
