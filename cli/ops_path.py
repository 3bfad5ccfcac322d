"""`sparse-export ops-path`: where the custom-op library is."""

from __future__ import annotations

import click

EPILOG = """\b
Examples:
  sparse-export ops-path
  onnxruntime_perf_test -R "$(sparse-export ops-path)" -I model.csr.onnx
"""


@click.command(epilog=EPILOG)
def command() -> None:
    """Print the path of the custom-op library, for any onnxruntime that is not started from Python."""
    from ..runtime.session import library_path

    click.echo(library_path())
