"""The command line: one file a subcommand.

NOTES
-----
Nothing here imports torch, onnx or onnxruntime before a command runs: `--help` must stay under 150 ms.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from ..errors import SparseExportError
from ..text import clean, shown
from .console import error_line

#: Subcommand -> (module, help line). `export` is the default one.
COMMANDS = {
    "export": ("export", "Pack a checkpoint into a smaller ONNX file (the default command)."),
    "tune": ("tune", "Export with the faster of dense and packed for each layer, measured here."),
    "inspect": ("inspect", "Show what is inside a file, with bytes and density per layer."),
    "verify": ("verify", "Compare an exported file with its source."),
    "bench": ("bench", "Measure models side by side: size, load, memory, latency."),
    "train": ("train", "Train a net on real images, as an ordinary checkpoint."),
    "prune": ("prune", "Zero the least important weights of a checkpoint."),
    "retrain": ("retrain", "Train what pruning left; zeros stay zero."),
    "binarize": ("binarize", "Give a checkpoint weights of one bit, trained through the sign."),
    "sweep": ("sweep", "Accuracy and bytes over pruning rates, seeds and ways of retraining."),
    "archive": ("archive", "Write the checkpoint itself, smaller; `unpack` gives it back."),
    "unpack": ("unpack", "Turn an archive back into the checkpoint it was made from."),
    "ops-path": ("ops_path", "Print the path of the native operator library."),
}


class DefaultGroup(click.Group):
    """A group that loads commands on first use and takes `export` where no command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = import_module(f".{module}", __name__).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in COMMANDS and args[0] not in ("--help", "-h", "--version"):
            args = ["export", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from .. import __version__

        click.echo(f"sparse-export {__version__}")
        ctx.exit()


EPILOG = """\b
Examples:
  sparse-export model.pt --format csr
  sparse-export model.pt --arch resnet18 --dry-run
  sparse-export inspect model.csr.onnx
"""


@click.group(cls=DefaultGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
def cli() -> None:
    """Pack pruned and binarized PyTorch checkpoints into files that are really smaller, and faster.

    `sparse-export MODEL --format csr` is short for `sparse-export export MODEL --format csr`.
    """


def _stop(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main(args: list[str] | None = None) -> None:
    """Run the command line; the one place where an error becomes a line and an exit code."""
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Exit code of one command line."""
    if writer := _writer():
        writer.forget_published()
    try:
        result = cli.main(args=args, prog_name="sparse-export", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        error_line(clean(error.format_message()) + hint)
        return 2
    except click.ClickException as error:
        error_line(clean(error.format_message()))
        return 2
    except SparseExportError as error:
        error_line(clean(str(error)) + _written())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        error_line("interrupted" + (_written() or "; nothing was written"))
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, MemoryError, ImportError) as error:
        return _environment(error)
    except Exception as error:
        return _defect(error)


def _writer() -> Any:
    """The module that writes files, if anything was written at all: most commands never load it."""
    return sys.modules.get(f"{__package__.rpartition('.')[0]}.exporter.files.atomic")


def _written() -> str:
    """What a command that failed has written before that and is there."""
    writer = _writer()
    found = writer.published() if writer else []
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"; already written: {', '.join(map(shown, found[:3]))}{more}" if found else ""


def _environment(error: OSError | MemoryError | ImportError) -> int:
    if isinstance(error, MemoryError):
        error_line("not enough memory; close other programs or use a machine with more" + _written())
        return 3
    if isinstance(error, ImportError):
        error_line(f"a package is missing or broken: {clean(str(error))}; try: pip install sparse-export")
        return 3
    where = f"{error.filename}: " if error.filename else ""
    error_line(clean(f"{where}{error.strerror or error}") + _written())
    return 2


def _defect(error: Exception) -> int:
    import traceback

    if os.environ.get("SPARSE_EXPORT_DEBUG"):
        traceback.print_exc()
    last = traceback.extract_tb(error.__traceback__)[-1]
    error_line(
        clean(f"a defect of sparse-export: {type(error).__name__}: {error} ({last.filename}:{last.lineno}); ")
        + f"please report it with the output of the same command under SPARSE_EXPORT_DEBUG=1{_written()}"
    )
    return 70
