"""Sessions get the operators that their model uses, and no more: each costs onnxruntime memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import sparse_export
from sparse_export.errors import MissingDependencyError
from sparse_export.runtime import choice, inference, registration

from .profiles import operators, profiled
from .test_session import small_case

X = np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype(np.float32)
#: Without functions to be expanded by: they load only where their operator is registered.
PLAIN, RELU = (small_case(suffix).model().SerializeToString() for suffix in ("", "Relu"))


def used(model: onnx.ModelProto | bytes) -> frozenset[str] | None:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return choice.settled(data, "avx2").operators


def registered(options: onnxruntime.SessionOptions) -> frozenset[str]:
    found: frozenset[str] = registration._registered[options]._operators
    return found


def in_a_branch(data: bytes) -> onnx.ModelProto:
    """The model with its graph as one branch of an If, the other being the same."""
    model = onnx.load_from_string(data)
    inner = onnx.GraphProto()
    inner.CopyFrom(model.graph)
    del inner.input[:]
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)]
    yes = helper.make_tensor_value_info("yes", TensorProto.BOOL, [])
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(yes)
    return model


def in_a_function(data: bytes) -> onnx.ModelProto:
    """The model with a function of another domain around its node."""
    model = onnx.load_from_string(data)
    (node,) = model.graph.node
    function = helper.make_function(
        "mine", "Wrapped", list(node.input), list(node.output), [node], list(model.opset_import)
    )
    wrapped = helper.make_node("Wrapped", list(node.input), list(node.output), domain="mine")
    del model.graph.node[:]
    model.graph.node.append(wrapped)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


def test_the_operators_of_a_model_are_found_wherever_they_stand() -> None:
    assert used(PLAIN) == {"SparseConv"} and used(RELU) == {"SparseConvRelu"}
    for model in (in_a_branch(RELU), in_a_function(RELU)):
        assert used(model) == {"SparseConvRelu"}
        feeds: dict[str, Any] = {"x": X}
        if len(model.graph.input) > 1:
            feeds["yes"] = np.array(True)
        sparse_export.InferenceSession(model.SerializeToString()).run(None, feeds)
    assert used(b"no model") is None and used(onnx.ModelProto()) is None
    assert used(helper.make_model(helper.make_graph([], "nothing", [], []))) == frozenset()


def test_options_hold_what_the_model_uses_and_grow_with_the_next(tmp_path: Path) -> None:
    options = profiled(tmp_path)
    assert operators(sparse_export.InferenceSession(PLAIN, options), {"x": X}) == {"SparseConv"}
    assert registered(options) == {"SparseConv"}
    sparse_export.InferenceSession(RELU, options).run(None, {"x": X})
    assert registered(options) == {"SparseConv", "SparseConvRelu"}
    assert sparse_export.register(options) is options
    sparse_export.InferenceSession(PLAIN, options)
    onnxruntime.InferenceSession(RELU, options)


def test_a_model_without_packed_layers_gets_nothing() -> None:
    options = onnxruntime.SessionOptions()
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    sparse_export.InferenceSession(model.SerializeToString(), options)
    assert options not in registration._registered


def test_threads_share_options_that_grow() -> None:
    options = onnxruntime.SessionOptions()
    models = [
        small_case(suffix).model().SerializeToString()
        for suffix in ("", "Relu", "Clip", "Add", "AddRelu", "AddClip") * 3
    ]
    failures: list[Exception] = []

    def load(model: bytes) -> None:
        try:
            sparse_export.InferenceSession(model, options)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=load, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and len(registered(options)) == 6


def test_sessions_outlive_the_options_of_the_program() -> None:
    session = sparse_export.InferenceSession(PLAIN, onnxruntime.SessionOptions())
    wanted = session.run(None, {"x": X})[0]
    for _ in range(20):
        sparse_export.InferenceSession(RELU, onnxruntime.SessionOptions())
    gc.collect()
    session.set_providers(["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"x": X})[0], wanted)


def test_a_library_of_another_version_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registration, inference):
        monkeypatch.setattr(module, "loaded", lambda path: object())
    with pytest.raises(MissingDependencyError, match="cannot load"):
        sparse_export.InferenceSession(PLAIN)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_what_is_not_used_takes_no_memory() -> None:
    code = """if True:
        import sys, onnxruntime, sparse_export
        from sparse_export.measure import memory
        data, options = sys.stdin.buffer.read(), onnxruntime.SessionOptions()
        sparse_export.InferenceSession(data)  # what the first session takes is not to be counted
        before = memory.settled()["anon"]
        if sys.argv[1] == "all":
            sparse_export.register(options)
        session = sparse_export.InferenceSession(data, options)
        print(memory.settled()["anon"] - before)
        """
    every, needed = (
        int(subprocess.run([sys.executable, "-c", code, word], input=PLAIN, capture_output=True).stdout)
        for word in ("all", "needed")
    )
    assert every - needed > 3 << 20 and needed < 3 << 20
