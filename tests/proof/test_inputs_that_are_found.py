"""Exports without options: inputs that the source accepts are found, whatever it demands of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from sparse_export import InputError, export
from sparse_export.cli import run
from sparse_export.runtime import trials
from sparse_export.runtime.inputs import InputSpec, draw
from sparse_export.runtime.stock import RunError

from .models import save, value, weight

INT = TensorProto.INT64
Made = Callable[[Path], Path]


def embedding(rows: int, steps: tuple[str, ...] = ()) -> Made:
    """Ids, through operators that keep or shift them, into a table of so many rows."""

    def make(path: Path) -> Path:
        nodes, last = [], "ids"
        for place, op in enumerate(steps):
            attributes = {"to": int(INT)} if op == "Cast" else {}
            others = {"Add": ["one"], "Reshape": ["flat"]}.get(op, [])
            nodes.append(helper.make_node(op, [last, *others], [f"i{place}"], **attributes))
            last = f"i{place}"
        nodes += [
            helper.make_node("Gather", ["e", last], ["a"]),
            helper.make_node("MatMul", ["a", "w"], ["y"]),
        ]
        constants = {
            "e": weight(rows, 64, density=1),
            "w": weight(64, 64),
            "one": np.int64(1),
            "flat": np.array([-1]),
        }
        used = {name for node in nodes for name in node.input}
        kind = TensorProto.FLOAT if "Cast" in steps else INT
        kept = {name: array for name, array in constants.items() if name in used}
        return save(path, nodes, kept, [value("ids", ["n"], kind)], [("y", ["n", 64])])

    return make


def recurrent(path: Path) -> Path:
    """A GRU with its state [1, batch, 32] as an input."""
    nodes = [helper.make_node("GRU", ["x", "w", "r", "", "", "h"], ["all", "y"], hidden_size=32)]
    nodes.append(helper.make_node("MatMul", ["y", "m"], ["z"]))
    constants = {"w": weight(1, 96, 16), "r": weight(1, 96, 32), "m": weight(32, 64)}
    inputs = [("x", ["t", "n", 16]), ("h", [1, "n", 32])]
    return save(path, nodes, constants, inputs, [("z", [1, "n", 64]), ("y", [1, "n", 32])])


def flagged(path: Path) -> Path:
    """A boolean scalar that chooses, and a float scalar that is added."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "shift"], ["b"]),
        helper.make_node("Where", ["flag", "a", "b"], ["y"]),
    ]
    inputs = [("x", ["n", 64]), value("flag", [], TensorProto.BOOL), ("shift", [])]
    return save(path, nodes, {"w": weight(64, 64)}, inputs, [("y", ["n", 64])])


def baked(path: Path) -> Path:
    """An input that says N and a Reshape that takes a batch of 1 alone."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    constants = {"s": np.array([1, 128]), "w": weight(128, 64)}
    return save(path, nodes, constants, [("x", ["N", 4, 32])], [("y", ["M", 64])])


def unnamed_image(path: Path) -> Path:
    """Every dimension of the input is open."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["p"])]
    nodes.append(helper.make_node("Flatten", ["p"], ["y"]))
    return save(path, nodes, {"w": weight(32, 6, 5, 5)}, [("x", [None] * 4)], [("y", [None, 32])])


def texts(path: Path) -> Path:
    nodes = [helper.make_node("Identity", ["s"], ["z"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs = [("x", [2, 64]), value("s", [3], TensorProto.STRING)]
    return save(
        path, nodes, {"w": weight(64, 64)}, inputs, [("y", [2, 64]), value("z", [3], TensorProto.STRING)]
    )


def sequences(path: Path) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("SplitToSequence", ["a"], ["y"], axis=0),
    ]
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    return save(path, nodes, {"w": weight(64, 64)}, [("x", [2, 64])], [output])


def gated(path: Path) -> Path:
    """Zero unless every input is far below zero."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["mx"], keepdims=0),
        helper.make_node("Less", ["mx", "k"], ["c"]),
        helper.make_node("Cast", ["c"], ["f"], to=1),
        helper.make_node("Mul", ["x", "f"], ["xm"]),
        helper.make_node("MatMul", ["xm", "w"], ["y"]),
    ]
    return save(path, nodes, {"w": weight(64, 64), "k": np.float32(-50)}, [("x", [2, 64])], [("y", [2, 64])])


@pytest.mark.parametrize(
    "make",
    [
        embedding(28),
        embedding(4),
        embedding(3, ("Add", "Reshape")),
        embedding(5, ("Cast",)),
        *(recurrent, flagged, baked, unnamed_image, texts, sequences, gated),
    ],
)
def test_proven_without_options(make: Made, tmp_path: Path) -> None:
    report = export(make(tmp_path / "m.onnx"), output=tmp_path / "out.onnx")
    assert report.verification is not None and report.verification.passed
    assert not report.verification.unproven and report.verification.inputs == 3
    assert report.verification.runtimes[0] == "stock onnxruntime"


def test_an_output_that_never_changes_is_written_but_not_called_proven(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(embedding(1)(tmp_path / "m.onnx"))]) == 0  # a table of one row: every id is the same
    told = capsys.readouterr().out
    assert "not proven" in told and "verified" not in told and "1 tensors bit for bit" in told


def test_a_batch_that_is_baked_in_is_said(tmp_path: Path) -> None:
    report = export(baked(tmp_path / "m.onnx"), output=tmp_path / "out.onnx")
    assert report.verification is not None
    assert "at batch 1" in " ".join(report.verification.notes)


def test_refuses_before_planning_what_no_input_is_found_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    constants = {"s": np.array([11, 64]), "w": weight(64, 64)}
    path = save(tmp_path / "m.onnx", nodes, constants, [("x", ["n", "m"])], [("y", [11, 64])])
    for more in ([], ["--dry-run"]):
        assert run([str(path), *more]) == 2
        line = capsys.readouterr().err
        assert "--input data.npz" in line and line.count("\n") == 1
    assert run([str(path), "--input-shape", "x=11x64"]) == 0
    np.savez(tmp_path / "in.npz", x=np.random.default_rng(0).standard_normal((22, 32)))
    assert run([str(path), "--force", "--input", str(tmp_path / "in.npz")]) == 0
    assert run(["verify", str(path), str(tmp_path / "m.auto.onnx"), "--input", str(tmp_path / "in.npz")]) == 0


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros((1, 64))}, "no input is named z"),
        ({"x": np.zeros((1, 63))}, "63 in dimension 1"),
        ({"x": np.zeros(64)}, "has 1 dimensions"),
    ],
)
def test_given_arrays_that_do_not_fit_are_named(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", **arrays, **{} if "x" in arrays else {"x": np.zeros((1, 64))})  # type: ignore[arg-type]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save(tmp_path / "m.onnx", [node], {"w": weight(64, 64)}, [("x", ["n", 64])], [("y", ["n", 64])])
    with pytest.raises(InputError, match=message):
        export(path, input=tmp_path / "in.npz", dry_run=True)


def test_a_model_that_never_ends_is_given_up() -> None:
    def refuse(feeds: dict[str, object]) -> list[object]:
        raise RunError("the model: not done after 1 s")

    with pytest.raises(InputError, match=r"not done after 1 s.*--input"):
        trials.search([InputSpec("x", ("n", "m"), "float32")], refuse)


def test_what_is_random_says_so(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("RandomUniformLike", ["a"], ["q"]),
        helper.make_node("Add", ["a", "q"], ["y"]),
    ]
    args = (nodes, {"w": weight(64, 64)}, [("x", [2, 64])])
    alone = save(tmp_path / "m.onnx", *args, [("y", [2, 64])])
    with pytest.raises(InputError, match="random"):
        export(alone, output=tmp_path / "out.onnx")
    both = save(tmp_path / "n.onnx", *args, [("y", [2, 64]), ("a", [2, 64])])
    result = export(both, output=tmp_path / "out.onnx").verification
    assert result is not None and not result.unproven
    assert [verdict.unproven[:6] for verdict in result.outputs] == ["random", ""]


@pytest.mark.parametrize("kind", ["bool", "int32", "uint8", "float32"])
def test_masks_are_drawn_in_the_type_of_their_input(kind: str) -> None:
    drawn = draw(InputSpec("attention_mask", (2, 9), kind), (2, 9), np.random.default_rng(0))
    assert drawn.dtype == np.dtype(kind) and set(np.unique(drawn)) == {0, 1} and drawn[:, 0].all()
