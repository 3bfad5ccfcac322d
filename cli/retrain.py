"""`sparse-export retrain`: accuracy back, zeros kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import lab

EPILOG = """\b
Examples:
  sparse-export retrain pruned.pt --epochs 3 -o retrained.pt
  sparse-export retrain pruned.pt --schedule lr-rewind --epochs 3 -o rewound.pt
  sparse-export retrain pruned.pt --schedule weight-rewind --rewind-to dense.epoch1.pt -o ticket.pt
  sparse-export retrain dense.pt --schedule lr-rewind --gradual-to 0.95 --epochs 5 -o cubic.pt
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=lab.FILE)
@click.option(
    "--schedule",
    type=click.Choice(["fine-tune", "lr-rewind", "weight-rewind"]),
    default="fine-tune",
    show_default=True,
    help="A tenth of --lr throughout; the net's own schedule again; that, from earlier weights.",
)
@click.option(
    "--rewind-to", type=lab.FILE, metavar="FILE", help="Earlier weights, from 'train --rewind-epoch'."
)
@click.option("--gradual-to", type=float, metavar="RATE", help="Prune meanwhile along the cubic schedule.")
@click.option("--bn-reestimate", is_flag=True, help="Measure BatchNorm's statistics anew at the end.")
@lab.arch_option
@lab.data_options
@lab.recipe_options
@lab.output_options
def command(
    model: Path,
    schedule: str,
    rewind_to: Path | None,
    gradual_to: float | None,
    bn_reestimate: bool,
    arch: str | None,
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Train what pruning left of MODEL; every zero stays zero to the last step.

    Dropout is reduced by Han's rule, p x sqrt(connections left / connections). Killed in the middle,
    the same command goes on after the last whole epoch and ends with the same weights.
    """
    from ..training import runs

    spec, recipe = lab.take(values)
    with lab.epoch_bar(quiet) as bar:
        outcome = runs.run_retrain(
            model,
            output,
            arch,
            spec,
            recipe,
            schedule=schedule,
            rewind_to=rewind_to,
            gradual_to=gradual_to,
            reestimate=bn_reestimate,
            force=force,
            progress=bar,
        )
    lab.show(outcome, as_json)
