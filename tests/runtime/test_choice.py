"""Where a file is loaded, its layers that are expected to lose on that processor are expanded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import sparse_export
from sparse_export.formats import with_kernel
from sparse_export.runtime import choice, cost
from sparse_export.runtime.target import kernel_target

from ..measure.small_models import chain
from .profiles import operators, profiled

X = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
#: Layers of which no processor can doubt the outcome: almost empty, and one that is never faster packed.
WINS, LOSES = ["linear", 1 << 24, 1 << 10, 4096, 1, 4096], [cost.DEPTHWISE, 9, 9, 1, 1, 1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """Three packed layers, with nothing said about them."""
    folder = tmp_path_factory.mktemp("chain")
    source = chain(folder / "chain.onnx", density=0.1)
    sparse_export.export(source, format="csr", optimize="memory", output=folder / "packed.onnx", verify=False)
    return onnx.load(folder / "packed.onnx")


def telling(exported: onnx.ModelProto, work: Any, measured: Any = None) -> onnx.ModelProto:
    """The model with this in its metadata."""
    made = onnx.ModelProto()
    made.CopyFrom(exported)
    for key, value in ((choice.WORK_KEY, work), (choice.MEASURED_KEY, measured)):
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            made.metadata_props.add(key=key, value=text)
    return made


def ran(model: onnx.ModelProto | Path, tmp_path: Path, **options: Any) -> set[str]:
    source = model if isinstance(model, Path) else model.SerializeToString()
    session = sparse_export.InferenceSession(source, profiled(tmp_path), **options)
    return operators(session, {"h0": X})


MIXED = {"layer0": LOSES, "layer1": WINS, "layer2": WINS}


def test_a_layer_that_loses_runs_dense_and_the_others_packed(
    exported: onnx.ModelProto, tmp_path: Path
) -> None:
    assert ran(telling(exported, MIXED), tmp_path) == {"Gemm", "SparseMatMul"}
    assert ran(telling(exported, dict.fromkeys(MIXED, LOSES)), tmp_path) == {"Gemm"}
    assert ran(telling(exported, dict.fromkeys(MIXED, WINS)), tmp_path) == {"SparseMatMul"}


def test_all_keeps_every_layer_packed_and_none_runs_none(exported: onnx.ModelProto, tmp_path: Path) -> None:
    model = telling(exported, dict.fromkeys(MIXED, LOSES))
    assert ran(model, tmp_path, packed="all") == {"SparseMatMul"}
    assert ran(telling(exported, MIXED), tmp_path, packed="none") == {"Gemm"}


def test_the_expanded_model_is_valid_and_gives_what_stock_gives(exported: onnx.ModelProto) -> None:
    model = telling(exported, dict.fromkeys(MIXED, LOSES)).SerializeToString()
    found = choice.settled(model, "avx2").model
    assert found is not None
    onnx.checker.check_model(onnx.load_from_string(found))
    stock = onnxruntime.InferenceSession(model).run(None, {"h0": X})[0]
    assert np.array_equal(sparse_export.InferenceSession(model).run(None, {"h0": X})[0], stock)


def test_what_was_measured_counts_where_it_was_measured(exported: onnx.ModelProto, tmp_path: Path) -> None:
    slower, faster = (dict.fromkeys(MIXED, times) for times in ([2.0, 1.0], [1.0, 2.0]))
    here = telling(exported, dict.fromkeys(MIXED, WINS), {kernel_target(): slower})
    assert ran(here, tmp_path) == {"Gemm"}
    elsewhere = telling(exported, dict.fromkeys(MIXED, WINS), {"another": slower})
    assert ran(elsewhere, tmp_path) == {"SparseMatMul"}
    lost = telling(exported, dict.fromkeys(MIXED, LOSES), {kernel_target(): faster})
    assert ran(lost, tmp_path) == {"SparseMatMul"}


def test_from_a_file_nothing_of_it_is_held(exported: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(telling(exported, MIXED), path)
    session = sparse_export.InferenceSession(path, profiled(tmp_path))
    assert session._model_bytes is None
    assert operators(session, {"h0": X}) == {"Gemm", "SparseMatMul"}


def test_a_file_with_external_data_is_chosen_from_in_options_of_our_own(
    exported: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(telling(exported, MIXED), path, save_as_external_data=True, size_threshold=64)
    wanted = sparse_export.InferenceSession(path, packed="none").run(None, {"h0": X})[0]
    # onnxruntime 1.20 finds no external data beside a model that it gets as bytes: there all stays packed.
    old = onnxruntime.__version__.startswith("1.20.")
    for options, expanded in ((None, not old), (profiled(tmp_path), False)):
        session = sparse_export.InferenceSession(path, options)
        assert (session._settled().model is not None) is expanded
        assert session._model_bytes is None
        np.testing.assert_allclose(session.run(None, {"h0": X})[0], wanted, rtol=1e-4, atol=1e-5)


def test_options_that_serve_files_of_several_folders_find_the_data_of_each(
    exported: onnx.ModelProto, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    for place, factor in (("one", 1), ("two", 2)):
        (tmp_path / place).mkdir()
        model = telling(exported, MIXED)
        for tensor in model.graph.initializer:
            if tensor.name.endswith(".values"):
                values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        path = tmp_path / place / "model.onnx"
        wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"h0": X})[0]
        onnx.save(model, path, save_as_external_data=True, location="model.data", size_threshold=64)
        for session in (
            sparse_export.InferenceSession(path, options),
            onnxruntime.InferenceSession(path, options),
        ):
            np.testing.assert_allclose(session.run(None, {"h0": X})[0], wanted, rtol=1e-4, atol=1e-5)


def test_other_providers_later_keep_the_choice(exported: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(telling(exported, MIXED), path)
    session = sparse_export.InferenceSession(path, profiled(tmp_path))
    session.end_profiling()
    session.set_providers(["CPUExecutionProvider"])
    assert operators(session, {"h0": X}) == {"Gemm", "SparseMatMul"}
    assert session._model_bytes is None


@pytest.mark.parametrize(
    "said",
    [
        "no json",
        "[" * 100_000,
        "[]",
        "{}",
        {"layer0": None},
        {"layer0": [cost.DEPTHWISE]},
        {"layer0": ["cubic", 1, 1, 1, 1, 1]},
        {"layer0": [["square"], 1, 1, 1, 1, 1]},
        {"layer0": ["square", -1, 1, 1, 1, 1]},
        {"layer0": ["square", 1e30, 1, 1, 1, 1]},
        {"layer0": ["square", "1", 1, 1, 1, 1]},
        {"another": LOSES},
    ],
)
def test_what_a_file_says_wrongly_changes_nothing(exported: onnx.ModelProto, said: Any) -> None:
    model = telling(exported, said)
    assert choice.settled(model.SerializeToString(), "avx512").model is None
    sparse_export.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("measured", ["no json", "[]", {"avx2": [1]}, {"avx2": {"layer0": [1]}}])
def test_what_a_file_says_wrongly_of_its_times_leaves_the_cost_model(
    exported: onnx.ModelProto, measured: Any
) -> None:
    found = choice.settled(telling(exported, MIXED, measured).SerializeToString(), "avx2").model
    assert (found is None) == (measured == "no json")


def test_a_damaged_file_is_left_to_onnxruntime(exported: onnx.ModelProto, tmp_path: Path) -> None:
    whole = telling(exported, MIXED).SerializeToString()
    rng = np.random.default_rng(0)
    for end in rng.integers(0, len(whole), 200):
        choice.settled(whole[:end], "avx2")
    for place, value in zip(rng.integers(0, len(whole), 500), rng.integers(0, 256, 500), strict=True):
        choice.settled(whole[:place] + bytes([value]) + whole[place + 1 :], "avx2")
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert choice.settled(tmp_path / "empty.onnx", "avx2").model is None
    assert choice.settled(tmp_path / "nowhere.onnx", "avx2").model is None


def test_an_unknown_way_is_refused(exported: onnx.ModelProto) -> None:
    with pytest.raises(sparse_export.InputError, match="'auto', 'all', 'cpu', 'none'"):
        sparse_export.InferenceSession(exported.SerializeToString(), packed="some")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["avx2", "avx512"])
def test_every_kernel_wins_somewhere_so_all_are_registered_everywhere(target: str) -> None:
    """A kernel that lost at every shape would have to be left out of the library on that processor."""
    shapes = [
        cost.Work("linear", 4096 * 4096, 4096 * 410, 4096, 1, 4096),
        cost.Work("square", 512 * 512 * 9, 512 * 512, 512, 49, 512 * 49),
        cost.Work("pointwise", 512 * 2048, 512 * 205, 512, 49, 2048 * 49),
    ]
    for kernel in [fmt.name for fmt in with_kernel()]:
        assert not all(cost.estimate(work, kernel, target).loses for work in shapes)


def test_the_table_of_costs_knows_the_operators_of_the_kernels() -> None:
    assert [cost.kernel_of(f"{prefix}Conv") for prefix in ("Sparse", "BinaryWeight")] == ["csr", "bitpack"]
    assert cost.kernel_of("TightConvRelu") == "csr"


def test_a_kernel_that_was_not_measured_costs_what_that_of_csr_does() -> None:
    work = cost.Work("linear", 4096 * 4096, 4096 * 410, 4096, 1, 4096)
    assert cost.estimate(work, "new", "avx2") == cost.estimate(work, "csr", "avx2")
