"""`sparse-export verify`: does this file compute what its source computes?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import console, options

EPILOG = """\b
Examples:
  sparse-export verify model.pt model.csr.onnx
  sparse-export verify model.onnx model.csr.onnx --rtol 1e-4
"""


@click.command(epilog=EPILOG)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@options.binarize_options
@options.source_options
@options.tolerance_options
@options.limit_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(source: Path, file: Path, as_json: bool, quiet: bool, **arguments: Any) -> None:
    """Compare FILE with SOURCE on seeded inputs, in stock onnxruntime. Exit code 1 when they differ."""
    from ..exporter import api
    from . import render

    with console.progress(quiet or as_json) as progress:
        result = api.verify(source, file, progress=progress, **arguments)
    if as_json:
        console.print_json(result.to_json())
    elif not quiet:
        click.echo(render.verification(result))
