"""`sparse-export prune`: zeros where they matter least."""

from __future__ import annotations

from pathlib import Path

import click

from . import lab

EPILOG = """\b
Examples:
  sparse-export prune dense.pt --rate 0.9235 -o pruned.pt
  sparse-export prune vgg.pt --rate 0.9 --structure 1x4 -o blocks.pt
  sparse-export prune vgg.pt --structure 2:4 --layers 'features.*' -o half.pt
  sparse-export prune vgg.pt --rate 0.98 --remove-dead -o connected.pt
  sparse-export prune model.onnx --rate 0.9 -o pruned.onnx
  sparse-export prune tagger.pt --rate 0.8 --kinds rnn --kinds embedding -o small.pt
  sparse-export prune vgg.pt --rate 0.9 --bn-reestimate --evaluate -o repaired.pt
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=lab.FILE)
@click.option("--rate", type=float, metavar="RATE", help="Fraction of the weights to zero, in [0, 1).")
@click.option("--amount", type=float, hidden=True, help="The same as --rate.")
@click.option("--target-nnz", type=click.IntRange(1), metavar="N", help="Instead: how many weights to keep.")
@click.option(
    "--scope",
    type=click.Choice(["global", "layer", "sensitivity"]),
    default="global",
    show_default=True,
    help="One ranking; the same rate in each layer; one ranking relative to each layer's deviation.",
)
@click.option("--criterion", type=click.Choice(["l1", "l2", "random"]), default="l1", show_default=True)
@click.option(
    "--structure",
    default="unstructured",
    show_default=True,
    metavar="unstructured|1x4|block:RxC|N:M|channel",
    help="What is zeroed together: weights, blocks of outputs x input channels (1x4: what int8 kernels "
    "multiply at once), of rows x columns, all but N of M inputs, outputs.",
)
@click.option("--layers", multiple=True, metavar="GLOB", help="Only these layers (repeatable).")
@click.option(
    "--kinds",
    multiple=True,
    metavar="KIND",
    help="conv, linear, convtranspose, rnn (LSTM, GRU), embedding, attention.  [default: conv, linear]",
)
@click.option(
    "--remove-dead",
    is_flag=True,
    help="Then zero what leads to or from neurons left without inputs or outputs (Han et al. 2015).",
)
@click.option(
    "--keep-masks", is_flag=True, help="Write weight_orig and weight_mask, as torch.nn.utils.prune does."
)
@click.option("--evaluate", is_flag=True, help="Measure the accuracy afterwards.")
@click.option(
    "--bn-reestimate", is_flag=True, help="Measure BatchNorm's statistics anew on the training data."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Of --criterion random."
)
@lab.arch_option
@lab.data_options
@lab.output_options
def command(
    model: Path,
    rate: float | None,
    amount: float | None,
    target_nnz: int | None,
    scope: str,
    criterion: str,
    structure: str,
    layers: tuple[str, ...],
    kinds: tuple[str, ...],
    remove_dead: bool,
    keep_masks: bool,
    evaluate: bool,
    bn_reestimate: bool,
    seed: int,
    arch: str | None,
    source: str,
    data_dir: str | None,
    download: bool,
    image_size: int,
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Zero the least important weights of MODEL: a checkpoint, or an .onnx file.

    A checkpoint whose net is not known is pruned as it is; only --evaluate, --bn-reestimate and
    --remove-dead need its --arch. Pruned are convolutions and linear layers, others by --kinds or --layers.

    The rate counts all weights of the chosen layers, those that are zero already included; what
    --remove-dead zeroes comes on top. A neuron without inputs still gave a constant (its bias), so
    retrain afterwards, or at least use --bn-reestimate.
    """
    from ..training import prune
    from ..training.run_prune import run_prune

    if rate is not None and amount is not None:
        raise click.UsageError("--amount is another word for --rate: give one")
    rate = amount if rate is None else rate
    spec = lab.data_spec(source, data_dir, download, image_size)
    outcome = run_prune(
        model,
        output,
        arch,
        lambda weights: prune.choose(weights, rate, target_nnz, scope, criterion, structure, seed),
        layers,
        kinds,
        force=force,
        keep_masks=keep_masks,
        remove_dead=remove_dead,
        evaluate=spec if evaluate or bn_reestimate else None,
        reestimate=bn_reestimate,
    )
    lab.show(outcome, as_json)
