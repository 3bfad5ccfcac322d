"""`sparse-export unpack`: an archive back as the checkpoint it was made from."""

from __future__ import annotations

from pathlib import Path

import click

from . import console, options

EPILOG = """\b
Examples:
  sparse-export unpack model.packed.safetensors -o model.pt
  sparse-export unpack model.packed.safetensors -o model.safetensors --force
"""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write: .pt as it was saved, or .safetensors with the tensors.",
)
@options.limit_options
@click.option("--threads", type=click.IntRange(1), help="Threads to decode with.  [default: up to 4]")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    file: Path,
    output: Path,
    threads: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the checkpoint that the archive FILE holds.

    Every tensor comes back bit for bit as it was archived: with --no-fold the checkpoint as it was, otherwise
    its weights with the pruning masks folded in. The signs of a pruned weight's zeros take --exact-zeros.
    """
    from ..exporter import archive

    with console.progress(quiet or as_json) as progress:
        notes = archive.unpack(file, output, force=force, threads=threads, progress=progress)
    size = output.stat().st_size
    if as_json:
        console.print_json({"output": str(output), "bytes": size, "notes": notes})
        return
    for note in notes:
        console.say(f"note: {note}", quiet=quiet)
    console.say(f"{output}  {console.human(size)}, all checksums match", quiet=quiet)
