"""Accuracy of the checkpoint in torch and of the exported file in stock onnxruntime, on held-out digits."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from sparse_export.exporter import checkpoint
from sparse_export.exporter.nets import cifar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder

    held_out = np.load(folder / "held-out.npz")
    images, labels = held_out["images"], held_out["labels"]

    net = cifar.vgg11_cifar().eval()
    net.load_state_dict(checkpoint.load(folder / "model.pt").tensors)
    with torch.no_grad():
        in_torch = net(torch.from_numpy(images)).numpy()
    session = onnxruntime.InferenceSession(folder / "model.csr.onnx")  # stock: no library registered
    (in_stock,) = session.run(None, {session.get_inputs()[0].name: images})

    same = int((in_torch.argmax(1) == in_stock.argmax(1)).sum())
    print(f"held-out digits            {len(labels)}")
    print(f"accuracy in torch          {(in_torch.argmax(1) == labels).mean():.4%}")
    print(f"accuracy in onnxruntime    {(in_stock.argmax(1) == labels).mean():.4%}   (the exported file)")
    print(f"same prediction            {same} of {len(labels)}")
    print(f"largest output difference  {np.abs(in_torch - in_stock).max():.2e}")
    if same != len(labels):
        raise SystemExit("the exported file predicts differently")


if __name__ == "__main__":
    main()
