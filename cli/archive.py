"""`sparse-export archive`: the checkpoint itself in a smaller file, the inverse of `unpack`."""

from __future__ import annotations

from pathlib import Path

import click

from . import console, options

EPILOG = """\b
Examples:
  sparse-export archive model.pt
  sparse-export archive model.pt --no-fold -o small.packed.safetensors
  sparse-export unpack model.packed.safetensors -o model.pt
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write.  [default: MODEL.packed.safetensors]",
)
@options.archive_options
@click.option("--trust-checkpoint", is_flag=True, help="Unpickle a whole module; runs code from the file.")
@options.limit_options
@click.option("--no-verify", is_flag=True, help="Skip reading the archive back before it gets its name.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    model: Path,
    output: Path | None,
    no_fold: bool,
    exact_zeros: bool,
    trust_checkpoint: bool,
    no_verify: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the checkpoint MODEL as an archive: a valid safetensors file, its pruning masks folded in.

    Every tensor comes back with `unpack` bit for bit, but for the signs of a pruned weight's zeros.
    """
    write(
        model,
        output,
        no_fold=no_fold,
        exact_zeros=exact_zeros,
        trust_checkpoint=trust_checkpoint,
        verify=not no_verify,
        force=force,
        as_json=as_json,
        quiet=quiet,
    )


def write(
    model: Path,
    output: Path | None,
    *,
    no_fold: bool,
    exact_zeros: bool,
    trust_checkpoint: bool,
    verify: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the archive and say what became of the bytes."""
    from ..exporter import archive
    from ..exporter.files import shards
    from . import render

    target = output or model.parent / archive.default_target(model).name
    with console.progress(quiet or as_json) as progress:
        report = archive.write(
            model,
            target,
            force=force,
            trust_checkpoint=trust_checkpoint,
            fold_masks=not no_fold,
            exact_zeros=exact_zeros,
            check=verify,
            progress=progress,
        )
    if as_json:
        console.print_json(render.archive_json(report))
    elif not quiet:
        render.archive(report, shards.size(model), verified=verify)
