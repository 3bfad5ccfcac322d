"""Components that a kernel reads once stay in the file, and a session is of one file all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

import sparse_export
from sparse_export.runtime import choice
from sparse_export.runtime.session import InferenceSession
from tests.exporter.quantized.qdq import Array, Qdq

X = np.random.default_rng(1).standard_normal((3, 600)).astype(np.float32)
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a packed layer of integers, 70 kB of codes, at this path below the folder of the test."""

    def write(name: str = "net.onnx", *, seed: int = 0, kind: str = "tight", bias: float = 0.0) -> Path:
        net = Qdq(np.random.default_rng(seed), [None, 600])
        weight = net.weight(net.codes(700, 600, density=0.15))
        y = net.add("Gemm", [net.input(), weight, net.hold(np.full(700, bias, np.float32))], transB=1)
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        source = target.with_suffix(".source.onnx")
        onnx.save(net.model(net.pair(y, 0.02, 128)), source)
        sparse_export.export(source, output=target, format=kind, optimize="memory", verify=False)
        return target

    return write


def run(session: onnxruntime.InferenceSession) -> Array:
    (found,) = session.run(None, {"X": X})
    return np.asarray(found)


def from_bytes(path: Path) -> Array:
    """What the model gives that is held as a whole."""
    return run(InferenceSession(path.read_bytes()))


@pytest.mark.parametrize("kind", ["csr", "tight", "bitmask"])
def test_large_components_of_integers_stay_in_the_file(make: Make, kind: str) -> None:
    path = make(kind=kind)
    whole, found = path.read_bytes(), choice.settled(path, "avx2", choose=False, mapping=True).model
    assert found is not None and len(found) < len(whole) / 2
    given = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    outside = 0
    for tensor in onnx.load_model_from_string(found).graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        start, size = int(entries["offset"]), int(entries["length"])
        assert entries["location"] == path.name
        assert whole[start : start + size] == given[tensor.name].raw_data
        assert list(tensor.dims) == list(given[tensor.name].dims)
        outside += size
    assert outside > 40_000
    assert np.array_equal(run(InferenceSession(path)), from_bytes(path))


def test_components_that_are_read_on_every_run_are_held(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = np.where(rng.random((400, 400)) < 0.1, rng.standard_normal((400, 400)), 0).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["X", "w"], ["Y"])],
        "g",
        [onnx.helper.make_tensor_value_info("X", TensorProto.FLOAT, [2, 400])],
        [onnx.helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "f.onnx"
    )
    target = tmp_path / "packed.onnx"
    sparse_export.export(tmp_path / "f.onnx", output=target, format="csr", optimize="memory", verify=False)
    assert choice.settled(target, "avx2", choose=False, mapping=True).model is None


def test_a_session_outlives_its_file(make: Make) -> None:
    path = make()
    expected, session = from_bytes(path), InferenceSession(path)
    path.unlink()
    assert np.array_equal(run(session), expected)


def test_a_file_that_is_replaced_while_it_is_loaded_gives_one_of_the_two(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = make(), make("other.onnx", seed=5, bias=0.3)
    expected = from_bytes(other)
    settled = choice.settled

    def settled_and_replaced(*args: object, **kwargs: object) -> choice.Settled:
        found = settled(*args, **kwargs)  # type: ignore[arg-type]
        other.replace(path)
        return found

    monkeypatch.setattr(choice, "settled", settled_and_replaced)
    assert np.array_equal(run(InferenceSession(path)), expected)


def test_options_serve_models_of_several_folders(make: Make) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for path in (make("one/net.onnx", seed=1), make("two/net.onnx", seed=2), make("one/more.onnx", seed=3)):
        session = InferenceSession(path, options)
        assert np.array_equal(run(session), from_bytes(path))


def test_a_model_behind_a_link_is_found(make: Make, tmp_path: Path) -> None:
    path, link = make(), tmp_path / "folder" / "link.onnx"
    link.parent.mkdir()
    link.symlink_to(path)
    assert np.array_equal(run(InferenceSession(link)), from_bytes(path))


def test_a_model_that_is_written_out_holds_its_weights(make: Make, tmp_path: Path) -> None:
    path, written = make(), tmp_path / "written.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(written)
    InferenceSession(path, options)
    tensors = onnx.load(written, load_external_data=False).graph.initializer
    assert all(tensor.data_location != TensorProto.EXTERNAL for tensor in tensors)
