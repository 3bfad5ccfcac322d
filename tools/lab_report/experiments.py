"""The experiments of the lab report: the commands that run them, and where their results lie.

Every result is what one `sparse-export` command wrote, so the report can print the command, and a
report that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_export.errors import SparseExportError
from sparse_export.exporter.files.atomic import atomic_file
from sparse_export.training.sweep.rows import Row

from . import integers

#: The point the lab chose for its DenseNet, and what it leaves of 969,288 weights.
CHOSEN = 0.9235


@dataclass(frozen=True)
class Size:
    """How much to compute.

    Parameters
    ----------
    dense_data, dense_recipe
        Options of everything that trains the DenseNet.
    """

    seeds: int
    way_seeds: int
    vgg_rates: str
    dense_rates: str
    ways: str
    way_rates: str
    epochs: int
    binary_epochs: int
    vgg_recipe: str
    dense_recipe: str


DEFAULT = Size(
    seeds=3,
    way_seeds=2,
    vgg_rates="--rates 0:0.96:0.04 --zoom 0.60:0.80:0.02 --zoom 0.80:0.90:0.01",
    dense_rates="--rates 0:0.95:0.05 --zoom 0.80:0.90:0.02 --zoom 0.90:0.95:0.01 --zoom 0.9235",
    ways="none,bn,fine-tune,lr-rewind,han,han-rewind,cubic",
    way_rates="0.8,0.9235",
    epochs=3,
    binary_epochs=3,
    vgg_recipe="--epochs 2",
    dense_recipe="--image-size 16 --epochs 4 --batch-size 64 --lr 0.003 --weight-decay 0.3",
)

FULL = Size(
    seeds=5,
    way_seeds=3,
    vgg_rates="--rates 0:0.98:0.02 --zoom 0.60:0.80:0.01 --zoom 0.80:0.90:0.005",
    dense_rates="--rates 0:0.98:0.02 --zoom 0.80:0.90:0.005 --zoom 0.90:0.95:0.005 --zoom 0.9235",
    ways=DEFAULT.ways,
    way_rates="0.5,0.7,0.8,0.9,0.9235,0.95,0.97,0.98",
    epochs=9,
    binary_epochs=10,
    vgg_recipe="--epochs 6",
    dense_recipe="--epochs 12 --batch-size 64 --lr 0.003 --weight-decay 0.3",
)


def commands(size: Size, work: str) -> dict[str, str]:
    """Name of each result -> the command that makes it, in the order to run them."""
    side = "--image-size 16 " if "--image-size 16" in size.dense_recipe else ""
    recipe = size.dense_recipe.partition("--batch-size")[2]
    again = f"--schedule lr-rewind {side}--epochs {size.epochs} --batch-size{recipe}"
    nets = " ".join(f"{work}/dense/seed{seed}.pt" for seed in range(size.way_seeds))
    vgg = f"{size.vgg_recipe} {size.vgg_rates} --seeds {size.seeds}"
    dense = f"{size.dense_recipe} {size.dense_rates} --seeds {size.seeds}"
    found = {
        "vgg": f"sweep --arch vgg11-cifar {vgg} -o {work}/vgg",
        "dense": f"sweep --arch densenet-cifar {dense} -o {work}/dense",
        "pruned": f"prune {work}/dense/seed0.pt --rate {CHOSEN} {side}--evaluate --json -o {work}/pruned.pt",
        "retrained": f"retrain {work}/pruned.pt {again} --json -o {work}/retrained.pt",
        "unpruned": f"retrain {work}/dense/seed0.pt {again} --json -o {work}/unpruned.pt",
    }
    found["connected"] = (
        f"prune {work}/dense/seed0.pt --rate {CHOSEN} --remove-dead {side}--evaluate --json "
        f"-o {work}/connected.pt"
    )
    found["reconnected"] = f"retrain {work}/connected.pt {again} --json -o {work}/reconnected.pt"
    for method in ("sign", "binaryconnect", "ste", "xnor"):
        epochs = "0 --evaluate" if method == "sign" else size.binary_epochs
        found[method] = (
            f"binarize {work}/vgg/seed0.pt --method {method} --epochs {epochs} --json -o {work}/{method}.pt"
        )
    found["csr-file"] = f"export {work}/retrained.pt --format csr --json -o {work}/retrained.csr.onnx"
    found["bit-file"] = f"export {work}/ste.pt --format bitpack --json -o {work}/ste.bitpack.onnx"
    found["ways"] = (
        f"sweep {nets} {size.dense_recipe} --rates {size.way_rates} --retrain {size.ways} "
        f"--retrain-epochs {size.epochs} -o {work}/ways"
    )
    found["rounds"] = (
        f"sweep {work}/dense/seed0.pt {size.dense_recipe} --rates {CHOSEN} --retrain han-bn,han-rewind-bn "
        f"--retrain-epochs {size.epochs} -o {work}/rounds"
    )
    found["rewinding"] = (
        f"sweep --arch densenet-cifar {size.dense_recipe} --seeds {size.way_seeds} --rates {size.way_rates} "
        f"--retrain fine-tune,lr-rewind,weight-rewind --rewind-epoch 1 --retrain-epochs {size.epochs} "
        f"-o {work}/rewinding"
    )
    checkpoints = {
        "vgg": " ".join(f"{work}/vgg/seed{seed}.pt" for seed in range(size.way_seeds)),
        "dense": nets,
    }
    recipes = {"vgg": size.vgg_recipe, "dense": size.dense_recipe}
    return found | integers.commands(checkpoints, recipes, size.epochs, work)


def run_all(size: Size, work: Path) -> dict[str, Any]:
    """Run what has not been run; name -> rows of a sweep, or the JSON that the command printed.

    Raises
    ------
    SparseExportError
        If a command fails.
    """
    work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for name, command in commands(size, str(work)).items():
        results[name] = (
            _sweep(command, work / name) if command.startswith("sweep") else _step(command, work, name)
        )
    return results


def _sweep(command: str, folder: Path) -> list[Row]:
    """A sweep finds by itself what is there already."""
    _call(command)
    rows: list[Row] = json.loads((folder / "rows.json").read_text())
    return rows


def _step(command: str, work: Path, name: str) -> Any:
    """A step is done when the JSON it printed is there, made by this very command."""
    note = work / f"{name}.json"
    if note.exists():
        kept = json.loads(note.read_text())
        if kept["command"] == command:
            return kept["result"]
    result = json.loads(_call(f"{command} --force"))
    with atomic_file(note, force=True) as file:
        file.write(json.dumps({"command": command, "result": result}, indent=1).encode())
    return result


def _call(command: str) -> str:
    """Standard output of a command; its talk goes where ours goes."""
    print(f"$ sparse-export {command}", file=sys.stderr, flush=True)
    program = "from sparse_export.cli import main; main()"
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise SparseExportError(f"exit code {done.returncode} from: sparse-export {command}")
    return done.stdout
