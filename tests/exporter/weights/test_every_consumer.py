"""Weights in every format, whatever reads them: the same bits come out, nothing is decoded on a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from sparse_export import formats
from sparse_export.exporter.graph.find import find
from sparse_export.exporter.graph.index import GraphIndex
from sparse_export.exporter.graph.normalize import normalize
from sparse_export.exporter.plan import pack, plan, runs
from sparse_export.exporter.plan.tensor_plan import TensorPlan
from sparse_export.exporter.rewrite import packed_nodes
from sparse_export.exporter.rewrite.write import rewrite

from .consumers import CONSUMERS, feeds, made, node, weight_of

DECODED = [fmt.name for fmt in formats.packable()]
KINDS = ("free", "groups", "signs", "zeros")


def expanded(dense: onnx.ModelProto, format_name: str) -> tuple[onnx.ModelProto, list[TensorPlan]]:
    """The model with every weight that the format holds stored in it, and expanded."""
    model = normalize(dense)
    index = GraphIndex(model)
    plans = plan.make(index, find(index), format_name)
    for one in plans:
        if one.sites and one.run != "expanded":
            runs.expand(index, one, "asked for")
    return rewrite(index, model, plans, pack.pack(plans)), plans


def outcome(model: onnx.ModelProto, path: Path) -> tuple[list[str], np.ndarray]:
    """Operators left after optimisation, and the result of a run, in stock onnxruntime."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(path)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result = session.run(None, feeds(model))[0]
    return sorted(node.op_type for node in onnx.load(path).graph.node), result


@pytest.mark.parametrize("format_name", DECODED)
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_gives_the_bits_of_the_dense_model(tmp_path: Path, consumer: str, format_name: str) -> None:
    shape, dtype, build = CONSUMERS[consumer]
    fmt = formats.get(format_name)
    for kind in KINDS:
        weight = weight_of(shape, dtype, kind)
        stats = formats.TensorStats(weight)
        if fmt.applies_to(stats) and fmt.nbytes(stats) < weight.nbytes:
            break
    else:
        pytest.skip("no weight of this type and shape gets smaller in this format")
    dense = build(weight)
    packed, plans = expanded(dense, format_name)
    held = packed_nodes.find(packed.graph)
    assert (
        held and {one.run for one in held} == {"expanded"} and {one.fmt.name for one in held} == {format_name}
    )
    assert len(held) == sum(one.packed for one in plans)
    left, got = outcome(packed, tmp_path / "packed.onnx")
    wanted_left, wanted = outcome(normalize(dense), tmp_path / "dense.onnx")
    assert left == wanted_left
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("format_name", DECODED)
def test_a_session_that_does_not_optimize_knows_every_operator(format_name: str, opset: int) -> None:
    fmt = formats.get(format_name)
    weights = (weight_of((32, 32), "float32", kind) for kind in KINDS)
    weight = next(one for one in weights if fmt.applies_to(formats.TensorStats(one)))
    dense = made([node("MatMul", ["X", "W"], ["Y"])], {"W": weight}, [3, 32], opset=opset)
    written, _ = expanded(dense, format_name)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    result, wanted = (
        ort.InferenceSession(one.SerializeToString(), options).run(None, feeds(dense))[0]
        for one in (written, dense)
    )
    assert result.tobytes() == wanted.tobytes()
