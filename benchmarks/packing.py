"""Packing and unpacking speed on one core, against scipy and torch, in the same run.

`python benchmarks/packing.py` prints GB of dense input (or output) a second. Times are the least of several
runs, in processor time of one thread where the machine is shared (`--wall` for the clock on the wall).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import numpy as np
import scipy.sparse
import torch

from sparse_export import formats
from sparse_export.exporter import archive
from sparse_export.measure import machine

RESULTS = Path(__file__).parent / "results" / "packing.json"


def least(run: Callable[[], Any], clock: Callable[[], float], times: int = 7) -> float:
    """The shortest of several runs, in seconds."""
    best = float("inf")
    for _ in range(times):
        start = clock()
        run()
        best = min(best, clock() - start)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", type=Path, default=nets.HOME, help="folder of trained nets")
    parser.add_argument("--rate", type=float, default=0.9, help="share of zeros")
    parser.add_argument("--wall", action="store_true", help="measure wall time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.perf_counter if arguments.wall else time.process_time
    state = nets.pruned(nets.trained("vgg11-cifar", arguments.nets), arguments.rate)
    dense = sum(t.numel() * t.element_size() for t in state.values())
    matrices = [t.flatten(1).numpy() for t in state.values() if t.ndim > 1]
    matrix_bytes = sum(m.nbytes for m in matrices)
    rows = []

    def show(name: str, seconds: float, size: int, note: str = "") -> float:
        print(f"  {name:<54} {1e3 * seconds:9.1f} ms {size / seconds / 1e9:7.2f} GB/s  {note}")
        rows.append({"name": name, "seconds": seconds, "gb_per_s": size / seconds / 1e9})
        return seconds

    print(f"VGG-11, {arguments.rate:.0%} zeros, {dense / 1e6:.1f} MB dense, one thread")
    with tempfile.TemporaryDirectory(prefix="sparse-export-") as folder:
        source, packed = Path(folder) / "m.pt", Path(folder) / "m.packed.safetensors"
        torch.save(state, source)
        ours = show(
            "archive.write (read, pack, fsync)",
            least(lambda: archive.write(source, packed, force=True, check=False, threads=1), clock),
            dense,
        )
        show(
            "  with every tensor verified",
            least(lambda: archive.write(source, packed, force=True, threads=1), clock),
            dense,
        )
        peer = show(
            "scipy CSR + savez_compressed (read, pack, write)",
            least(lambda: _scipy(source, Path(folder)), clock, 3),
            dense,
        )
        show(
            "torch.to_sparse_csr + torch.save (read, pack, write)",
            least(lambda: _torch(source, Path(folder)), clock, 3),
            dense,
        )
        unpack = show(
            "archive.arrays (unpack, checksums verified)",
            least(lambda: archive.arrays(packed, threads=1), clock, 15),
            dense,
        )
    csr = formats.get("csr")
    show("format csr: pack", least(lambda: [csr.pack(m) for m in matrices], clock), matrix_bytes)
    components = [csr.pack(m) for m in matrices]
    show("format csr: unpack", least(lambda: [csr.unpack(p) for p in components], clock), matrix_bytes)
    faster, speed = peer / ours, dense / unpack / 1e9
    print(f"packing against scipy + savez_compressed: {faster:.1f}x (target >= 5)")
    print(f"unpacking: {speed:.2f} GB/s of dense output on one core (target >= 1)")
    RESULTS.parent.mkdir(exist_ok=True)
    document = {"machine": machine.describe(), "clock": clock.__name__, "runs": rows, "packing_ratio": faster}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if faster >= 5 and speed >= 1 else 1


def _scipy(source: Path, folder: Path) -> None:
    """One npz with the CSR arrays of every weight and all other tensors."""
    parts: dict[str, np.ndarray] = {}
    for name, tensor in torch.load(source, weights_only=True, mmap=True).items():
        if tensor.ndim < 2:
            parts[name] = tensor.numpy()
            continue
        matrix = scipy.sparse.csr_matrix(tensor.flatten(1).numpy())
        parts |= {f"{name}.{key}": getattr(matrix, key) for key in ("data", "indices", "indptr")}
    np.savez_compressed(folder / "peer.npz", allow_pickle=False, **parts)


def _torch(source: Path, folder: Path) -> None:
    state = torch.load(source, weights_only=True, mmap=True)
    packed = {name: t.flatten(1).to_sparse_csr() if t.ndim > 1 else t for name, t in state.items()}
    torch.save(packed, folder / "peer.pt")


if __name__ == "__main__":
    sys.exit(main())
