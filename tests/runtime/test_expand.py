"""Weights that no packed layer reads are made dense by the library before onnxruntime loads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import sparse_export
from sparse_export import formats
from sparse_export.exporter.rewrite import weight_functions
from sparse_export.formats.base import Array, Format, Packed
from sparse_export.runtime import choice, expand
from sparse_export.runtime.library import library_path, loaded
from tests.native.tables import OPERATORS

BY_LIBRARY = expand.by_library(loaded(library_path()))
FORMATS = formats.packable()
#: What it reads as rows or as bits. A format with another kernel, or none, is left to its function.
READ = {operator.prefix for operator in OPERATORS if operator.kernel in ("f32_csr", "f32_codes")}


def model_of(fmt: Format, packed: Packed, *, reads_component: bool = False) -> onnx.ModelProto:
    """Output "w" is the packed weight, and "part" its first component where somebody else reads that."""
    twin = weight_functions.twin_of(packed.dtype)
    parts = weight_functions.parts(fmt)
    attributes: dict[str, Any] = {"shape": list(packed.shape)} | ({"to": twin.to} if twin.to else {})
    nodes = [
        helper.make_node(
            weight_functions.operator_name(fmt, twin), parts, ["weight"], domain="sparse_export", **attributes
        ),
        helper.make_node("Identity", ["weight"], ["w"]),
    ]
    outputs = ["w"]
    if reads_component:
        nodes.append(helper.make_node("Identity", [parts[0]], ["part"]))
        outputs.append("part")
    graph = helper.make_graph(
        nodes,
        "weight",
        [],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(packed.components[part], part) for part in parts],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("sparse_export", 1)]
    functions = [weight_functions.build(fmt, twin, 17)]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=8)


def dense(model: onnx.ModelProto) -> onnx.ModelProto | None:
    found = choice.settled(model.SerializeToString(), "avx2", expand=BY_LIBRARY).model
    return None if found is None else onnx.load_from_string(found)


def examples(fmt: Format) -> Iterator[tuple[str, Array]]:
    for name, array in fmt.examples():
        if array.dtype in (np.float32, np.float16, np.int8) and array.ndim and array.size:
            yield name, array


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_every_format_gives_what_it_was_packed_from(fmt: Format) -> None:
    if fmt.name == "signbits":
        pytest.skip("layers that take signs have no weights of their own")
    rng = np.random.default_rng(0)
    large = (rng.integers(-1, 2, (48, 24, 3)) * (rng.random((48, 24, 3)) < 0.2)).astype(np.float32)
    taken = 0
    for name, array in [*examples(fmt), ("large", large)]:
        if not fmt.applies_to(formats.base.TensorStats(array)):
            continue
        model = model_of(fmt, fmt.pack(array))
        found = dense(model)
        if found is None:  # alphas of other types and the like: as before, then
            continue
        taken += 1
        assert [node.op_type for node in found.graph.node] == ["Identity"] and not found.functions, name
        assert [tensor.name for tensor in found.graph.initializer] == ["weight"], name
        held = numpy_helper.to_array(found.graph.initializer[0])
        assert held.dtype == array.dtype and held.shape == array.shape and held.tobytes() == array.tobytes()
        session = sparse_export.InferenceSession(model.SerializeToString())
        assert session.run(None, {})[0].tobytes() == array.tobytes()
    assert bool(taken) == (fmt.operator in READ)


def test_a_component_that_somebody_else_reads_stays() -> None:
    fmt = formats.get("csr")
    packed = fmt.pack(np.eye(64, dtype=np.float32))
    found = dense(model_of(fmt, packed, reads_component=True))
    assert found is not None
    assert {tensor.name for tensor in found.graph.initializer} == {"weight", "indptr"}
    session = onnxruntime.InferenceSession(found.SerializeToString())
    assert np.array_equal(session.run(["part"], {})[0], packed.components["indptr"])


@pytest.mark.parametrize("name", ["csr", "split", "bitmask", "codebook"])
def test_components_that_break_a_rule_are_left_to_the_function(name: str) -> None:
    fmt = formats.get(name)
    weight = np.random.default_rng(0).integers(-2, 3, (16, 40))
    packed = fmt.pack(np.where(weight > 0, weight, 0).astype(np.float32))
    longer = {part: np.concatenate([array, array], -1) for part, array in packed.components.items()}
    assert dense(model_of(fmt, Packed(name, 1, packed.shape, packed.dtype, longer))) is None
    assert dense(model_of(fmt, Packed(name, 1, (1 << 20, 1 << 20), packed.dtype, packed.components))) is None


def test_what_a_caller_may_change_is_not_made_a_constant() -> None:
    fmt = formats.get("csr")
    model = model_of(fmt, fmt.pack(np.eye(64, dtype=np.float32)))
    model.graph.input.append(helper.make_tensor_value_info("values", TensorProto.FLOAT, [64]))
    assert dense(model) is None


def test_damaged_models_are_never_read_outside() -> None:
    fmt, rng = formats.get("split"), np.random.default_rng(0)
    weight = np.where(rng.random((24, 40)) < 0.3, rng.standard_normal((24, 40)), 0)
    whole = model_of(fmt, fmt.pack(weight.astype(np.float32))).SerializeToString()
    for place, value in zip(rng.integers(0, len(whole), 600), rng.integers(0, 256, 600), strict=True):
        choice.settled(whole[:place] + bytes([value]) + whole[place + 1 :], "avx2", expand=BY_LIBRARY)


def in_branches(fmt: Format, packed: Packed, *, captured: bool) -> onnx.ModelProto:
    """The weight in each branch of an If, its components there too or captured from the graph around it."""
    model = model_of(fmt, packed)
    graph = model.graph
    branches = []
    for name, factor in (("then", 1.0), ("else", 2.0)):
        nodes = [graph.node[0], helper.make_node("Mul", ["weight", f"{name}_factor"], [f"{name}_out"])]
        inits = [numpy_helper.from_array(np.float32(factor), f"{name}_factor")]
        inits += [] if captured else list(graph.initializer)
        branches.append(helper.make_graph(nodes, name, [], [onnx.ValueInfoProto(name=f"{name}_out")], inits))
    choice_of = helper.make_node("If", ["which"], ["w"], then_branch=branches[0], else_branch=branches[1])
    which = helper.make_tensor_value_info("which", TensorProto.BOOL, [])
    outer = list(graph.initializer) if captured else []
    made = helper.make_graph([choice_of], "g", [which], [onnx.ValueInfoProto(name="w")], outer)
    return helper.make_model(
        made, functions=model.functions, opset_imports=model.opset_import, ir_version=model.ir_version
    )


@pytest.mark.parametrize("captured", [False, True], ids=["own", "captured"])
def test_weights_in_branches_are_made_dense_there(captured: bool) -> None:
    fmt = formats.get("csr")
    weight = np.zeros((40, 300), np.float32)  # dense it is longer than any length in the packed model
    weight[::3, ::7] = 1.5
    model = in_branches(fmt, fmt.pack(weight), captured=captured)
    found = dense(model)
    assert found is not None and not found.functions and not found.graph.initializer
    for attribute in found.graph.node[0].attribute:
        assert [node.op_type for node in attribute.g.node] == ["Mul"]
        assert "weight" in {tensor.name for tensor in attribute.g.initializer}
    session = sparse_export.InferenceSession(model.SerializeToString())
    for which, factor in ((True, 1), (False, 2)):
        assert np.array_equal(session.run(None, {"which": np.array(which)})[0], weight * factor)


def test_nothing_of_a_component_is_left_in_the_model() -> None:
    fmt, rng = formats.get("csr"), np.random.default_rng(0)
    weight = np.where(rng.random((64, 64)) < 0.2, rng.standard_normal((64, 64)), 0).astype(np.float32)
    packed = fmt.pack(weight)
    model = choice.settled(model_of(fmt, packed).SerializeToString(), "avx2", expand=BY_LIBRARY).model
    assert model is not None and packed.components["values"].tobytes() not in model
    assert len(model) < weight.nbytes + 500  # nor of the function
