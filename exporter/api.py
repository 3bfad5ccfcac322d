"""The steps in their order: what `sparse-export` does, as functions.

NOTES
-----
No step reaches back: source -> plan -> pack -> graph -> save (verify before the name is taken) -> report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, VerificationError
from .report import Report

if TYPE_CHECKING:
    import onnx

    from ..formats import Packed
    from ..formats.base import Array
    from .layers import GraphIndex
    from .plan import TensorPlan
    from .source import Source
    from .verify import Verification

#: Told about progress: what is being done, how far, of how much (0: unknown).
Progress = Callable[[str, int, int], None]


def _silent(text: str, done: int, total: int) -> None:
    return None


def export(
    model: str | Path,
    *,
    format: str = "auto",
    output: str | Path | None = None,
    arch: str | None = None,
    input_shape: Sequence[tuple[int, ...]] | None = None,
    input_dtype: Sequence[str] | None = None,
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
    trust_checkpoint: bool = False,
    compare: bool = False,
    verbose: bool = False,
    progress: Progress = _silent,
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

    Raises
    ------
    InputError
        If the model cannot be read or the output not be written.
    VerificationError
        If the file does not compute what the source computes; no file is left.
    """
    from ..formats.values import parse
    from . import pack as packing
    from . import plan as planning
    from . import source as sources
    from .artifact import check_target
    from .layers import GraphIndex
    from .match import find

    started = time.perf_counter()
    path = Path(model)
    overrides = planning.parse_overrides(layers)
    spec = parse(values)
    target = Path(output) if output is not None else path.with_name(f"{path.stem}.{format}.onnx")
    if path.exists() and not dry_run:
        check_target(target, force=force, sources=[path])
    source = sources.open_source(
        path,
        arch=arch,
        input_shapes=input_shape,
        input_dtypes=input_dtype,
        trust_checkpoint=trust_checkpoint,
        verbose=verbose,
        say=lambda text: progress(text, 0, 0),
    )
    index = GraphIndex(source.model)
    _refuse_nan(source, sources.nan_weights(index))
    plans = planning.make(
        index,
        find(index),
        format,
        overrides,
        spec,
        optimize,
        lambda done, total: progress("planning", done, total),
    )
    if optimize == "speed" and not measure:
        from .cost import keep_slow_layers_dense

        keep_slow_layers_dense(source.model, plans, source.example_shapes)
    packed: dict[str, Packed] = {}
    if measure or not dry_run:
        packed = packing.pack(plans, lambda done, total: progress("packing", done, total))
    if measure:
        from .tune import keep_measured_slow_layers_dense

        keep_measured_slow_layers_dense(
            index,
            source.model,
            plans,
            packed,
            source.example_shapes,
            threads=threads,
            progress=lambda done, total: progress("measuring", done, total),
        )
    report = Report.begin(source, target, format, plans)
    if spec.lossy:
        report.notes.append(
            ("info", f"values stored as {spec}: lossy; zeros stay zero, outputs differ as verified")
        )
    if not dry_run:
        checking = _Checking(verify, rtol, atol, seed, progress)
        report.verification = _write(
            source, index, plans, packed, target, force, external_data, checking, report
        )
        progress("accounting for the bytes", 0, 0)
        report.measure(source.model, compare)
    report.seconds = time.perf_counter() - started
    return report


class _Checking:
    """How thoroughly the written file is verified."""

    def __init__(
        self, enabled: bool, rtol: float | None, atol: float | None, seed: int, progress: Progress
    ) -> None:
        from . import verify

        self.enabled = enabled
        self.rtol = verify.RTOL if rtol is None else rtol
        self.atol = verify.ATOL if atol is None else atol
        self.seed = seed
        self.progress = progress
        # Lossy values differ by design: the difference is reported, and judged only by a given tolerance.
        self.lossy = False
        self.explicit = rtol is not None or atol is not None


def _refuse_nan(source: Source, names: list[str]) -> None:
    if names:
        raise InputError(
            f"{source.path}: weight '{names[0]}' holds NaN"
            + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
            + "; retrain or repair the checkpoint"
        )


def _write(
    source: Source,
    index: GraphIndex,
    plans: Sequence[TensorPlan],
    packed: dict[str, Packed],
    target: Path,
    force: bool,
    external_data: bool,
    checking: _Checking,
    report: Report,
) -> Verification | None:
    """Write and verify; the file gets its name only when the verification passed."""
    from .graph import rewrite
    from .save import save

    checking.progress("writing", 0, 0)
    result: list[Verification] = []

    def check(path: Path) -> None:
        if checking.enabled:
            checking.progress("verifying", 0, 0)
            result.append(_verify_written(source, index, plans, packed, path, checking))

    model = rewrite(index, source.model, plans, packed)
    report.files = save(
        model, target, check=check, force=force, external_data=external_data, sources=[source.path]
    )
    return result[0] if result else None


def _verify_written(
    source: Source,
    index: GraphIndex,
    plans: Sequence[TensorPlan],
    packed: dict[str, Packed],
    path: Path,
    checking: _Checking,
) -> Verification:
    import onnx

    from ..formats.values import parse
    from . import verify
    from .plan import encode

    written = onnx.load(str(path))
    planned = {plan.name: plan for plan in plans if plan.packed}

    def dense(name: str) -> Array:
        return encode(index, name, planned[name].layers[0], parse(planned[name].values)).array

    tensors = verify.check_tensors(written, packed, dense)
    checking.lossy = any(parse(plan.values).lossy for plan in planned.values())
    result = _compare(source, written, path, checking)
    result.tensors = tensors
    return result


def _compare(source: Source, written: onnx.ModelProto, path: Path, checking: _Checking) -> Verification:
    from . import verify

    opened = verify.session(path)
    inputs = [
        verify.make_inputs(written, source.example_shapes, checking.seed + batch, batch)
        for batch in (1, 2, 3)
    ]
    result = verify.compare(
        source.reference,
        lambda feeds: opened.run(None, feeds),
        inputs,
        rtol=checking.rtol,
        atol=checking.atol,
    )
    result.reference = source.reference_name
    if not result.passed and (checking.explicit or not checking.lossy):
        raise VerificationError(
            f"{source.path.name}: outputs of the packed file differ from the source's by up to "
            f"{result.max_abs:.3g} ({result.max_rel:.2%} of the largest), over the tolerance "
            "that --rtol and --atol set"
        )
    return result


def verify(
    source: str | Path,
    file: str | Path,
    *,
    arch: str | None = None,
    input_shape: Sequence[tuple[int, ...]] | None = None,
    input_dtype: Sequence[str] | None = None,
    trust_checkpoint: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    progress: Progress = _silent,
) -> Verification:
    """Compare an exported file with its source in stock onnxruntime.

    Raises
    ------
    VerificationError
        If the outputs differ beyond the tolerance.
    InputError
        If one of the two cannot be read.
    """
    from . import checkpoint
    from .source import open_source

    opened = open_source(
        Path(source),
        arch=arch,
        input_shapes=input_shape,
        input_dtypes=input_dtype,
        trust_checkpoint=trust_checkpoint,
        say=lambda text: progress(text, 0, 0),
    )
    written = checkpoint.load(Path(file)).onnx_model
    if written is None:
        raise InputError(f"{file}: is no ONNX file")
    progress("verifying", 0, 0)
    return _compare(opened, written, Path(file), _Checking(True, rtol, atol, seed, progress))


def inspect(file: str | Path, *, trust_checkpoint: bool = False, compare: bool = False) -> Report:
    """What is inside a checkpoint, an ONNX file or an archive: bytes, shape and density of every tensor.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    from .contents import read

    return read(Path(file), trust_checkpoint=trust_checkpoint, compare=compare)
