"""The steps in their order: what `sparse-export` does, as functions.

NOTES
-----
No step reaches back: source -> plan -> pack -> graph -> save (verify before the name is taken) -> report.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ..errors import InputError
from .report.report import Report
from .settling import Progress

if TYPE_CHECKING:
    from .prove.compare import Verification
    from .source import Source
    from .source_options import SourceOptions


def _silent(text: str, done: int, total: int) -> None:
    return None


def export(
    model: str | Path,
    *,
    format: str = "auto",
    output: str | Path | None = None,
    values: str = "fp32",
    activations: str = "float",
    calibrate: str | Path | Mapping[str, Any] | None = None,
    calibration: str = "minmax",
    layers: Sequence[str] = (),
    optimize: str = "size",
    measure: bool = False,
    portable: bool = False,
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
        Default: see `naming.default_output`.
    values
        How non-zeros are stored: "fp32" (as they are), "fp16", "bf16", "int8" or "codebook:N".
    activations
        "float", or "int8": a float source is quantized first, a source of integers has to be packable.
    calibrate, calibration
        Data to quantize with: an .npz of arrays by input name, such arrays, or a data set of the lab
        ("digits"); how ranges are taken from them: "minmax", "entropy" or "percentile".
    layers
        "GLOB=FORMAT" overrides over weight names; the last that matches wins.
    optimize
        Whatever gets smaller is stored packed; this says what also runs packed. "size": what is expected to
        be no slower than dense; "speed": what the native kernel is expected to run faster; "memory": every
        layer that has a packed operator.
    measure
        With "speed": time every layer here, dense and packed, on `threads` threads, and believe that instead.
    portable
        Standard operators alone, each weight expanded by the graph itself: for runtimes without model-local
        functions. No layer runs packed.
    compare
        Also compress the dense weights with `gzip -6` and `zstd -19`, to stand beside the packed file: some
        seconds for each 10 MB.
    rtol, atol
        Tolerance of the verification: |a - b| <= atol + rtol * max |b| of the value's own channel and row.
        Where one is given the other is 0; by default rounding alone may differ (see `prove.verdict`), and
        lossy values are reported, not judged.
    **options
        How the model is read, as `source.open_source` takes it: arch, input_shape, input_dtype, input,
        trust_checkpoint, binarize, binarize_alpha, verbose.

    Raises
    ------
    InputError
        If the model cannot be read, no inputs are found that it takes, or the output cannot be written.
    VerificationError
        If the file does not compute what the source computes; no file is left.
    """
    from .files import proto_size
    from .files.naming import default_output
    from .files.onnx_write import save
    from .files.targets import SourceFiles, check_target
    from .graph.find import find
    from .graph.index import GraphIndex
    from .plan import plan as planning
    from .plan import runs
    from .plan.values import parse
    from .prove.compare import ACTIVATIONS_KEY, VALUES_KEY
    from .prove.evidence import expected_shapes, gather
    from .prove.proof import Proof
    from .rewrite import loading, smallest
    from .rewrite.outcome import outcome
    from .rewrite.settle import settled
    from .rewrite.signed_layers import signed_weights
    from .settling import of_integers, packing, refuse_for_portable, remarks
    from .source import open_source

    started = time.perf_counter()
    path = Path(model)
    if optimize not in ("size", "speed", "memory"):
        raise InputError(f"optimize must be 'size', 'speed' or 'memory', not '{optimize}'")
    if calibrate is not None and activations == "float":
        raise InputError("--calibrate is for --activations int8; without it nothing is quantized")
    overrides = planning.parse_overrides(layers)
    spec = parse(values)
    if portable:
        refuse_for_portable(optimize, measure, spec)
    target = (
        Path(output)
        if output is not None
        else default_output(path, format, optimize, measure, portable, activations)
    )
    sources = SourceFiles(path, options.get("arch"))
    if path.exists() and not dry_run:
        check_target(target, force=force, sources=sources)
    source = open_source(path, say=lambda text: progress(text, 0, 0), **options)
    evidence = None
    if verify or measure:
        progress("looking for inputs", 0, 0)
        evidence = gather(source, seed)
        # What is measured runs on these inputs; what is estimated, on sizes that somebody said.
        found = evidence.shapes if measure else evidence.known_shapes
        source.example_shapes = source.example_shapes or found
    elif source.arch is None:
        source.example_shapes = source.example_shapes or expected_shapes(source)
    if activations != "float":
        progress("calibrating", 0, 0)
        source = of_integers(source, activations, _samples(source, calibrate), calibration, spec)
        if evidence and source.calibration and not evidence.given:
            evidence = replace(evidence, given=source.calibration)
    index = GraphIndex(source.model)
    way = "measure" if optimize == "speed" and measure else optimize
    plans = planning.make(
        index,
        find(index),
        format,
        overrides,
        spec,
        way,
        lambda done, total: progress("planning", done, total),
    )
    if portable:
        runs.expand_all(index, plans)
        smallest.settle(index, source.model, plans, portable=True)
    else:
        signed = signed_weights(index, plans)
        runs.decide(index, source.model, plans, way, source.example_shapes, signed)
        smallest.settle(index, source.model, plans)
        smallest.expand_the_rest(index, source.model, plans)
    feeds = evidence.one() if evidence and way == "measure" else None
    packed, measured = packing(index, source, plans, feeds, threads, dry_run, progress)
    report = Report.begin(source, target, format, plans)
    report.notes += remarks(index, plans, spec, portable)
    if not dry_run:
        proof = Proof(rtol, atol)
        progress("writing", 0, 0)
        changed = bool(options.get("binarize")) or bool(source.activations)
        given = source.original is not None and not changed
        packed_model, said = outcome(source, index, plans, packed, given=given, portable=portable)
        report.notes += said
        report.layers = [plan.to_json() for plan in plans]
        if way != "memory":
            loading.tell(index, packed_model, source.model, plans, source.example_shapes, measured)
        lossy = next((plan.values for plan in plans if plan.packed and parse(plan.values).lossy), None)
        if source.activations:
            packed_model.metadata_props.add(key=ACTIVATIONS_KEY, value=source.activations)
        if lossy:
            packed_model.metadata_props.add(key=VALUES_KEY, value=lossy)

        def check(path: Path) -> None:
            if verify and evidence:
                progress("verifying", 0, 0)
                report.verification = proof.of_written(source, evidence, index, plans, packed, path)

        report.files = save(
            packed_model, target, check=check, force=force, external_data=external_data, sources=sources
        )
        progress("accounting for the bytes", 0, 0)
        dense = settled(index, source.model, plans)
        report.measure(dense, compare)
        if dense is not source.model and report.dense_file_bytes is not None:
            report.dense_file_bytes = min(report.dense_file_bytes, proto_size.model_bytes(source.model))
    report.seconds = time.perf_counter() - started
    return report


def _samples(source: Source, calibrate: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Calibration data: given, of an .npz, or of a data set of the lab."""
    from ..training import calibration
    from .quantize import SAMPLES

    if calibrate is None or isinstance(calibrate, Mapping):
        return calibrate
    dims = source.model.graph.input[0].type.tensor_type.shape.dim
    return calibration.read(calibrate, SAMPLES, [dim.dim_value for dim in dims])


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
    """Compare an exported file with its source, in stock onnxruntime and with the operators registered.

    A file that says it was written with lossy values is compared with the source's weights stored the same
    way; how far it is from the source itself is reported, and judged where a tolerance is given.

    Parameters
    ----------
    rtol, atol, **options
        As `export` takes them.

    Raises
    ------
    VerificationError
        If the outputs differ beyond the tolerance, or in names, order, types or shapes.
    InputError
        If one of the two cannot be read, or no input shows what the source computes.
    """
    from .files import kinds
    from .files.onnx_read import read_onnx
    from .prove.evidence import gather
    from .prove.proof import Proof
    from .source import open_source

    opened = open_source(Path(source), say=lambda text: progress(text, 0, 0), **options)
    if kinds.identify(Path(file)) != "onnx":
        raise InputError(f"{file}: is no ONNX file")
    written = read_onnx(Path(file))
    progress("looking for inputs", 0, 0)
    evidence = gather(opened, seed)
    progress("verifying", 0, 0)
    return Proof(rtol, atol).of_file(opened, evidence, written, Path(file))


def inspect(file: str | Path, *, trust_checkpoint: bool = False, compare: bool = False) -> Report:
    """What is inside a checkpoint, an ONNX file or an archive: bytes, shape and density of every tensor.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    from .report.contents import read

    return read(Path(file), trust_checkpoint=trust_checkpoint, compare=compare)
