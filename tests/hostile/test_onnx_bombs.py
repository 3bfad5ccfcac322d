"""ONNX models of a kilobyte that ask whoever runs them for terabytes, or never end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparse_export.exporter import api, checkpoint
from sparse_export.exporter.files import budget

from .builders import onnx_of, refused

node = helper.make_node


def const(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def summed(*nodes: onnx.NodeProto, last: str = "b", **options: Any) -> onnx.ModelProto:
    """x plus the sum of a constant that `nodes` make."""
    more = [node("ReduceSum", [last], ["r"], keepdims=0), node("Add", ["x", "r"], ["y"])]
    return onnx_of([*nodes, *more], options.pop("initializers", ()), **options)


ONE = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
BIG = const("s", np.int64([700_000_000]))


def fill() -> onnx.ModelProto:
    return summed(node("ConstantOfShape", ["s"], ["b"], value=ONE), initializers=[BIG])


def fill_of_a_constant_node() -> onnx.ModelProto:
    return summed(node("Constant", [], ["s"], value=BIG), node("ConstantOfShape", ["s"], ["b"], value=ONE))


def expand() -> onnx.ModelProto:
    return summed(node("Expand", ["o", "s"], ["b"]), initializers=[BIG, const("o", np.float32([1]))])


def tile() -> onnx.ModelProto:
    return summed(node("Tile", ["o", "s"], ["b"]), initializers=[BIG, const("o", np.float32([1]))])


def count_up() -> onnx.ModelProto:
    ends = [const("from", np.float32(0)), const("to", np.float32(7e8)), const("step", np.float32(1))]
    return summed(node("Range", ["from", "to", "step"], ["b"]), initializers=ends)


def doubled() -> onnx.ModelProto:
    """Thirty times the same twice."""
    nodes = [node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(30)]
    return summed(*nodes, last="d30", initializers=[const("d0", np.float32([1, 2]))])


def outer() -> onnx.ModelProto:
    column, row = const("c", np.zeros((30_000, 1), np.float32)), const("l", np.zeros((1, 30_000), np.float32))
    return summed(node("Add", ["c", "l"], ["b"]), initializers=[column, row])


def many_small() -> onnx.ModelProto:
    """No constant is large; all of them are."""
    nodes = [node("ConstantOfShape", ["s"], [f"c{i}"], value=ONE) for i in range(300)]
    return summed(*nodes, last="c0", initializers=[const("s", np.int64([1_000_000]))])


def padded() -> onnx.ModelProto:
    pads = const("p", np.int64([0, 700_000_000]))
    return summed(node("Pad", ["o", "p"], ["b"]), initializers=[pads, const("o", np.float32([1]))])


def loop(condition: str = "Identity") -> onnx.ModelProto:
    floats = helper.make_tensor_value_info
    first = node("Identity", ["c"], ["co"]) if condition == "Identity" else node(
        "Constant", [], ["co"], value=const("t", np.bool_(True))
    )  # fmt: skip
    body = helper.make_graph(
        [first, node("Add", ["a", "a"], ["ao"])], "b",
        [
            floats("i", TensorProto.INT64, []),
            floats("c", TensorProto.BOOL, []),
            floats("a", TensorProto.FLOAT, [1]),
        ],
        [floats("co", TensorProto.BOOL, []), floats("ao", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    counts = [const("n", np.int64(1 << 62)), const("t", np.bool_(True))]
    return onnx_of([node("Loop", ["n", "t", "x"], ["y"], body=body)], counts)


def many_inputs() -> onnx.ModelProto:
    model = onnx_of([node("Identity", ["x"], ["y"])])
    wide = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1 << 24]) for i in range(200)]
    model.graph.input.extend(wide)
    return model


def nested_loops() -> onnx.ModelProto:
    """Each makes a thousand rounds of the one in it."""
    model = loop()
    model.graph.initializer[0].CopyFrom(const("n", np.int64(1000)))
    for depth in range(3):
        again = onnx.NodeProto()
        again.CopyFrom(model.graph.node[0])
        again.input[2], again.output[0] = "a", "ao"
        outer = model.graph.node[0].attribute[0].g
        outer.node[1].CopyFrom(again)
        outer.name = f"round{depth}"
    return model


def sparse() -> onnx.ModelProto:
    model = onnx_of([node("MatMul", ["x", "w"], ["y"])], shape=[1, 40_000])
    held = model.graph.sparse_initializer.add(dims=[40_000, 40_000])
    held.values.CopyFrom(const("w", np.float32([1])))
    held.indices.CopyFrom(const("wi", np.int64([5])))
    return model


def sparse_constant() -> onnx.ModelProto:
    held = sparse().graph.sparse_initializer[0]
    return summed(node("Constant", [], ["b"], sparse_value=held))


def laughs() -> onnx.ModelProto:
    """Functions that call the one below twice."""
    functions = [
        helper.make_function(
            "own", f"f{i}", ["a"], ["c"],
            [node(*pair, domain="own" if i else "") for pair in (
                (f"f{i - 1}" if i else "Neg", ["a"], ["b"]), (f"f{i - 1}" if i else "Neg", ["b"], ["c"])
            )],
            [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)],
        )
        for i in range(31)
    ]  # fmt: skip
    return onnx_of([node("f30", ["x"], ["y"], domain="own")], functions=functions)


def itself() -> onnx.ModelProto:
    imports = [helper.make_opsetid("own", 1)]
    body = [node("f", ["a"], ["b"], domain="own")]
    return onnx_of(
        [node("f", ["x"], ["y"], domain="own")],
        functions=[helper.make_function("own", "f", ["a"], ["b"], body, imports)],
    )


def named_twice() -> onnx.ModelProto:
    model = itself()
    model.functions.append(model.functions[0])
    return model


def claimed(**fields: Any) -> onnx.ModelProto:
    """A weight whose shape says more than its bytes."""
    model = onnx_of([node("Add", ["x", "w"], ["y"])], [const("w", np.float32([1]))])
    tensor = model.graph.initializer[0]
    for key, value in fields.items():
        if isinstance(value, list):
            getattr(tensor, key)[:] = value
        else:
            setattr(tensor, key, value)
    return model


def typed_claim() -> onnx.ModelProto:
    model = claimed(dims=[1 << 30])
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].float_data.append(1.0)
    return model


CASES: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "fill": (fill, "its constants"),
    "fill by a constant node": (fill_of_a_constant_node, "its constants"),
    "expand": (expand, "its constants"),
    "tile": (tile, "its constants"),
    "range": (count_up, "its constants"),
    "doubled thirty times": (doubled, "its constants"),
    "outer product of two vectors": (outer, "its constants"),
    "three hundred constants": (many_small, "its constants"),
    "padding": (padded, "its constants"),
    "a loop that never ends": (loop, "never ends"),
    "a loop whose condition is constant": (lambda: loop("Constant"), "never ends"),
    "loops in loops": (nested_loops, "never ends: 1,001,000 rounds"),
    "a sparse initializer": (sparse, "its sparse tensors"),
    "a sparse constant": (sparse_constant, "its sparse tensors|not a valid"),
    "an unused input of gigabytes": (
        lambda: onnx_of([node("Identity", ["x"], ["y"])], shape=[1 << 20, 1 << 10]), "--max-dense"
    ),
    "two hundred inputs of 64 MB": (many_inputs, "inputs up to 'x3' take 268,435,.* --max-dense"),
    "functions that double": (laughs, "nodes once its functions"),
    "a function that calls itself": (itself, "calls itself"),
    "two functions of one name": (named_twice, "two functions of one name"),
    "a weight with too few bytes": (lambda: claimed(dims=[1 << 20]), "holds 4 bytes"),
    "a weight with too many bytes": (lambda: claimed(raw_data=bytes(64)), "holds 64 bytes"),
    "a weight of no type": (lambda: claimed(data_type=99), "unknown element type"),
    "a weight with a negative axis": (lambda: claimed(dims=[-1]), "negative dimension"),
    "a weight with an empty shape that overflows": (
        lambda: claimed(dims=[0, 1 << 40, 1 << 40], raw_data=b""), "a shape that nothing has"
    ),
    "a weight with a hundred axes": (lambda: claimed(dims=[1] * 100), "a shape that nothing has"),
    "a weight of numbers that are not there": (typed_claim, "claims 4,294,967,296 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "what"), CASES.values(), ids=CASES)
def test_model_that_costs_more_than_its_file_is_refused(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], what: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(make().SerializeToString())
    for read in (
        lambda: checkpoint.load(path).onnx_model,
        lambda: api.inspect(path),
        lambda: api.export(path, output=tmp_path / "out.onnx"),
    ):
        message = refused(tmp_path, read)
        assert re.search(what, message), message


def shared(folder: Path, count: int, size: int) -> Path:
    """`count` weights on the same bytes."""
    model = onnx_of([node("Identity", ["x"], ["y"])])
    for i in range(count):
        tensor = model.graph.initializer.add(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[size // 4])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "m.data"), ("offset", "0"), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
    (folder / "m.data").write_bytes(bytes(size))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_that_share_their_bytes_cost_what_they_become(tmp_path: Path) -> None:
    path = shared(tmp_path, 1200, 1 << 20)
    message = refused(tmp_path, lambda: checkpoint.load(path).onnx_model)
    assert "its external data" in message and "--max-dense" in message
    model = checkpoint.load(shared(tmp_path, 3, 1 << 20)).onnx_model
    assert model is not None and len(model.graph.initializer) == 3


def test_a_raised_limit_lets_a_large_constant_through(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(many_small().SerializeToString())
    with budget.raised(dense=2 << 30):
        assert checkpoint.load(path).onnx_model is not None


def test_a_loop_over_what_the_model_computes_is_read(tmp_path: Path) -> None:
    model = loop()
    del model.graph.initializer[0]
    length = [node("Shape", ["x"], ["s"]), node("Squeeze", ["s"], ["n"])]
    nodes = [*length, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert checkpoint.load(path).onnx_model is not None


def test_an_honest_loop_and_honest_functions_are_read(tmp_path: Path) -> None:
    model = loop()
    body = model.graph.node[0].attribute[0].g
    body.node[0].CopyFrom(node("Not", ["c"], ["co"]))  # it ends by itself
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert checkpoint.load(path).onnx_model is not None
