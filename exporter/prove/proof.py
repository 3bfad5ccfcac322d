"""How an exported file is proved: what is compared with what, in which runtimes, and what a failure says.

The source is run as it was given; the file is run in stock onnxruntime and, where the operator library is
there, on its packed weights. Packed tensors are compared bit for bit.

Lossy values differ by design, so a file that has them is proved in three steps: the dense graph against the
source, the file against that graph with its values stored as asked for, both within rounding; and the file
against the source, whose difference is reported, and held to a tolerance where one is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...errors import InputError, MissingDependencyError, VerificationError
from ...formats import Packed
from ...formats.base import Array
from ...runtime.inputs import Feeds
from ...runtime.session import library_path
from ...runtime.stock import LoadError, RunError, Session
from ...text import shown
from ..files import held
from ..files.onnx_read import reread
from ..graph.domain import DOMAIN
from ..graph.index import GraphIndex
from ..plan.encode import stored as stored_array
from ..plan.tensor_plan import TensorPlan
from ..plan.values import Encoded, parse
from ..reference import OnnxReference, Reference
from ..rewrite.packed_nodes import is_quantized
from ..source import Source
from . import compare, integers, sign_reference, stored
from .compare import Verification
from .evidence import Evidence
from .signature import check_signature
from .steps import steps
from .trial import Trial
from .verdict import OutputVerdict, Tolerance, summary

STOCK = "stock onnxruntime"
NATIVE = "onnxruntime with the operators registered"


class Proof:
    """A tolerance: None for both is the default, which is room for rounding alone."""

    def __init__(self, rtol: float | None = None, atol: float | None = None) -> None:
        self.tolerance = Tolerance(rtol, atol)

    def of_written(
        self,
        source: Source,
        evidence: Evidence,
        index: GraphIndex,
        plans: Sequence[TensorPlan],
        packed: dict[str, Packed],
        path: Path,
    ) -> Verification:
        """Every packed tensor bit for bit, then the outputs.

        Raises
        ------
        VerificationError
            Naming the first tensor that differs, or the output that does.
        InputError
            If no input shows what the source computes.
        """
        written = reread(path, tensors := held.Tensors())
        planned = {plan.name: plan for plan in plans if plan.packed}

        def dense(name: str) -> Array:
            return stored_array(index, planned[name])

        compared = compare.check_tensors(written, packed, dense)
        if not any(map(is_quantized, written.graph.node)):  # those are run alone, as they were written
            del tensors
        lossy = {name: plan for name, plan in planned.items() if parse(plan.values).lossy}
        encoded = {
            name: (plan.encoded, plan.sites[0].transposed) for name, plan in lossy.items() if plan.encoded
        }
        values = compare.ACTIVATIONS if source.activations else next((p.values for p in lossy.values()), "")
        result = self._of_outputs(source, evidence, written, path, values, encoded)
        result.tensors = compared
        if result.unproven and (self.tolerance.given or not _constant(result)):
            raise InputError(_nothing_shown(source, result))
        return result

    def of_file(
        self, source: Source, evidence: Evidence, written: onnx.ModelProto, path: Path
    ) -> Verification:
        """What `of_written` is for a file of which nothing is known but itself.

        Raises
        ------
        VerificationError
            If the file differs from the source.
        InputError
            If no input shows whether it does.
        """
        values = compare.values_of(written)
        stored_so = values and values != compare.ACTIVATIONS
        encoded = stored.encodings(GraphIndex(source.model), written, values) if stored_so else {}
        result = self._of_outputs(source, evidence, written, path, values, encoded)
        result.tensors = len(encoded)
        if result.unproven:
            raise InputError(_nothing_shown(source, result))
        return result

    def _of_outputs(
        self,
        source: Source,
        evidence: Evidence,
        written: onnx.ModelProto,
        path: Path,
        values: str,
        encoded: Mapping[str, tuple[Encoded, bool]],
    ) -> Verification:
        reference = source.reference
        feeds, expected = _run_all(reference, evidence.samples())
        result = Verification(inputs=len(feeds), reference=reference.name, values=values)
        result.judged = self.tolerance.given or not values
        result.notes += [evidence.told] if evidence.told else []
        files = _sessions(written, path, source.path, result)
        check_signature(reference, files[0][1])
        signs = sign_reference.takes_signs(written)
        trial = Trial(
            reference,
            [name for name, _, _ in files[0][1].outputs],
            feeds,
            expected,
            bool(evidence.specs),
            {} if source.activations else steps(source.model),
        )
        trial.mark_random()
        others = [*_other_references(source)] if signs else []
        if encoded:
            self._prove_stored(source, trial, files, encoded, signs)
        if source.activations:
            twin = OnnxReference(source.model, "onnxruntime", shown(source.path))
            self._prove_twin(source, trial, files, twin, "the source rounded to int8")
        for name, session in files:
            got = _runs_of_file(session, feeds, source.path)
            wanted = trial.nearest(others, got) if signs else expected
            verdicts = trial.judge(wanted, got, self.tolerance, noisy=not signs)
            result.take(verdicts)
            result.outputs = result.outputs or verdicts
            bad = next((verdict for verdict in verdicts if not verdict.passed), None)
            if bad and (result.judged or bad.max_abs == np.inf):
                raise VerificationError(_told(source, bad, name, self.tolerance, values))
        self._prove_strays(source, trial, files, evidence, judged=result.judged and not signs)
        registered = {name: name == NATIVE for name, _ in files}
        result.integers = integers.prove(source.model, written, feeds[0], registered, source.path.name)
        result.runtimes = [name for name, _ in files]
        result.passed = True
        _say_what_shows_nothing(result)
        return result

    def _prove_strays(
        self,
        source: Source,
        trial: Trial,
        files: Sequence[tuple[str, Session]],
        evidence: Evidence,
        *,
        judged: bool,
    ) -> None:
        """Graphs that branch, on inputs that may take them elsewhere; each is held to itself alone."""
        for feeds in evidence.strays() if judged else ():
            try:
                expected = [trial.reference.run(feeds)]
            except RunError:
                continue
            stray = Trial(trial.reference, trial.names, [feeds], expected, trial.fed, trial.steps)
            stray.random = trial.random
            for name, session in files:
                got = _runs_of_file(session, [feeds], source.path)
                for verdict in stray.judge(expected, got, self.tolerance):
                    if not verdict.passed:
                        raise VerificationError(_told(source, verdict, name, self.tolerance, ""))

    def _prove_stored(
        self,
        source: Source,
        trial: Trial,
        files: Sequence[tuple[str, Session]],
        encoded: Mapping[str, tuple[Encoded, bool]],
        signs: bool,
    ) -> None:
        """The dense graph against the source, then the file against that graph with the stored values."""
        if signs:
            return  # one value moved decides signs anew: only the outputs as a whole can be compared
        dense = OnnxReference(source.model, subject=shown(source.path))
        got = [dense.run(feeds) for feeds in trial.feeds]
        for verdict in trial.judge(trial.expected, got, Tolerance()):
            if not verdict.passed:
                raise VerificationError(_told(source, verdict, "the converted graph", Tolerance(), ""))
        moved = OnnxReference(stored.with_values(source.model, encoded), subject=shown(source.path))
        self._prove_twin(source, trial, files, moved, "the source with its values stored the same way")

    def _prove_twin(
        self,
        source: Source,
        trial: Trial,
        files: Sequence[tuple[str, Session]],
        twin: OnnxReference,
        what: str,
    ) -> None:
        """The file against a dense graph that computes with the same rounded numbers."""
        again = [twin.run(feeds) for feeds in trial.feeds]
        inner = Trial(twin, trial.names, trial.feeds, again, trial.fed, steps(source.model))
        inner.random = trial.random
        for name, session in files:
            got = _runs_of_file(session, trial.feeds, source.path)
            for verdict in inner.judge(inner.expected, got, Tolerance()):
                if not verdict.passed:
                    raise VerificationError(
                        f"{shown(source.path.name)}: {summary(verdict.name)} {verdict.reason} in {name}, "
                        f"from {what}"
                    )


def _other_references(source: Source) -> list[OnnxReference]:
    """Runs of the same float graph that may decide a sign in another way."""
    if isinstance(source.reference, OnnxReference):
        return [source.reference]
    return [OnnxReference(source.model, subject=shown(source.path))]


def _run_all(reference: Reference, samples: Sequence[Feeds]) -> tuple[list[Feeds], list[list[Any]]]:
    """The inputs that the source takes, and its outputs; the first must be one of them."""
    feeds, expected = [], []
    for place, sample in enumerate(samples):
        try:
            outputs = reference.run(sample)
        except RunError as error:
            if not place:
                raise InputError(f"{error}; give inputs that it takes with --input data.npz") from error
            continue
        feeds.append(sample)
        expected.append(outputs)
    return feeds, expected


def _sessions(
    written: onnx.ModelProto, path: Path, subject: Path, result: Verification
) -> list[tuple[str, Session]]:
    """The file in every runtime that can be had."""
    try:
        files = [(STOCK, Session(path, name="the written file"))]
        if any(node.domain == DOMAIN for node in written.graph.node):
            try:
                library_path()
                files.append((NATIVE, Session(path, name="the written file", registered=True)))
            except MissingDependencyError:
                result.notes.append(
                    "the native operator library is not here: proven in stock onnxruntime alone"
                )
    except LoadError as error:
        raise VerificationError(f"{shown(subject.name)}: {error}") from error
    return files


def _runs_of_file(session: Session, feeds: Sequence[Feeds], subject: Path) -> list[list[Any]]:
    try:
        return [session.run(sample) for sample in feeds]
    except RunError as error:
        raise VerificationError(
            f"{shown(subject.name)}: the source runs on these inputs, but {error}"
        ) from error


def _told(source: Source, verdict: OutputVerdict, where: str, tolerance: Tolerance, values: str) -> str:
    over = (
        "over the tolerance that --rtol and --atol set" if tolerance.given else "more than rounding explains"
    )
    asked = f" (values stored as {values})" if values else ""
    return f"{shown(source.path.name)}: {summary(verdict.name)} {verdict.reason} in {where}{asked}, {over}"


def _constant(result: Verification) -> bool:
    """Whether the outputs are numbers, if always the same ones: equal on every input that was tried."""
    return not any(word in verdict.unproven for verdict in result.outputs for word in ("NaN", "random"))


def _say_what_shows_nothing(result: Verification) -> None:
    silent = [verdict for verdict in result.outputs if verdict.unproven]
    if silent and len(silent) == len(result.outputs):
        result.unproven = f"{summary(silent[0].name)} is {silent[0].unproven}"
    else:
        result.notes += [f"{summary(one.name)} shows nothing: {one.unproven}" for one in silent]


def _nothing_shown(source: Source, result: Verification) -> str:
    way = "" if "random" in result.unproven else "give inputs that show more with --input data.npz; "
    return f"{shown(source.path.name)}: not proven: {result.unproven}; {way}--no-verify exports without proof"
