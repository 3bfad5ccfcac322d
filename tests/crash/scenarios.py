"""The writers of the project, each as a command with the files it finds and the files it must leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from sparse_export.cli import run

from ..onnx_models import model as onnx_model
from ..onnx_models import pruned

NETS = Path(__file__).parents[1] / "nets.py"


@dataclass(frozen=True)
class Scenario:
    """One writer.

    Attributes
    ----------
    arguments
        Its command line; a name in braces is a file in the folder of the case.
    before
        Command line that makes the files it finds.
    copied
        Whether one of those is a copy of the model, under another name.
    """

    name: str
    arguments: tuple[str, ...]
    before: tuple[str, ...] = ()
    copied: bool = False

    def command(self, folder: Path, *more: str) -> Callable[[], int]:
        """The command as a function that gives its exit code."""
        return lambda: run([*_placed(self.arguments, folder), *more])

    def prepare(self, folder: Path) -> int:
        """Make the files that the command finds."""
        code = run(_placed(self.before, folder)) if self.before else 0
        if self.copied:
            shutil.copy(folder / "out.onnx", folder / "copy.onnx")
        return code


def _placed(arguments: tuple[str, ...], folder: Path) -> list[str]:
    return [argument.format(d=folder, s=folder.parent / "sources", nets=NETS) for argument in arguments]


NEW, OLD = "{s}/new.onnx", "{s}/old.onnx"
CSR = ("--format", "csr", "-o", "{d}/out.onnx")
DATA = (*CSR, "--external-data")
PAGES = ("--report", "{d}/report.html", "--card", "{d}/card.md")
ARCHIVE = ("--archive", "-o", "{d}/out.packed.safetensors")
PRUNE = ("--arch", "{nets}:small", "--amount", "0.5", "-o", "{d}/out.pt")
TRAIN = ("train", "--arch", "{nets}:classifier", "--epochs", "2", "--image-size", "8", "-o", "{d}/out.pt")
SCENARIOS = (
    Scenario("one file", (NEW, *CSR)),
    Scenario("one file over another", (NEW, *CSR, "--force"), (OLD, *CSR)),
    Scenario("pair", (NEW, *DATA)),
    Scenario("pair over a pair", (NEW, *DATA, "--force"), (OLD, *DATA)),
    Scenario("pair over a pair with a copy", (NEW, *DATA, "--force"), (OLD, *DATA), copied=True),
    Scenario("one file over a pair", (NEW, *CSR, "--force"), (OLD, *DATA)),
    Scenario("pair over one file", (NEW, *DATA, "--force"), (OLD, *CSR)),
    Scenario("model, report and card", (NEW, *CSR, *PAGES)),
    Scenario("the same over others", (NEW, *DATA, *PAGES, "--force"), (OLD, *DATA, *PAGES)),
    Scenario("archive", ("{s}/new.pt", *ARCHIVE)),
    Scenario("archive over another", ("{s}/new.pt", *ARCHIVE, "--force"), ("{s}/old.pt", *ARCHIVE)),
    Scenario("unpacked .pt", ("unpack", "{s}/new.packed.safetensors", "-o", "{d}/out.pt")),
    Scenario(
        "unpacked .safetensors over another",
        ("unpack", "{s}/new.packed.safetensors", "-o", "{d}/out.safetensors", "--force"),
        ("unpack", "{s}/old.packed.safetensors", "-o", "{d}/out.safetensors"),
    ),
    Scenario("checkpoint", ("prune", "{s}/new.pt", *PRUNE)),
    Scenario(
        "checkpoint over another",
        ("prune", "{s}/new.pt", *PRUNE, "--force"),
        ("prune", "{s}/old.pt", *PRUNE),
    ),
    Scenario("training", TRAIN),
)


def make_sources(folder: Path, seed: int) -> int:
    """A new and an old model, checkpoint and archive, of sizes that depend on the seed."""
    import torch

    from sparse_export.exporter import archive

    from .. import nets

    folder.mkdir()
    for number, name in enumerate(("new", "old")):
        rng = np.random.default_rng(2 * seed + number)
        onnx.save(_layers(rng, 2 + (seed + number) % 4), folder / f"{name}.onnx")
        net = nets.pruned(nets.small, seed=2 * seed + number)
        torch.save(net.state_dict(), folder / f"{name}.pt")
        archive.write(folder / f"{name}.pt", folder / f"{name}.packed.safetensors")
    return 0


def _layers(rng: np.random.Generator, count: int) -> onnx.ModelProto:
    width = int(rng.integers(48, 160))
    nodes, constants, x = [], {}, "X"
    for i in range(count):
        y = "Y" if i == count - 1 else f"h{i}"
        constants[f"w{i}"] = pruned(rng, width, width, density=0.2)
        nodes.append(onnx.helper.make_node("MatMul", [x, f"w{i}"], [y]))
        x = y
    return onnx_model(nodes, constants, ["N", width], 2)
