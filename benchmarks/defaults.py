"""Whole nets exported without a single option, at five sparsities, on two kinds of machines: beside dense.

``python benchmarks/defaults.py [--only resnet50] [--targets avx512 avx2] [--rounds 5] [--seconds 1]``. Beside
the default file stand the dense net in stock onnxruntime, ``--format csr --optimize speed``, and the default
file as it is exported on the other kind of machine: what runs packed is chosen again where a file is loaded.
For avx2 our kernels and onnxruntime are both held to AVX2 (`avx2_runtime`). One thread, fresh processes that
take turns. Prints a line a row and puts it into results/defaults.json in the place of an older one. Twenty
rows are a quarter of an idle hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import avx2_runtime
import common
from field import environment
from models import MODELS, Net

NETS = ("resnet50", "densenet121")
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
TARGETS = {"avx512": "avx2", "avx2": "avx512"}  # each with the other kind of machine
WAYS = {"default": {}, "csr": {"format": "csr", "optimize": "speed"}}

_EXPORT = """
import json, sys, sparse_export
source, target, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sparse_export.export(source, output=target, verify=False, force=True, **options)
"""


def exported(dense: Path, way: str, target: str) -> Path:
    """The file as a machine of that kind writes it, made once."""
    path = dense.with_suffix(f".{way}.{target}.onnx")
    if not path.exists():
        words = [sys.executable, "-c", _EXPORT, str(dense), str(path), json.dumps(WAYS[way])]
        with environment(avx2_runtime.environment(target)):
            subprocess.run(words, check=True, stdout=sys.stderr)
    return path


def run(name: str, sparsity: float, target: str, rounds: int, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    dense = Net(name, sparsity).path()
    subjects: dict[str, common.Runnable] = {"dense": (dense, "onnxruntime-stock")}
    subjects |= {way: (exported(dense, way, target), "onnxruntime") for way in WAYS}
    subjects["other"] = (exported(dense, "default", TARGETS[target]), "onnxruntime")
    with environment(avx2_runtime.environment(target)):
        times = common.measure(subjects, MODELS[name][1], 1, seconds, rounds)
    row: dict[str, Any] = {"model": name, "sparsity": sparsity, "target": target, "ms": times}
    row["bytes"] = {kind: path.stat().st_size for kind, (path, _) in subjects.items()}
    row["ratio"] = times["dense"] / times["default"]
    print(line(row), flush=True)
    return row


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    ms, size = row["ms"], row["bytes"]
    return (
        f"{row['model']:12s} {row['sparsity']:.0%} {row['target']:7s} dense {ms['dense']:7.2f} ms  "
        f"default {ms['default']:7.2f} ms {row['ratio']:5.2f}x  csr {ms['csr']:7.2f} ms "
        f"(default / csr {ms['default'] / ms['csr']:.3f})  other's {ms['other']:7.2f} ms "
        f"{ms['dense'] / ms['other']:5.2f}x  file {size['default'] / 1e6:6.2f} MB "
        f"({size['default'] / size['csr']:.3f} of csr's)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="nets whose name holds this")
    parser.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of runs of each file in each round")
    parser.add_argument("--prepare", action="store_true", help="make the files, measure nothing")
    arguments = parser.parse_args()
    nets = [name for name in NETS if arguments.only in name]
    if arguments.prepare:
        for net in (Net(name, sparsity) for name in nets for sparsity in arguments.sparsities):
            for way, target in ((way, target) for way in WAYS for target in TARGETS):
                exported(net.path(), way, target)
        return
    rows = [
        run(name, sparsity, target, arguments.rounds, arguments.seconds)
        for target in arguments.targets
        for name in nets
        for sparsity in arguments.sparsities
    ]
    keys = {"target": list(TARGETS).index, "model": NETS.index, "sparsity": SPARSITIES.index}
    rows = common.merged("defaults", rows, tuple(keys))
    common.save("defaults", sorted(rows, key=lambda row: [place(row[key]) for key, place in keys.items()]))


if __name__ == "__main__":
    main()
