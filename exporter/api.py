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
    from ..runtime.inputs import Feeds
    from .graph.index import GraphIndex
    from .plan.plan import TensorPlan
    from .plan.values import Spec
    from .prove.compare import Verification
    from .source import Source, SourceOptions

#: Told about progress: what is being done, how far, of how much (0: unknown).
Progress = Callable[[str, int, int], None]


#: What a report says of a file in standard operators alone.
PORTABLE = (
    "portable: standard operators alone; every runtime expands the weights when it loads them, ours too: "
    "the operator library finds no layer to run packed"
)


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
        Default: see `default_output`.
    values
        How non-zeros are stored: "fp32" (as they are), "fp16", "bf16", "int8" or "codebook:N".
    layers
        "GLOB=FORMAT" overrides over weight names; the last that matches wins.
    optimize
        "size" stores whatever gets smaller packed, and lets it run packed where that is expected to be
        no slower
        than dense; "speed" packs only where the native kernel is expected to be faster; "memory" lets every
        layer that has a packed operator run packed.
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
    from .files.onnx_write import save
    from .files.targets import SourceFiles, check_target
    from .graph.find import find
    from .graph.index import GraphIndex
    from .plan import plan as planning
    from .plan import runs
    from .plan.values import parse
    from .prove.compare import VALUES_KEY
    from .prove.evidence import gather
    from .prove.proof import Proof
    from .rewrite import smallest
    from .rewrite.outcome import outcome
    from .rewrite.settle import settled
    from .rewrite.sign_rules import signed_weights
    from .source import open_source

    started = time.perf_counter()
    path = Path(model)
    if optimize not in ("size", "speed", "memory"):
        raise InputError(f"optimize must be 'size', 'speed' or 'memory', not '{optimize}'")
    overrides = planning.parse_overrides(layers)
    spec = parse(values)
    if portable:
        _refuse_for_portable(optimize, measure, spec)
    target = Path(output) if output is not None else default_output(path, format, optimize, measure, portable)
    sources = SourceFiles(path, options.get("arch"))
    if path.exists() and not dry_run:
        check_target(target, force=force, sources=sources)
    source = open_source(path, say=lambda text: progress(text, 0, 0), **options)
    evidence = None
    if verify or measure:
        progress("looking for inputs", 0, 0)
        evidence = gather(source, seed)
        source.example_shapes = source.example_shapes or evidence.shapes
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
    if portable:
        runs.expand_all(index, plans)
    else:
        signed = signed_weights(index, plans)
        runs.decide(index, source.model, plans, optimize, source.example_shapes, signed)
    smallest.settle(index, source.model, plans, portable=portable)
    if optimize != "speed" and not portable:
        smallest.expand_the_rest(index, source.model, plans)
    feeds = evidence.one() if evidence and measure else None
    packed = _settle(index, source, plans, optimize, feeds, threads, dry_run, progress)
    report = Report.begin(source, target, format, plans)
    report.notes += _remarks(index, plans, spec)
    report.notes += [("info", PORTABLE)] if portable else []
    if not dry_run:
        proof = Proof(rtol, atol)
        progress("writing", 0, 0)
        given = source.original is not None and not options.get("binarize")
        packed_model, remarks = outcome(source, index, plans, packed, given=given, portable=portable)
        report.notes += remarks
        report.layers = [plan.to_json() for plan in plans]
        lossy = next((plan.values for plan in plans if plan.packed and parse(plan.values).lossy), None)
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
            report.dense_file_bytes = min(report.dense_file_bytes, source.model.ByteSize())
    report.seconds = time.perf_counter() - started
    return report


def _refuse_for_portable(optimize: str, measure: bool, spec: Spec) -> None:
    """What chooses among layers that run packed has nothing to choose where none does.

    Raises
    ------
    InputError
        Naming the option that does not go with it.
    """
    other = "measure" if measure else f"optimize {optimize}" if optimize != "size" else ""
    if other:
        raise InputError(f"--portable lets no layer run packed: --{other} does not go with it")
    if spec.lossy:
        raise InputError(f"--portable stores every value as it is: --values {spec} does not go with it")


def default_output(
    model: Path, format: str, optimize: str = "size", measure: bool = False, portable: bool = False
) -> Path:
    """Where `export` writes when it is not told: beside the model, what was asked for in the name.

    Examples
    --------
    >>> [str(default_output(Path("net.pt"), *way)) for way in (("auto",), ("csr",), ("auto", "speed"))]
    ['net.auto.onnx', 'net.csr.onnx', 'net.speed.onnx']
    >>> str(default_output(Path("net.pt"), "csr", "speed", measure=True))
    'net.csr.tuned.onnx'
    >>> str(default_output(Path("net.pt"), "auto", portable=True))
    'net.portable.onnx'
    """
    from .files import shards

    way = "tuned" if measure else optimize if optimize != "size" else "portable" if portable else ""
    words = [format] if format != "auto" or not way else []
    return model.with_name(".".join([shards.stem(model), *words, *([way] if way else []), "onnx"]))


def _settle(
    index: GraphIndex,
    source: Source,
    plans: Sequence[TensorPlan],
    optimize: str,
    feeds: Feeds | None,
    threads: int,
    dry_run: bool,
    progress: Progress,
) -> dict[str, Packed]:
    """The packed weights, once every layer that would get slower went back to dense in `plans`.

    `feeds` are the inputs to time the net with, None for trusting the cost model; a dry run packs only what
    is measured.
    """
    from .plan.pack import pack
    from .rewrite import smallest

    if optimize == "speed" and feeds is None:
        from .plan.cost import keep_slow_layers_dense
        from .rewrite.sign_rules import signed_weights

        signed = signed_weights(index, plans)
        keep_slow_layers_dense(source.model, plans, source.example_shapes, signed)
        smallest.settle(index, source.model, plans, only_drop=True)
    packed: dict[str, Packed] = {}
    if feeds is not None or not dry_run:
        packed = pack(plans, lambda done, total: progress("packing", done, total))
    if feeds is not None:
        from .tune import keep_measured_slow_layers_dense

        keep_measured_slow_layers_dense(
            index,
            source.model,
            plans,
            packed,
            source.example_shapes,
            feeds,
            threads=threads,
            progress=lambda done, total: progress("measuring", done, total),
        )
        smallest.settle(index, source.model, plans, only_drop=True)
        packed = {plan.name: packed[plan.name] for plan in plans if plan.packed}
    return packed


def _remarks(index: GraphIndex, plans: Sequence[TensorPlan], spec: Spec) -> list[tuple[str, str]]:
    """What the user should know about the plan, as notes of the report."""
    from .. import formats
    from .graph import zeros

    notes = [note.text for note in zeros.notes(index, [plan.name for plan in plans if plan.packed])]
    packed = {plan.format for plan in plans if plan.runs_packed}
    expanded = sorted(name for name in packed if not formats.get(name).kernels)
    if expanded:
        names = ", ".join(expanded)
        notes.append(
            f"{names}: the library reads its rows once, when a session is made; csr is read where it lies"
        )
    if spec.lossy:
        notes.append(f"values stored as {spec}: lossy; zeros stay zero, outputs differ by what is said below")
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
