"""How an exported file is proved: what is compared, by which tolerance, and what a failure says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from ...errors import VerificationError
from ...formats import Packed
from ...formats.base import Array
from ..graph.index import GraphIndex
from ..plan.plan import TensorPlan, encode
from ..plan.values import parse
from ..source import Source
from . import compare, sign_reference
from .compare import Verification

#: Batch sizes that are run; a fixed batch runs three different inputs.
BATCHES = (1, 2, 3)


class Proof:
    """A tolerance and a seed; None for a tolerance is the default of `verify`."""

    def __init__(self, rtol: float | None = None, atol: float | None = None, seed: int = 0) -> None:
        self.rtol = compare.RTOL if rtol is None else rtol
        self.atol = compare.ATOL if atol is None else atol
        self.explicit = rtol is not None or atol is not None
        self.seed = seed

    def of_written(
        self,
        source: Source,
        index: GraphIndex,
        plans: Sequence[TensorPlan],
        packed: dict[str, Packed],
        path: Path,
    ) -> Verification:
        """Every packed tensor bit for bit, then the outputs.

        Lossy values differ by design: their difference is reported, and judged only by a given tolerance.

        Raises
        ------
        VerificationError
            Naming the first tensor that differs, or the largest difference of an output.
        """
        written = onnx.load(str(path))
        planned = {plan.name: plan for plan in plans if plan.packed}

        def dense(name: str) -> Array:
            return encode(index, name, planned[name].layers[0], parse(planned[name].values)).array

        tensors = compare.check_tensors(written, packed, dense)
        lossy = any(parse(plan.values).lossy for plan in planned.values())
        result = self.of_outputs(source, written, path, judge=self.explicit or not lossy)
        result.tensors = tensors
        return result

    def of_outputs(
        self, source: Source, written: onnx.ModelProto, path: Path, *, judge: bool = True
    ) -> Verification:
        """The outputs of the file in stock onnxruntime against the source's.

        Raises
        ------
        VerificationError
            If they differ beyond the tolerance and `judge` is set.
        """
        opened = compare.session(path)
        reference, name = source.reference, source.reference_name
        if sign_reference.takes_signs(written) and name != "onnxruntime":
            references = (reference, compare.runner(source.model))
            reference = sign_reference.nearest(references, lambda feeds: opened.run(None, feeds))
            name += " or onnxruntime, whichever decides the signs alike"
        result = compare.compare(
            reference,
            lambda feeds: opened.run(None, feeds),
            [
                compare.make_inputs(written, source.example_shapes, self.seed + batch, batch)
                for batch in BATCHES
            ],
            rtol=self.rtol,
            atol=self.atol,
        )
        result.reference = name
        if judge and not result.passed:
            raise VerificationError(
                f"{source.path.name}: outputs of the packed file differ from the source's by up to "
                f"{result.max_abs:.3g} ({result.max_rel:.2%} of the largest), over the tolerance "
                "that --rtol and --atol set"
            )
        return result
