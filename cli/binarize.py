"""`sparse-export binarize`: weights of one bit, trained through the sign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import lab

EPILOG = """\b
Examples:
  sparse-export binarize vgg.pt --method ste --epochs 3 -o binary.pt
  sparse-export binarize vgg.pt --method sign -o collapsed.pt
  sparse-export binarize vgg.pt --method xnor --epochs 6 -o xnor.pt
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=lab.FILE)
@click.option(
    "--method",
    type=click.Choice(["ste", "binaryconnect", "xnor", "sign"]),
    default="ste",
    show_default=True,
    help="alpha sign(W) trained; sign(W) trained; weights and activations, trained; alpha sign(W) as it is.",
)
@click.option(
    "--layers", multiple=True, metavar="GLOB", help="Only these layers.  [default: all but first and last]"
)
@click.option("--evaluate", is_flag=True, help="With 'sign': measure the accuracy, which needs data.")
@lab.arch_option
@lab.data_options
@lab.recipe_options
@lab.output_options
def command(
    model: Path,
    method: str,
    layers: tuple[str, ...],
    evaluate: bool,
    arch: str | None,
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Give MODEL weights of exactly plus or minus one number per output channel.

    Training steps on float masters clipped to [-1, 1] (BinaryConnect); what is written is binary.
    'sign' trains nothing: it needs no data, no net, and takes .onnx files too.
    'xnor' needs sign activations: the lab's VGG-11 becomes 'vgg11-cifar-xnor'.
    """
    from ..training.run_binarize import run_binarize

    spec, recipe = lab.take(values)
    with lab.epoch_bar(quiet) as bar:
        outcome = run_binarize(
            model,
            output,
            arch,
            spec,
            recipe,
            method,
            layers=layers,
            evaluate=evaluate,
            force=force,
            progress=bar,
        )
    lab.show(outcome, as_json)
