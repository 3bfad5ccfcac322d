"""`verify` refuses files that compute something else, however small the difference looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from sparse_export import InputError, VerificationError, verify

from .models import chain, linear, save, value, weight


def refuses(source: Path, file: Path, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        verify(source, file)


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.01])
@pytest.mark.parametrize("size", [1e-7, 1e-30, 1e6])
def test_outputs_are_judged_by_their_own_size(tmp_path: Path, size: float, factor: float) -> None:
    w = weight(64, 64) * np.float32(size)
    a, b = linear(tmp_path / "a.onnx", w), linear(tmp_path / "b.onnx", w * np.float32(factor))
    refuses(a, b, "differs by up to")


@pytest.mark.parametrize("factor", [1e5, 1e9])
@pytest.mark.parametrize("large", [1, 63])
def test_small_columns_beside_large_ones_count(tmp_path: Path, large: int, factor: float) -> None:
    w = weight(64, 64, density=1)
    w[:, :large] *= np.float32(factor)
    wrong = w.copy()
    wrong[:, large:] *= -1
    refuses(linear(tmp_path / "a.onnx", w), linear(tmp_path / "b.onnx", wrong), "own channel or row")


def test_a_faint_channel_of_an_image_counts(tmp_path: Path) -> None:
    w = weight(8, 3, 3, 3, density=1)
    w[0] *= np.float32(1e6)
    wrong = w.copy()
    wrong[5] *= -1
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, array in zip(paths, (w, wrong), strict=True):
        node = helper.make_node("Conv", ["x", "w"], ["y"])
        save(path, [node], {"w": array}, [("x", ["n", 3, 9, 9])], [("y", ["n", 8, 7, 7])])
    refuses(*paths, "differs by up to")


@pytest.mark.parametrize("sharpness", [1e-4, 1e-3, 1.0])
def test_probabilities_near_uniform_are_judged_by_what_varies(tmp_path: Path, sharpness: float) -> None:
    w, paths = weight(64, 1000, density=1), [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, array in zip(paths, (w, np.roll(w, 1, 1)), strict=True):
        steps = [("MatMul", ["w"]), ("Mul", ["k"]), ("Softmax", [])]
        chain(path, steps, {"w": array, "k": np.float32(sharpness)}, [("x", ["n", 64])])
    refuses(*paths, "differs by up to")


def test_class_numbers_are_equal_or_wrong(tmp_path: Path) -> None:
    w = weight(64, 2000, density=1)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ArgMax", ["a"], ["q"], axis=-1, keepdims=0),
        helper.make_node("Add", ["q", "k"], ["y"]),
    ]
    paths = []
    for off in (0, 7):
        constants = {"w": w, "k": np.int64(off)}
        output = value("y", ["n"], TensorProto.INT64)
        paths.append(save(tmp_path / f"{off}.onnx", nodes, constants, [("x", ["n", 64])], [output]))
    refuses(*paths, "differs in 6 of 6 values")


def test_another_dtype_is_another_output(tmp_path: Path) -> None:
    w = weight(64, 64)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Cast", ["a"], ["y"], to=11)]
    output = value("y", ["n", 64], TensorProto.DOUBLE)
    wide = save(tmp_path / "b.onnx", nodes, {"w": w}, [("x", ["n", 64])], [output])
    refuses(linear(tmp_path / "a.onnx", w), wide, r"tensor\(double\)")


def test_names_of_inputs_and_outputs_are_part_of_a_model(tmp_path: Path) -> None:
    w = weight(64, 64)
    source = linear(tmp_path / "a.onnx", w)
    refuses(source, linear(tmp_path / "b.onnx", w, y="other"), "gives other, the source y")
    refuses(source, linear(tmp_path / "c.onnx", w, x="other"), "takes the inputs other, the source x")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    more = save(tmp_path / "d.onnx", [node], {"w": w}, [("x", ["n", 64]), ("extra", [1])], [("y", ["n", 64])])
    refuses(source, more, "inputs x, extra")


def test_order_of_outputs_is_part_of_a_model(tmp_path: Path) -> None:
    w = weight(64, 64)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    orders = [["a", "b"], ["b", "a"]]
    paths = [
        save(
            tmp_path / f"{order[0]}.onnx",
            nodes,
            {"w": w},
            [("x", ["n", 64])],
            [(o, ["n", 64]) for o in order],
        )
        for order in orders
    ]
    refuses(*paths, "gives b, a, the source a, b")


@pytest.mark.parametrize("steps", [[("Sub", ["x"]), ("Log", []), ("Mul", ["zero"])], [("Sub", ["x"])]])
def test_nan_and_zero_everywhere_are_no_evidence(tmp_path: Path, steps: list[tuple[str, list[str]]]) -> None:
    paths = []
    for place, w in enumerate((weight(64, 64), weight(64, 64, seed=1))):
        all_steps = [("MatMul", ["w"]), ("Sub", ["s"]), *steps[1:]]
        nodes, last = [], "x"
        for number, (op, others) in enumerate(all_steps):
            result = "y" if number == len(all_steps) - 1 else f"t{number}"
            nodes.append(helper.make_node(op, [last, *("t0" if o == "s" else o for o in others)], [result]))
            last = result
        constants = {"w": w, "zero": np.float32(0)}
        paths.append(
            save(tmp_path / f"{place}.onnx", nodes, constants, [("x", ["n", 64])], [("y", ["n", 64])])
        )
    with pytest.raises(InputError, match="--input"):
        verify(*paths)


def test_an_attention_mask_gets_values_that_leave_something_to_compare(tmp_path: Path) -> None:
    paths = []
    for place, w in enumerate((weight(64, 64), weight(64, 64) * 5 + 1)):
        nodes = [
            helper.make_node("Cast", ["attention_mask"], ["m"], to=1),
            helper.make_node("Sub", ["one", "m"], ["i"]),
            helper.make_node("Mul", ["i", "big"], ["bias"]),
            helper.make_node("MatMul", ["x", "w"], ["s"]),
            helper.make_node("Add", ["s", "bias"], ["sb"]),
            helper.make_node("Softmax", ["sb"], ["y"], axis=-1),
        ]
        constants = {"w": w, "one": np.float32(1), "big": np.float32(-3.4e38)}
        inputs = [("x", [1, 64]), value("attention_mask", [1, 64], TensorProto.INT64)]
        paths.append(save(tmp_path / f"{place}.onnx", nodes, constants, inputs, [("y", [1, 64])]))
    refuses(*paths, "differs by up to")
    assert verify(paths[0], paths[0]).passed


def test_what_only_a_rare_branch_computes_is_compared_too(tmp_path: Path) -> None:
    paths = []
    for place in (0, 1):
        branches = {}
        for name, node in (
            ("then_branch", helper.make_node("MatMul", ["a", f"w{place}"], ["t"])),
            ("else_branch", helper.make_node("Identity", ["a"], ["t"])),
        ):
            branches[name] = helper.make_graph([node], name, [], [value("t", ["n", 64])])
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("ReduceMax", ["x"], ["mx"], keepdims=0),
            helper.make_node("Greater", ["mx", "k"], ["c"]),
            helper.make_node("If", ["c"], ["y"], **branches),
        ]
        constants = {"w": weight(64, 64), f"w{place}": weight(64, 64, seed=place + 1), "k": np.float32(50)}
        paths.append(save(tmp_path / f"{place}.onnx", nodes, constants, [("x", [2, 64])], [("y", [2, 64])]))
    refuses(*paths, "differs by up to")
