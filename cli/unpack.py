"""`sparse-export unpack`: an archive back as the checkpoint it was made from."""

from __future__ import annotations

from pathlib import Path

import click

from ..text import clean
from . import console

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
@click.option(
    "--max-dense",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="GB",
    help="Refuse an archive that expands to more.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads to decode with.  [default: up to 4]")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    file: Path,
    output: Path,
    max_dense: int,
    threads: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the checkpoint that the archive FILE holds, every tensor bit for bit."""
    from ..exporter import archive

    with console.progress(quiet or as_json) as progress:
        notes = archive.unpack(
            file, output, force=force, threads=threads, max_dense=max_dense * 10**9, progress=progress
        )
    size = output.stat().st_size
    if as_json:
        console.print_json({"output": str(output), "bytes": size, "notes": notes})
        return
    for note in notes:
        console.say(f"note: {clean(note)}", quiet=quiet)
    console.say(f"{clean(str(output))}  {console.human(size)}, all checksums match", quiet=quiet)
