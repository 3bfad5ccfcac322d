"""The steps in their order: what `sparse-export` does, as functions.

NOTES
-----
No step reaches back: source -> plan -> pack -> graph -> save (verify before the name is taken) -> report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ..errors import InputError
from .report.report import Report

if TYPE_CHECKING:
    from ..formats import Packed
    from .graph.index import GraphIndex
    from .plan.plan import TensorPlan
    from .plan.values import Spec
    from .prove.compare import Verification
    from .source import Source, SourceOptions

#: Told about progress: what is being done, how far, of how much (0: unknown).
Progress = Callable[[str, int, int], None]


def _silent(text: str, done: int, total: int) -> None:
    return None


def export(
    model: str | Path,
    *,
    format: str = "auto",
    output: str | Path | None = None,
    values: str = "fp32",
    layers: Sequence[str] = (),
    optimize: str = "size",
    measure: bool = False,
    threads: int = 1,
    dry_run: bool = False,
    force: bool = False,
    verify: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    external_data: bool = False,
    compare: bool = False,
    progress: Progress = _silent,
    **options: Unpack[SourceOptions],
) -> Report:
    """Write a packed ONNX file of a checkpoint and return the report of what was done.

    Parameters
    ----------
    model
        Checkpoint (.pt, .pth, .safetensors, .pt2) or .onnx file.
    format
        Format of every weight it fits, or "auto": for each weight the smallest of all.
    output
        Default: the model's name with `.<format>.onnx`, beside it.
    values
        How non-zeros are stored: "fp32" (as they are), "fp16", "bf16", "int8" or "codebook:N".
    layers
        "GLOB=FORMAT" overrides over weight names; the last that matches wins.
    optimize
        "size" packs whatever gets smaller; "speed" only where the native kernel is expected to be faster.
    measure
        With "speed": time every layer here, dense and packed, on `threads` threads, and believe that instead.
    compare
        Also compress the dense weights with `zstd -19`, to stand beside the packed file.
    rtol, atol
        Tolerance of the verification: |a - b| <= atol + rtol * max |b|.
    **options
        How the model is read, as `source.open_source` takes it: arch, input_shape, input_dtype,
        trust_checkpoint, binarize, binarize_alpha, verbose.

    Raises
    ------
    InputError
        If the model cannot be read or the output not be written.
    VerificationError
        If the file does not compute what the source computes; no file is left.
    """
    from .files.atomic import check_target
    from .files.onnx_write import save
    from .graph.find import find
    from .graph.index import GraphIndex
    from .plan import plan as planning
    from .plan.values import parse
    from .prove.proof import Proof
    from .rewrite.write import rewrite
    from .source import open_source

    started = time.perf_counter()
    path = Path(model)
    if optimize not in ("size", "speed"):
        raise InputError(f"optimize must be 'size' or 'speed', not '{optimize}'")
    overrides = planning.parse_overrides(layers)
    spec = parse(values)
    target = Path(output) if output is not None else path.with_name(f"{path.stem}.{format}.onnx")
    if path.exists() and not dry_run:
        check_target(target, force=force, sources=[path])
    source = open_source(path, say=lambda text: progress(text, 0, 0), **options)
    index = GraphIndex(source.model)
    plans = planning.make(
        index,
        find(index),
        format,
        overrides,
        spec,
        optimize,
        lambda done, total: progress("planning", done, total),
    )
    packed = _settle(index, source, plans, optimize, threads if measure else None, dry_run, progress)
    report = Report.begin(source, target, format, plans)
    report.notes += _remarks(plans, spec)
    if not dry_run:
        proof = Proof(rtol, atol, seed) if verify else None
        progress("writing", 0, 0)
        packed_model = rewrite(index, source.model, plans, packed)

        def check(path: Path) -> None:
            if proof:
                progress("verifying", 0, 0)
                report.verification = proof.of_written(source, index, plans, packed, path)

        report.files = save(
            packed_model, target, check=check, force=force, external_data=external_data, sources=[path]
        )
        progress("accounting for the bytes", 0, 0)
        report.measure(source.model, compare)
    report.seconds = time.perf_counter() - started
    return report


def _settle(
    index: GraphIndex,
    source: Source,
    plans: Sequence[TensorPlan],
    optimize: str,
    measure_on: int | None,
    dry_run: bool,
    progress: Progress,
) -> dict[str, Packed]:
    """The packed weights, once every layer that would get slower went back to dense in `plans`.

    `measure_on` is how many threads to time the layers on, None for trusting the cost model; a dry run packs
    only what is measured.
    """
    from .plan.pack import pack

    if optimize == "speed" and measure_on is None:
        from .plan.cost import keep_slow_layers_dense

        keep_slow_layers_dense(source.model, plans, source.example_shapes)
    packed: dict[str, Packed] = {}
    if measure_on is not None or not dry_run:
        packed = pack(plans, lambda done, total: progress("packing", done, total))
    if measure_on is not None:
        from .tune import keep_measured_slow_layers_dense

        keep_measured_slow_layers_dense(
            index,
            source.model,
            plans,
            packed,
            source.example_shapes,
            threads=measure_on,
            progress=lambda done, total: progress("measuring", done, total),
        )
    return packed


def _remarks(plans: Sequence[TensorPlan], spec: Spec) -> list[tuple[str, str]]:
    """What the user should know about the plan, as notes of the report."""
    from ..formats.choice import KERNELS

    notes = []
    expanded = sorted({plan.format for plan in plans if plan.packed} - set(KERNELS))
    if expanded:
        names = ", ".join(expanded)
        notes.append(f"{names}: no native kernel, so they run expanded; --optimize speed avoids it")
    if spec.lossy:
        notes.append(f"values stored as {spec}: lossy; zeros stay zero, outputs differ as verified")
    return [("info", note) for note in notes]


def verify(
    source: str | Path,
    file: str | Path,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    progress: Progress = _silent,
    **options: Unpack[SourceOptions],
) -> Verification:
    """Compare an exported file with its source in stock onnxruntime.

    Parameters
    ----------
    rtol, atol, **options
        As `export` takes them.

    Raises
    ------
    VerificationError
        If the outputs differ beyond the tolerance.
    InputError
        If one of the two cannot be read.
    """
    from . import checkpoint
    from .prove.proof import Proof
    from .source import open_source

    opened = open_source(Path(source), say=lambda text: progress(text, 0, 0), **options)
    written = checkpoint.load(Path(file)).onnx_model
    if written is None:
        raise InputError(f"{file}: is no ONNX file")
    progress("verifying", 0, 0)
    return Proof(rtol, atol, seed).of_outputs(opened, written, Path(file))


def inspect(file: str | Path, *, trust_checkpoint: bool = False, compare: bool = False) -> Report:
    """What is inside a checkpoint, an ONNX file or an archive: bytes, shape and density of every tensor.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    from .report.contents import read

    return read(Path(file), trust_checkpoint=trust_checkpoint, compare=compare)
