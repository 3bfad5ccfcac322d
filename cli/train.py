"""`sparse-export train`: a net from scratch, as an ordinary checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import lab

EPILOG = """\b
Examples:
  sparse-export train --arch vgg11-cifar -o vgg.pt
  sparse-export train --arch densenet-cifar --data cifar10 --data-dir data --epochs 60 -o dense.pt
  sparse-export train --arch nets.py:small --data folder:photos --image-size 64 -o small.pt
"""


@click.command(epilog=EPILOG)
@click.option(
    "--arch",
    default="vgg11-cifar",
    show_default=True,
    metavar="NAME|FILE.py:FACTORY",
    help="The net to train.",
)
@lab.data_options
@lab.recipe_options
@click.option(
    "--rewind-epoch",
    type=click.IntRange(1),
    metavar="N",
    help="Also keep the weights after epoch N, as OUTPUT.epochN.pt, for 'retrain --schedule weight-rewind'.",
)
@lab.output_options
def command(
    arch: str, rewind_epoch: int | None, output: Path, force: bool, as_json: bool, quiet: bool, **values: Any
) -> None:
    """Train a net and write its state dict.

    Killed in the middle, the same command goes on after the last whole epoch (from OUTPUT.resume)
    and ends with the same weights.
    """
    from ..training import runs

    spec, recipe = lab.take(values)
    with lab.epoch_bar(quiet) as bar:
        outcome = runs.run_train(
            output, arch, spec, recipe, force=force, rewind_epoch=rewind_epoch, progress=bar
        )
    lab.show(outcome, as_json)
