"""`sparse-export sweep`: accuracy and bytes over pruning rates, with the spread over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import lab
from .console import print_json, progress, result, say

EPILOG = """\b
Examples:
  sparse-export sweep --rates 0:0.98:0.02 --zoom 0.80:0.90:0.005 --seeds 5 -o sweep
  sparse-export sweep dense.pt --rates 0.9,0.9235,0.95 --retrain none,han,cubic --retrain-epochs 3 -o ways
  sparse-export sweep --rates 0:0.98:0.02 --seeds 5 --jobs 4 -o sweep
  sparse-export sweep --rates 0.8,0.9,0.95 --structure 1x4 --retrain han --activations int8 -o blocks
  sparse-export sweep --rates 0:0.98:0.02 --scheduler tcp://10.0.0.5:8786 -o sweep
"""


@click.command(epilog=EPILOG)
@click.argument("models", type=lab.FILE, nargs=-1, metavar="[MODEL]...")
@click.option("--rates", required=True, metavar="FIRST:LAST:STEP|R1,R2,…", help="Pruning rates, in [0, 1).")
@click.option("--zoom", multiple=True, metavar="FIRST:LAST:STEP", help="More rates, closer together.")
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Nets to train, or runs to repeat."
)
@click.option(
    "--retrain",
    default="none",
    show_default=True,
    metavar="WAY,WAY,…",
    help="none, bn, fine-tune, lr-rewind, weight-rewind, han, han-rewind, han-bn, han-rewind-bn, cubic.",
)
@click.option(
    "--rewind-epoch",
    type=click.IntRange(1),
    metavar="N",
    help="Epoch that weight-rewind goes back to: kept from each training, read from MODEL's .epochN.pt.",
)
@click.option(
    "--retrain-epochs", type=click.IntRange(1), default=3, show_default=True, help="Budget of each way."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Prunings of the iterative ways."
)
@click.option(
    "--scope", type=click.Choice(["global", "layer", "sensitivity"]), default="global", show_default=True
)
@click.option("--criterion", type=click.Choice(["l1", "l2", "random"]), default="l1", show_default=True)
@click.option(
    "--structure",
    default="unstructured",
    show_default=True,
    metavar="unstructured|1x4|block:RxC|channel",
    help="What is zeroed together: 1x4 are four input channels, which int8 kernels multiply at once.",
)
@click.option(
    "--activations",
    type=click.Choice(["float", "int8"]),
    default="float",
    show_default=True,
    help="int8: quantize each net on training data too: accuracy, bytes and latency of that file.",
)
@click.option("--formats", default="csr,auto", show_default=True, help="Whose real bytes to count.")
@click.option("--latency", is_flag=True, help="Export each row in the first format and time it.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Rows computed side by side."
)
@click.option("--scheduler", metavar="ADDRESS", help="Compute on a dask.distributed cluster instead.")
@click.option(
    "--arch", metavar="NAME|FILE.py:FACTORY", help="The net.  [default: vgg11-cifar, or the checkpoint's]"
)
@lab.data_options
@lab.recipe_options
@click.option(
    "-o", "--output", type=lab.FILE, required=True, metavar="DIR", help="Folder for rows, tables, plots."
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--quiet", is_flag=True, help="No talk, no progress bar.")
def command(
    models: tuple[Path, ...],
    rates: str,
    zoom: tuple[str, ...],
    seeds: int,
    retrain: str,
    rewind_epoch: int | None,
    arch: str | None,
    output: Path,
    jobs: int,
    scheduler: str | None,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Prune to every rate, for every seed and way of retraining, and write rows.csv, rows.json and plots.

    Without a MODEL one net a seed is trained first. Rows that are in the folder already are not
    computed again: the same command after a kill, or with more rates, computes what is missing.
    """
    from ..training import checkpoints
    from ..training.sweep import executors, footprint, plots, sweep, ways
    from ..training.sweep.rows import Folder
    from ..training.sweep.task import Settings

    everything = [rate for text in (rates, *zoom) for rate in sweep.parse_rates(text)]
    spec, recipe = lab.take(values)
    if arch is None:
        arch = checkpoints.load_model(models[0])[1] if models else "vgg11-cifar"
    settings = Settings(
        arch,
        spec,
        recipe,
        values["retrain_epochs"],
        values["rounds"],
        values["scope"],
        values["criterion"],
        footprint.parse_formats(values["formats"]),
        values["latency"],
        values["structure"],
        values["activations"],
    )
    methods = ways.parse(retrain)
    folder = Folder(output, settings)
    mapper = executors.choose(jobs, scheduler, sweep.limit_threads)
    paths = list(models)
    if not paths:
        say(f"nets of {seeds} seeds in {output}: trained unless there", quiet=quiet)
        paths = sweep.train_seeds(output, settings, seeds, mapper, rewind_epoch)
    tasks = sweep.plan(settings, paths, seeds, methods, everything, rewind_epoch)
    with progress(quiet) as update:
        rows = sweep.run(folder, tasks, mapper, lambda done, total: update("rows", done, total))
    try:
        written = plots.of_sweep(rows, output)
        say(f"plots: {', '.join(str(path) for path in written)}", quiet=quiet)
    except Exception as error:  # a failed plot never fails a run
        say(f"no plot: {error}", quiet=quiet)
    if as_json:
        print_json(rows)
    else:
        result(f"{output / 'rows.csv'}  {len(rows)} rows")
