"""`sparse-export bench`: models side by side, with intervals."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..text import clean
from . import bench_files, console, options

RUNTIMES = ("onnxruntime", "onnxruntime-stock", "torch", "torch-compiled", "openvino")
EPILOG = """\b
Examples:
  sparse-export bench model.onnx model.csr.onnx
  sparse-export bench model.csr.onnx --baseline model.onnx --peers --html report.html
  sparse-export bench model.onnx model.csr.onnx --peers --calibrate digits --data held-out.npz
  sparse-export bench model.onnx model.csr.onnx --threads 1,2 --batch 1,8 --json
  sparse-export bench model.onnx model.csr.onnx --fail-if-slower 5% --max-size 1MB
  sparse-export bench model.pt --runtime torch,torch-compiled --input-shape 1x3x32x32
"""


class Counts(click.ParamType[tuple[int, ...]]):
    """`1,2,8` as a tuple of positive integers, each once."""

    name = "N[,N…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(p.isascii() and p.isdigit() and 0 < len(p) < 8 and int(p) > 0 for p in parts):
            self.fail(f"'{value}' is no list of positive numbers; write for example 1,2", param, ctx)
        return tuple(dict.fromkeys(int(part) for part in parts))


class Names(click.ParamType[tuple[str, ...]]):
    """`a,b` as a tuple of names, each once; checked against the known ones where these are given."""

    name = "NAME[,NAME…]"

    def __init__(self, known: tuple[str, ...] = ()) -> None:
        self.known = known

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(str(value).split(",")))
        unknown = [name for name in names if not name or (self.known and name not in self.known)]
        if unknown:
            known = f"; known: {', '.join(self.known)}" if self.known else ""
            self.fail(f"unknown name '{unknown[0]}'{known}", param, ctx)
        return names


FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.command(epilog=EPILOG)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Model to compare with.  [default: the first]"
)
@click.option("--peers", is_flag=True, help="Add what one would pick instead: INT8, fp16, 4-bit, OpenVINO, …")
@click.option(
    "--calibrate",
    metavar="FILE.npz|digits|folder:DIR|FACTORY",
    help="Data that the INT8 of --peers is calibrated on.  [default: --input, or seeded inputs]",
)
@click.option("--threads", type=Counts(), default="1", show_default=True, help="Thread counts to measure.")
@click.option("--batch", type=Counts(), default="1", show_default=True, help="Batch sizes to measure.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--runtime", type=Names(RUNTIMES), help=f"Runtimes: {', '.join(RUNTIMES)}.")
@click.option("--target", type=Names(), help="Instruction sets to force on packed models, e.g. scalar,avx2.")
@click.option(
    "--input", "input_", type=FILE, help=".npz file with the inputs.  [default: seeded random ones]"
)
@click.option("--data", type=FILE, help=".npz file with x and y (labels): adds the accuracy.")
@click.option("--plan", type=FILE, help="Report of `export --json`: adds the reasons to the layers.")
@click.option("--arch", metavar="NAME|FILE.py:FACTORY", help="Architecture of a state dict.")
@click.option(
    "--input-shape",
    multiple=True,
    type=options.NamedShapeType(),
    help="Shape of an input, e.g. 1x3x32x32 or ids=1x128; repeat it for more, in their order or by name.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=8, show_default=True, help="Processes per model."
)
@click.option("--warmup", type=click.IntRange(0), default=5, show_default=True, help="Untimed runs a round.")
@click.option(
    "--min-runs", type=click.IntRange(1), default=50, show_default=True, help="Timed runs in total."
)
@click.option(
    "--min-seconds", type=click.FloatRange(0), default=3.0, show_default=True, help="Timed seconds in total."
)
@click.option(
    "--timeout", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds per process."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of the inputs."
)
@click.option(
    "--fail-if-slower", metavar="PERCENT", help="Exit 1 if a model is slower than the baseline by more."
)
@click.option("--max-size", metavar="SIZE", help="Exit 1 if a model takes more on disk, e.g. 1MB.")
@click.option("--max-rss", metavar="SIZE", help="Exit 1 if the peak memory of a process is higher.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON (docs/bench.schema.json).")
@click.option("--save", type=FILE, help="Write the JSON to a file.")
@click.option("--csv", "csv_", type=FILE, help="Write the figures as CSV; - prints them.")
@click.option("--markdown", type=FILE, help="Write Markdown tables; - prints them.")
@click.option("--html", type=FILE, help="Write the report as one self-contained page.")
@click.option("--force", is_flag=True, help="Overwrite the files to write.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no tables.")
def command(models: tuple[Path, ...], baseline: Path | None, quiet: bool, **given: Any) -> int:
    """Measure MODELS (.onnx, .pt) side by side: disk, load time, memory, latency, speed-up with interval.

    Every figure comes from fresh processes, one a model and round, in alternating order, pinned to their
    threads. The exit code is 1 when a budget (--fail-if-slower, --max-size, --max-rss) is exceeded.
    """
    from ..measure import budgets, run
    from ..measure.request import Request
    from ..measure.subjects import Options

    request = Request(
        models,
        baseline,
        given["runtime"],
        given["target"],
        given["peers"],
        given["plan"],
        None if given["fail_if_slower"] is None else budgets.parse_percent(given["fail_if_slower"]),
        None if given["max_size"] is None else budgets.parse_size(given["max_size"]),
        None if given["max_rss"] is None else budgets.parse_size(given["max_rss"]),
        calibrate=given["calibrate"],
    )
    settings = Options(
        **{name: given[name] for name in ("threads", "batch", "rounds", "warmup", "min_runs", "min_seconds")},
        **{name: given[name] for name in ("seed", "device", "input_shape", "timeout")},
        architecture=given["arch"],
        input=str(given["input_"]) if given["input_"] else None,
        data=str(given["data"]) if given["data"] else None,
    )
    files = models if baseline is None else (*models, baseline)
    bench_files.check(files, given)
    line = shlex.join(["sparse-export", *sys.argv[1:]])
    with _progress(quiet or given["as_json"]) as progress:
        found = run.run(request, settings, line, progress)
    _show(found, quiet, given)
    bench_files.write(found, files, given)
    broken = run.broken_budgets(found)
    if found["interrupted"]:
        console.say("interrupted: these are the figures so far", quiet=quiet)
        return 130
    if broken:
        from ..errors import BudgetError

        raise BudgetError("; ".join(broken))
    return 0


def _show(found: dict[str, Any], quiet: bool, given: dict[str, Any]) -> None:
    """Print what was asked for."""
    if given["as_json"]:
        console.print_json(found)
    elif not quiet and bench_files.STDOUT not in (given["csv_"], given["markdown"]):
        _print(found)


def _print(found: dict[str, Any]) -> None:
    """Tables, notes and the machine, on stdout; not wrapped where that is a file."""
    from rich.console import Console

    from ..measure.pages import table

    out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    table.print_tables(found, out)
    for note in found["notes"]:
        out.print(f"note: {clean(note)}", markup=False)
    out.print(clean(table.machine_line(found)), style="dim", markup=False)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time left, on stderr where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda text, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    what = TextColumn("{task.description}", markup=False)
    columns = (what, BarColumn(bar_width=24), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def update(text: str, done: int, total: int) -> None:
            bar.update(task, description=clean(text), completed=done, total=total or None)

        yield update
