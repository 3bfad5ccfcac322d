"""What docs/operators.md says of NaN, infinity, range and batches, on the instruction set that is forced.

A program, because the target is chosen once a process: python -m tests.runtime.edges.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime

from sparse_export.exporter.rewrite import functions
from sparse_export.exporter.rewrite.op_spec import OpSpec
from sparse_export.formats import get
from sparse_export.runtime import session as runtime

from ..native.layers import SIGN_PREFIXES, Layer, Shape
from ..native.tables import OPERATORS
from .binary_builder import BinaryCase, pack_signs
from .builder import Array, Case, pack, sparse_weight

F32 = np.float32
SPECIALS = (np.nan, np.inf, -np.inf)
#: Rows of one call: the narrow kernels, the wide ones, and what lies across their tiles.
BATCHES = (1, 2, 3, 5, 8, 16, 17, 33)


def native(model: Any, **feeds: Array) -> Array:
    """The output of the native operators."""
    options = runtime.register(onnxruntime.SessionOptions())
    options.intra_op_num_threads = 1
    output: Array = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]
    return output


def cases(kind: str, rng: np.random.Generator) -> list[tuple[Case, tuple[int, ...]]]:
    """A matrix, a map, and a map of two pixels, with the shape of one input."""
    made: list[tuple[Case, tuple[int, ...]]] = []
    for shape, x in (((24, 640), (640,)), ((8, 16, 3, 3), (16, 9, 9)), ((8, 16, 3, 3), (16, 1, 2))):
        pads = (1, 1, 1, 1)
        if kind == "Sparse":
            made.append((Case(sparse_weight(rng, shape, 0.1), pads=pads), x))
        else:
            weight = np.where(rng.random(shape) < 0.5, -1, 1).astype(F32)
            made.append((BinaryCase(weight, pads=pads, xnor=kind == "Xnor"), x))
    return made


def check_specials(kind: str, rng: np.random.Generator) -> None:
    """NaN and infinities reach exactly the outputs that a non-zero weight connects them to."""
    for case, shape in cases(kind, rng):
        for special in SPECIALS:
            for batch in (1, 20):
                x = rng.standard_normal((batch, *shape)).astype(F32)
                at = tuple(int(rng.integers(size)) for size in shape)
                x[(0, *at)] = special
                with np.errstate(invalid="ignore"):
                    expected = reached(case, x[:1], at, special)
                found = native(case.model(), x=x)
                same_class(found[:1], expected)
                assert np.isfinite(found[1:]).all(), "another row was touched"


def reached(case: Case, x: Array, at: tuple[int, ...], special: float) -> Array:
    """The output for one input value replaced by `special`: what only non-zero weights hand on."""
    if isinstance(case, BinaryCase) and case.xnor:
        return case.reference(x)[0]
    rest, one = x.copy(), np.zeros_like(x)
    rest[(0, *at)], one[(0, *at)] = 0, 1
    plain = Case(case.weight, pads=case.pads, scale=np.ones_like(case.scale), bias=np.zeros_like(case.bias))
    weights = plain.reference(one)[0] * np.sign(case.scale[0])
    return np.where(weights != 0, weights * special, 0) + case.reference(rest)[0]


def same_class(found: Array, expected: Array) -> None:
    """NaN where NaN is expected, the same infinity where one is, finite elsewhere."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(np.isinf(found), infinite)
    np.testing.assert_array_equal(np.sign(found[infinite]), np.sign(expected[infinite]))


def check_zero_weight_in_a_stock_runtime() -> None:
    """The function is the dense layer: there a zero weight hands NaN on."""
    case = Case(np.array([[0, 2], [3, 0]], F32), scale=np.ones(2, F32), bias=np.zeros(2, F32))
    model = case.model()
    model.functions.append(functions.build(OpSpec(get("csr"), "MatMul"), 21))
    x = np.array([[np.nan, 1], [1, np.inf]], F32)
    stock = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(stock, np.array([[np.nan, np.nan], [np.inf, np.nan]], F32))
    np.testing.assert_array_equal(native(model, x=x), np.array([[2, np.nan], [np.inf, 3]], F32))


def check_formats(rng: np.random.Generator) -> None:
    """Whatever form a format runs in: a weight that is zero hands nothing on, for few rows and for many."""
    for operator in OPERATORS:
        if operator.layer != "MatMul" or operator.suffix or operator.prefix in SIGN_PREFIXES:
            continue
        for batch in (1, 5, 40):
            layer = Layer(operator, Shape((24, 70), batch=(batch,)), rng)
            for special in SPECIALS:
                x = layer.feeds["x"].copy()
                x[0, 41] = special
                found = native(onnx.load_from_string(layer.model()), x=x)
                reached = (layer.weight[:, 41] != 0) & (layer.scale != 0)
                assert (np.isfinite(found[0]) == ~reached).all(), (operator.name, batch, special)
                np.testing.assert_array_equal(found[1:], layer.expected[1:])


def check_filler() -> None:
    """A stored zero is multiplied; the zeros beside it are not."""
    weight = np.zeros((16, 2048), F32)
    weight[:, :100], weight[0, 1500] = 1, 2
    parts = pack(weight)
    row = slice(0, int(parts["indptr"][1]))
    columns = np.cumsum(parts["gaps"][row].astype(int) + 1) - 1
    filler = int(columns[parts["values"][row] == 0][0])
    for batch in (1, 20):
        for column, is_nan in ((filler, True), (filler + 1, False)):
            x = np.ones((batch, 2048), F32)
            x[:, column] = np.nan
            found = native(Case(weight).model(), x=x)
            assert np.isnan(found[:, 0]).all() == is_nan and np.isfinite(found[:, 1:]).all()


def check_bounds() -> None:
    """NaN passes Relu and Clip, infinities are bounded."""
    x = np.array([[np.nan], [np.inf], [-np.inf]], F32)
    for suffix, expected in (("Relu", [np.nan, np.inf, 0]), ("Clip", [np.nan, 1.5, -0.5])):
        for case in (Case(np.ones((1, 1), F32), suffix), BinaryCase(np.ones((1, 1), F32), suffix)):
            np.testing.assert_array_equal(native(case.model(), x=x)[:, 0], np.array(expected, F32))


def check_range(rng: np.random.Generator) -> None:
    """1-bit weights: finite and right as long as the sum of |x| is at most half the range of float32."""
    columns = 640
    weight = np.where(rng.random((24, columns)) < 0.5, -1, 1).astype(F32)
    weight[0], weight[1] = 1, -1
    case = BinaryCase(weight, scale=np.full(24, 1e-3, F32), bias=np.zeros(24, F32))
    for signs in (np.ones(columns), np.where(np.arange(columns) < columns // 2, 1, -1), weight[2]):
        for batch in (1, 20):
            x = np.tile((signs * (1.7e38 / columns)).astype(F32), (batch, 1))
            y, size = case.reference(x)
            found = native(case.model(), x=x)
            assert np.isfinite(found).all()
            assert (np.abs(found - y) <= np.finfo(F32).eps * (columns + 4) * size).all()


def check_batches(kind: str, rng: np.random.Generator) -> None:
    """A row alone and in a batch: the same bits from Xnor, from the others within twice the bound."""
    for case, shape in cases(kind, rng):
        x = rng.standard_normal((max(BATCHES), *shape)).astype(F32)
        whole, size = native(case.model(), x=x), case.reference(x)[1]
        terms = int(np.prod(case.weight.shape[1:]))
        for batch in BATCHES:
            found = native(case.model(), x=x[:batch])
            if kind == "Xnor":
                assert found.tobytes() == whole[:batch].tobytes()
            bound = 2 * np.finfo(F32).eps * (terms + 4) * size[:batch]
            assert (np.abs(found - whole[:batch]) <= bound).all()


def check_packed_signs() -> None:
    """NaN and minus infinity are negative, packed too; both zeros and infinity are not."""
    x = np.array([[np.nan, -np.inf, np.inf, -0.0, 0.0, 1, -1, 2]], F32)
    one = np.ones((1, 8), F32)
    floats = native(BinaryCase(one, xnor=True, scale=np.ones(1, F32), bias=np.zeros(1, F32)).model(), x=x)
    case = BinaryCase(one, xnor=True, packed_x=True, scale=np.ones(1, F32), bias=np.zeros(1, F32))
    assert floats.item() == 2 and native(case.model(), x=pack_signs(x, False)).item() == 2


def main() -> int:
    """Run every check; the first that fails raises."""
    rng = np.random.default_rng(0)
    for kind in ("Sparse", "BinaryWeight", "Xnor"):
        check_specials(kind, rng)
        check_batches(kind, rng)
    check_zero_weight_in_a_stock_runtime()
    check_formats(rng)
    check_filler()
    check_bounds()
    check_range(rng)
    check_packed_signs()
    return 0


if __name__ == "__main__":
    sys.exit(main())
