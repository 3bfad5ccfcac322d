"""Golden models: one for each prefix and layer, with every operator of that family as a node.

Usage: python -m tools.goldens.operators [--check]. Writes those that are missing; never rewrites one.

Beside each `.onnx` stands a `.safetensors` with the inputs and the outputs that the model must give, computed
by numpy alone. Every number and every sum is exact in float32, so the outputs are compared bit for bit, in
whatever runtime and whatever order it adds.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from sparse_export import formats
from sparse_export.exporter.graph.activations import ACTIVATIONS
from sparse_export.exporter.graph.domain import DOMAIN, OPSET
from sparse_export.exporter.rewrite import functions, weight_functions
from sparse_export.exporter.rewrite.op_spec import PACKED, POOL, SIGN, OpSpec
from tests.native.layers import GOLDEN, Array, Layer, pool_case, weight_of
from tests.native.quantized import QuantizedLayer
from tests.native.tables import Operator

HERE = Path(__file__).resolve().parents[2] / "tests" / "golden" / "onnx"
#: Activations of a family's first file, which is never rewritten: a later one has files of its own.
FIRST = ("", "Relu", "Clip")
LATER = tuple(name for name in ACTIVATIONS if name not in FIRST)
INTEGER_SUFFIXES = {"QConv": ("", "Add", "Float"), "QMatMul": ("", "Float")}
#: IR version of onnxruntime 1.20, the oldest that files are promised for.
IR_VERSION = 10

Golden = tuple[onnx.ModelProto, dict[str, Array]]


def prefixes() -> Iterator[tuple[str, formats.Format]]:
    """Every prefix of an operator with a weight, and the format whose components it reads."""
    for fmt in formats.all_formats():
        if fmt.operator is not None:
            yield fmt.operator, fmt
        if fmt.sign_operator is not None:
            yield fmt.sign_operator, fmt
            yield f"{fmt.sign_operator}{PACKED}", fmt


def family(prefix: str, fmt: formats.Format, layer: str, activations: tuple[str, ...] = FIRST) -> Golden:
    """The model of all operators of a family on one input and weight, and what goes in and comes out."""
    suffixes = [*activations, *(f"Add{name}" for name in activations if layer == "Conv")]
    signs, packed = prefix != fmt.operator, prefix.endswith(PACKED)
    model = onnx.ModelProto(ir_version=IR_VERSION)
    tensors: dict[str, Array] = {}
    for suffix in (*suffixes, *([SIGN] if signs and activations is FIRST else [])):
        x, y = (TensorProto.UINT8 if bits else TensorProto.FLOAT for bits in (packed, suffix == SIGN))
        name = f"{prefix}{layer}{suffix}"
        operator = Operator(name, "", prefix, layer, suffix, fmt.operator_inputs, x, y)
        # The same numbers for every suffix: one weight and one input serve all.
        one = Layer(operator, GOLDEN[layer], np.random.default_rng(zlib.crc32(f"{prefix}{layer}".encode())))
        part = onnx.load_from_string(one.model())
        spec = OpSpec(fmt, layer, suffix.startswith("Add"), suffix.removeprefix("Add"), packed)
        tensors |= one.feeds | {name: one.expected.astype(np.uint8 if y == TensorProto.UINT8 else np.float32)}
        _append(model, part, name)
        model.functions.append(functions.build(spec, OPSET))
    return model, tensors


def of_integers() -> Iterator[formats.Format]:
    """Formats that hold int8 values and nothing beside them that scales them."""
    codes = formats.TensorStats(np.tile(np.array([[3, 0, 0, 0]], np.int8), (16, 4)))
    for fmt in formats.packable():
        if fmt.operator is not None and fmt.scale_component is None and fmt.applies_to(codes):
            yield fmt


def integers(fmt: formats.Format, layer: str) -> Golden:
    """The model of all operators of integers of a format and layer, on one input and weight."""
    model = onnx.ModelProto(ir_version=IR_VERSION)
    tensors: dict[str, Array] = {}
    prefix = str(fmt.operator)
    for suffix in INTEGER_SUFFIXES[layer]:
        y = TensorProto.FLOAT if suffix == "Float" else TensorProto.UINT8
        name = f"{prefix}{layer}{suffix}"
        operator = Operator(name, "", prefix, layer, suffix, fmt.operator_inputs, TensorProto.UINT8, y)
        rng = np.random.default_rng(zlib.crc32(f"{prefix}{layer}".encode()))
        one = QuantizedLayer(operator, GOLDEN[layer.removeprefix("Q")], rng, signed=False, exact=True)
        tensors |= one.feeds | {name: one.expected}
        _append(model, onnx.load_from_string(one.model()), name)
        spec = OpSpec(fmt, layer, suffix == "Add", suffix.removeprefix("Add"))
        model.functions.append(functions.build(spec, OPSET))
    return model, tensors


def weight(fmt: formats.Format) -> Golden:
    """The model that gives a format's weight itself, as float32, float16 and float64."""
    model = onnx.ModelProto(ir_version=IR_VERSION)
    tensors: dict[str, Array] = {}
    for dtype in map(np.dtype, (np.float32, np.float16, np.float64)):
        dense = weight_of(fmt, (8, 12, 3, 3), np.random.default_rng(1)).astype(dtype)
        if not fmt.applies_to(formats.TensorStats(dense)):
            continue
        twin, packed = weight_functions.twin_of(dtype), fmt.pack(dense).components
        function = weight_functions.build(fmt, twin, OPSET)
        output = f"{function.name}_{dtype.name}"
        named = {f"{output}_{part}": np.asarray(packed[part]) for part in weight_functions.parts(fmt)}
        attributes = {"shape": dense.shape} | ({"to": twin.to} if twin.to else {})
        node = helper.make_node(function.name, list(named), [output], domain=DOMAIN, **attributes)
        value = helper.make_tensor_value_info(output, helper.np_dtype_to_tensor_dtype(dtype), None)
        inits = [numpy_helper.from_array(array, name) for name, array in named.items()]
        graph = helper.make_graph([node], "one", [], [value], inits)
        _append(model, helper.make_model(graph), output)
        model.functions.append(function)
        tensors[output] = dense
    return model, tensors


def _append(model: onnx.ModelProto, part: onnx.ModelProto, output: str) -> None:
    """Add the one node of `part`, giving `output`, and what of its inputs and weights is not there yet."""
    graph = model.graph
    graph.name = "golden"
    part.graph.node[0].output[0] = part.graph.output[0].name = output
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    graph.input.extend(value for value in part.graph.input if value.name not in known)
    graph.initializer.extend(tensor for tensor in part.graph.initializer if tensor.name not in known)
    graph.node.extend(part.graph.node)
    graph.output.extend(part.graph.output)
    if not model.opset_import:
        model.opset_import.add(domain="", version=OPSET)
        model.opset_import.add(domain=DOMAIN, version=1)


def pooling() -> Golden:
    """The model of the one operator without a weight."""
    data, x, y = pool_case(np.random.default_rng(1))
    model = onnx.ModelProto(ir_version=IR_VERSION)
    _append(model, onnx.load_from_string(data), POOL)
    model.functions.append(functions.pool(OPSET))
    return model, {"x": x, POOL: y}


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 1 where a file is missing and only a check was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is missing")
    check = parser.parse_args(arguments).check
    makers: dict[str, Callable[[], Golden]] = {
        f"{prefix}{layer}-v1.onnx": partial(family, prefix, fmt, layer)
        for prefix, fmt in prefixes()
        for layer in GOLDEN
    }
    for prefix, fmt in prefixes():
        for layer, name in itertools.product(GOLDEN, LATER):
            makers[f"{prefix}{layer}{name}-v1.onnx"] = partial(family, prefix, fmt, layer, (name,))
    for fmt in of_integers():
        for layer in INTEGER_SUFFIXES:
            makers[f"{fmt.operator}{layer}-v1.onnx"] = partial(integers, fmt, layer)
    for fmt in formats.packable():
        makers[f"{fmt.operator}Weight-v1.onnx"] = partial(weight, fmt)
    makers[f"{POOL}-v1.onnx"] = pooling
    missing = [name for name in makers if not (HERE / name).exists()]
    if check:
        print("".join(f"missing: tests/golden/onnx/{name}\n" for name in missing), end="")
        return int(bool(missing))
    HERE.mkdir(exist_ok=True)
    for name in missing:
        model, tensors = makers[name]()
        (HERE / name).write_bytes(model.SerializeToString(deterministic=True))
        save_file(
            {key: np.ascontiguousarray(value) for key, value in tensors.items()},
            (HERE / name).with_suffix(".safetensors"),
        )
        print(f"tests/golden/onnx/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
