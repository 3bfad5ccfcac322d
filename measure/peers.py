"""What a user would pick instead, made from the same dense model in the same run.

A peer that cannot be made (an operator that its tool does not know, a package that is missing) becomes
a note in the report, never the end of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SparseExportError
from ..text import one_line
from .onnx_files import all_files, read_model
from .peer_int8 import LABEL, make_int8, packed
from .silence import silence
from .subjects import Subject

#: COO of sparse_initializer takes 8 bytes an index and 4 a value: from this density on it is larger.
_SPARSE_DENSITY = 1 / 3


def _save(model: Any, target: Path) -> None:
    """Write the model, its weights beside it where one protobuf cannot hold them."""
    import onnx

    large = sum(len(t.raw_data) for t in model.graph.initializer) > (1 << 31) - (1 << 24)
    onnx.save(model, target, save_as_external_data=large, location=f"{target.name}.data")


def make_fp16(dense: Path, target: Path) -> None:
    """Weights and arithmetic in float16; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _save(convert_float_to_float16(read_model(dense), keep_io_types=True), target)


def make_matmul_nbits(dense: Path, target: Path) -> None:
    """4-bit MatMulNBits for every linear layer, in its fast setting (block 128, accuracy level 4).

    Raises
    ------
    ValueError
        If the model has no linear layer with a constant weight.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = _gemm_to_matmul(read_model(dense))
    quantizer = MatMulNBitsQuantizer(model, block_size=128, is_symmetric=True, accuracy_level=4, bits=4)
    quantizer.process()
    made = quantizer.model.model
    if not any(node.op_type == "MatMulNBits" for node in made.graph.node):
        raise ValueError("no linear layer to quantize")
    _save(made, target)


def _gemm_to_matmul(model: Any) -> Any:
    """Plain Gemm (alpha = beta = 1, input not transposed) as MatMul and Add, which MatMulNBits replaces."""
    import onnx

    tensors = {t.name: t for t in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = (
            options.get("alpha", 1.0) == 1.0
            and options.get("beta", 1.0) == 1.0
            and not options.get("transA", 0)
        )
        if node.op_type != "Gemm" or not plain or node.input[1] not in tensors:
            nodes.append(node)
            continue
        weight = onnx.numpy_helper.to_array(tensors[node.input[1]])
        if options.get("transB", 0):
            weight = np.ascontiguousarray(weight.T)
        name, bias = f"{node.input[1]}.matmul", list(node.input[2:3])
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
        product = f"{node.output[0]}.product" if bias else node.output[0]
        nodes.append(
            onnx.helper.make_node("MatMul", [node.input[0], name], [product], name=f"{node.name}.matmul")
        )
        if bias:
            nodes.append(
                onnx.helper.make_node("Add", [product, *bias], [node.output[0]], name=f"{node.name}.add")
            )
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def make_sparse_initializer(dense: Path, target: Path) -> None:
    """ONNX's own sparse storage: int64 positions and values for every weight that it makes smaller.

    Raises
    ------
    ValueError
        If it would make no weight smaller.
    """
    import onnx

    model = read_model(dense)
    kept, sparse = [], []
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        positions = np.flatnonzero(array)
        if array.dtype != np.float32 or array.ndim < 2 or positions.size >= _SPARSE_DENSITY * array.size:
            kept.append(tensor)
            continue
        values = onnx.numpy_helper.from_array(array.reshape(-1)[positions], tensor.name)
        indices = onnx.numpy_helper.from_array(positions.astype(np.int64), f"{tensor.name}_indices")
        sparse.append(onnx.helper.make_sparse_tensor(values, indices, list(array.shape)))
    if not sparse:
        raise ValueError("no weight has two thirds of zeros")
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.sparse_initializer.extend(sparse)
    _save(model, target)


def make_portable(dense: Path, target: Path) -> None:
    """Packed, in standard operators alone.

    Raises
    ------
    ValueError
        If packing would make no weight smaller.
    """
    from ..exporter import api

    report = api.export(dense, output=target, portable=True, verify=False)
    if all(row["format"] == "dense" for row in report.layers):
        raise ValueError("no weight gets smaller")


_MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "fp16": make_fp16,
    "4-bit MatMulNBits": make_matmul_nbits,
    "sparse_initializer": make_sparse_initializer,
}


def make(
    dense: Path,
    folder: Path,
    seed: int,
    given: str | None,
    progress: Callable[[str], None] | None = None,
    calibrate: str | None = None,
) -> Iterator[tuple[Subject | None, str]]:
    """Every peer of a dense model: the subject, or None and why there is none.

    Parameters
    ----------
    folder
        Where the files are written; the caller removes it.
    given
        The `--input` file, on which INT8 is calibrated if nothing else is given.
    calibrate
        Calibration data of INT8: an .npz file or a data set of the lab.
    """
    makers: dict[str, Callable[[Path, Path], None]] = {
        LABEL: partial(make_int8, seed=seed, given=given, calibrate=calibrate),
        **_MAKERS,
    }
    for number, (label, maker) in enumerate(makers.items()):
        if progress:
            progress(f"making peer: {label}")
        target = folder / f"peer{number}.onnx"
        try:
            with silence():
                maker(dense, target)
        except SparseExportError:
            raise
        except Exception as error:  # these tools fail in ways of their own; the run goes on without the peer
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            yield None, f"{label}: not made ({one_line(reason)})"
            continue
        files = tuple(all_files(target))
        yield Subject(f"p{number}", label, target, "onnxruntime", "peer", files=files), ""
        if label == LABEL:
            yield from packed(target, folder)
    yield from _openvino(dense, folder)


def _openvino(dense: Path, folder: Path) -> Iterator[tuple[Subject | None, str]]:
    """In OpenVINO as it comes (bf16 where the CPU has it), if it is installed: dense, and packed portably."""
    from importlib.util import find_spec

    if find_spec("openvino") is None:
        yield None, "OpenVINO: not installed (pip install openvino)"
        return
    label = "OpenVINO (default precision)"
    yield Subject("pov", label, dense, "openvino", "peer", files=tuple(all_files(dense))), ""
    target = folder / "portable.onnx"
    try:
        with silence():
            make_portable(dense, target)
    except (SparseExportError, ValueError) as error:
        yield None, f"packed in OpenVINO: not made ({one_line(str(error))})"
        return
    yield Subject("povp", "OpenVINO, packed (--portable)", target, "openvino", "peer", files=(target,)), ""
