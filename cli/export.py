"""`sparse-export export`: the main command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ..formats import FORMATS
from . import console, options

EPILOG = """\b
Examples:
  sparse-export model.pt --format csr
  sparse-export model.pt
  sparse-export model.pt --arch densenet121 --input-shape 1x3x224x224
  sparse-export model.pt --arch nets.py:make_net -o small.onnx
  sparse-export model.onnx --layers '*fc*=dense' --json
  sparse-export model.pt --portable
  sparse-export model.pt --archive
  sparse-export model.pt --report report.html --card model-card.md
"""


@click.command(epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    show_default=True,
    help="Format of the weights; auto: the smallest of all for each.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write.  [default: MODEL.<format>.onnx, .speed.onnx, .tuned.onnx]",
)
@click.option(
    "--values",
    default="fp32",
    show_default=True,
    metavar="fp32|fp16|bf16|int8|codebook:N",
    help="How non-zeros are stored; all but fp32 are lossy.",
)
@options.integer_options
@click.option(
    "--layers", multiple=True, metavar="GLOB=FORMAT", help="Another format for the weights that match."
)
@options.binarize_options
@options.source_options
@options.speed_options
@options.tolerance_options
@options.limit_options
@click.option("--no-verify", is_flag=True, help="Skip the comparison of the written file with the source.")
@click.option(
    "--external-data", is_flag=True, help="Put the weights in an aligned data file beside the model."
)
@click.option(
    "--portable",
    is_flag=True,
    help="Standard operators alone, for runtimes without model-local functions; no layer runs packed.",
)
@click.option("--archive", is_flag=True, help="Short for the command `archive`: the checkpoint itself.")
@options.archive_options
@click.option("--plain-zeros", is_flag=True, hidden=True, help="Now the default: see --exact-zeros.")
@click.option(
    "--compare",
    is_flag=True,
    help="Also run gzip -6 and zstd -19 over the dense tensors: some seconds for each 10 MB.",
)
@click.option("--report", "html", type=click.Path(path_type=Path), help="Write an HTML report of the export.")
@click.option("--card", type=click.Path(path_type=Path), help="Write a short Markdown model card.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--dry-run", is_flag=True, help="Print the plan; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Show the plan of every layer, and the tracer's own log.")
def command(
    model: Path,
    format_: str,
    as_json: bool,
    quiet: bool,
    no_verify: bool,
    html: Path | None,
    card: Path | None,
    archive: bool,
    no_fold: bool,
    exact_zeros: bool,
    plain_zeros: bool,
    **arguments: Any,
) -> None:
    """Pack MODEL into a smaller ONNX file for any onnxruntime.

    MODEL: .pt, .pth, .ckpt, .bin, .safetensors, .pt2, .onnx, an *.index.json of shards, or a folder with one.
    """
    from ..exporter import api
    from ..exporter.files.naming import default_output
    from ..exporter.files.targets import SourceFiles, check_targets
    from . import render

    if exact_zeros and plain_zeros:
        raise click.UsageError("--plain-zeros and --exact-zeros are opposites")
    if archive:
        keep = {"no_fold": no_fold, "exact_zeros": exact_zeros}
        _archive(model, as_json, quiet, no_verify, keep, arguments | {"report": html, "card": card})
        return
    if no_fold or exact_zeros or plain_zeros:
        raise click.UsageError("--no-fold and --exact-zeros go with --archive: a graph has no masks")
    force, sources = arguments["force"], SourceFiles(model, arguments["arch"])
    arguments["output"] = arguments["output"] or default_output(
        model,
        format_,
        arguments["optimize"],
        arguments["measure"],
        arguments["portable"],
        arguments["activations"],
    )
    if model.exists():
        output = None if arguments["dry_run"] else arguments["output"]
        check_targets({"-o": output, "--report": html, "--card": card}, force=force, sources=sources)
    with console.progress(quiet or as_json) as progress:
        report = api.export(model, format=format_, verify=not no_verify, progress=progress, **arguments)
    report.command = shlex.join(["sparse-export", *sys.argv[1:]])
    if as_json:
        console.print_json(report.to_json())
    elif not quiet:
        render.export(report, verbose=arguments["verbose"], dry_run=arguments["dry_run"])
    _write_documents(report.to_json(), html, card, force, [*sources, *report.files])


def _archive(
    model: Path, as_json: bool, quiet: bool, no_verify: bool, keep: dict[str, bool], arguments: dict[str, Any]
) -> None:
    """What `archive` does; options that are about a graph have no meaning here and are refused."""
    from .archive import write

    given = [
        name
        for name in (
            *("arch", "input_shape", "input", "dynamic", "weights", "prefix", "strict"),
            *(
                "layers",
                "calibrate",
                "binarize",
                "external_data",
                "measure",
                "portable",
                "compare",
                "report",
                "card",
            ),
        )
        if arguments[name]
    ]
    if given:
        raise click.UsageError(
            f"--archive takes the checkpoint as it is: --{given[0].replace('_', '-')} does not apply"
        )
    if arguments["dry_run"]:
        raise click.UsageError("--archive has no plan to show: leave out --dry-run")
    passed: dict[str, Any] = {name: arguments[name] for name in ("output", "force", "trust_checkpoint")}
    write(model, **(passed | keep), verify=not no_verify, as_json=as_json, quiet=quiet)


def _write_documents(
    report: dict[str, Any], html: Path | None, card: Path | None, force: bool, others: list[Path]
) -> None:
    """The report as a page and as a model card, where asked for."""
    from ..exporter.files.atomic import atomic_file

    if html:
        from ..measure.pages.export_page import render_export_report

        with atomic_file(html, force=force, sources=others) as file:
            file.write(render_export_report(report).encode())
    if card:
        from ..measure.pages.card import render

        with atomic_file(card, force=force, sources=[*others, *([html] if html else [])]) as file:
            file.write(render(report).encode())
