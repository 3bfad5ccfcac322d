"""`sparse-export inspect`: what is inside a file."""

from __future__ import annotations

from pathlib import Path

import click

from . import console, options

EPILOG = """\b
Examples:
  sparse-export inspect model.pt
  sparse-export inspect model.csr.onnx --json
"""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--trust-checkpoint", is_flag=True, help="Unpickle a whole module; runs code from the file.")
@options.limit_options
@click.option("--compare", is_flag=True, help="Also run gzip -6 and zstd -19 over the dense tensors.")
@click.option("--json", "as_json", is_flag=True, help="Print the contents as JSON.")
def command(file: Path, trust_checkpoint: bool, compare: bool, as_json: bool) -> None:
    """Show every tensor of FILE: shape, format, bytes, density."""
    from ..exporter import api
    from . import render

    report = api.inspect(file, trust_checkpoint=trust_checkpoint, compare=compare)
    if as_json:
        console.print_json(report.to_json())
    else:
        render.contents(report)
