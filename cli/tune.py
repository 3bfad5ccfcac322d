"""`sparse-export tune`: an export that measures before it decides."""

from __future__ import annotations

from typing import Any

import click

from .export import command as export

EPILOG = """\b
Examples:
  sparse-export tune model.pt
  sparse-export tune model.onnx --threads 2 -o fast.onnx
"""


@click.command(
    epilog=EPILOG, params=[item for item in export.params if item.name not in ("measure", "optimize")]
)
@click.pass_context
def command(ctx: click.Context, /, **arguments: Any) -> None:
    """Time every layer of MODEL here, dense and packed, and let the faster of the two run.

    What is slower packed is stored packed all the same, and expanded when a session is made. The same as
    `export --optimize speed --measure`; writes MODEL.tuned.onnx.
    """
    ctx.invoke(export, optimize="speed", measure=True, **arguments)
