"""`sparse_export.InferenceSession` is onnxruntime's: what its own examples do with a session works here."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import sparse_export
from sparse_export.errors import InputError

from .test_session import small_case

MODEL = small_case("Relu").model().SerializeToString()
X = np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype(np.float32)
OWN = {"threads", "packed"}


@pytest.fixture
def session() -> onnxruntime.InferenceSession:
    return sparse_export.InferenceSession(MODEL)


@pytest.fixture
def wanted(session: onnxruntime.InferenceSession) -> np.ndarray[Any, Any]:
    y: np.ndarray[Any, Any] = session.run(None, {"x": X})[0]
    return y


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of each parameter."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_it_is_an_onnxruntime_session(session: onnxruntime.InferenceSession) -> None:
    assert isinstance(session, onnxruntime.InferenceSession)
    assert issubclass(sparse_export.InferenceSession, onnxruntime.InferenceSession)


def test_it_is_made_with_onnxruntimes_parameters_and_two_keywords() -> None:
    ours = parameters(sparse_export.InferenceSession.__init__)
    theirs = parameters(onnxruntime.InferenceSession.__init__)
    assert [p for p in ours if p[0] not in OWN] == theirs
    assert {(p[0], p[1]) for p in ours if p[0] in OWN} == {
        (name, inspect.Parameter.KEYWORD_ONLY) for name in OWN
    }


def test_every_public_method_has_onnxruntimes_signature() -> None:
    base = onnxruntime.InferenceSession
    names = [name for name in dir(base) if not name.startswith("_")]
    assert {"run", "run_async", "io_binding", "set_providers", "end_profiling"} <= set(names)
    for name in names:
        ours, theirs = (
            getattr(c, name) for c in (sparse_export.InferenceSession, onnxruntime.InferenceSession)
        )
        assert parameters(ours) == parameters(theirs), name


def test_all_ways_of_giving_the_parameters(tmp_path: Path, wanted: np.ndarray[Any, Any]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    providers = ["CPUExecutionProvider"]
    options = onnxruntime.SessionOptions
    for session in (
        sparse_export.InferenceSession(str(path), options(), providers, [{}]),
        sparse_export.InferenceSession(path_or_bytes=path, sess_options=options(), providers=providers),
        sparse_export.InferenceSession(MODEL, None, [("CPUExecutionProvider", {})]),
        sparse_export.InferenceSession(MODEL, disabled_optimizers=["ConstantFolding"], enable_fallback=0),
        sparse_export.InferenceSession(MODEL, providers=providers, provider_options=[{}], threads=2),
    ):
        y = session.run(output_names=["y"], input_feed={"x": X}, run_options=onnxruntime.RunOptions())[0]
        assert np.array_equal(y, wanted)


def test_threads_reach_the_session() -> None:
    for threads in (3, np.int64(3)):
        session = sparse_export.InferenceSession(MODEL, threads=threads)
        assert session.get_session_options().intra_op_num_threads == 3


def test_contradictions_and_unknown_choices_are_input_errors() -> None:
    with pytest.raises(InputError, match="threads and sess_options are both given"):
        sparse_export.InferenceSession(MODEL, onnxruntime.SessionOptions(), threads=2)
    with pytest.raises(InputError, match="packed='gpu'"):
        sparse_export.InferenceSession(MODEL, packed="gpu")
    with pytest.raises(TypeError, match="Unable to load from type"):
        sparse_export.InferenceSession(bytearray(MODEL))


def test_a_path_that_is_no_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path, "not a file"),
        (tmp_path / "model.onnx", "no such file"),
        (tmp_path / ("a" * 999), "File name too long"),
        ("model\x1b[31m.onnx", r"model\\x1b\[31m.onnx: no such file"),
    ):
        with pytest.raises(InputError, match=problem):
            sparse_export.InferenceSession(path)


def test_paths_of_bytes_are_taken_as_onnxruntime_takes_them(
    tmp_path: Path, wanted: np.ndarray[Any, Any]
) -> None:
    class Place(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return os.fsencode(tmp_path / "model.onnx")

    (tmp_path / "model.onnx").write_bytes(MODEL)
    session = sparse_export.InferenceSession(Place())  # type: ignore[arg-type]
    assert np.array_equal(session.run(None, {"x": X})[0], wanted)


@pytest.mark.parametrize("providers", [[3], [None], [["CPUExecutionProvider", {}]]])
def test_odd_providers_meet_what_onnxruntime_does_with_them(
    providers: Any, wanted: np.ndarray[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    session = sparse_export.InferenceSession(MODEL, providers=providers)
    assert np.array_equal(session.run(None, {"x": X})[0], wanted)
    assert "values must be either strings or (string, dict) tuples" in capsys.readouterr().out


@pytest.mark.parametrize("options", ["options", 3, onnxruntime.RunOptions()])
def test_options_that_are_none_are_an_input_error(options: Any) -> None:
    for use in (sparse_export.register, lambda given: sparse_export.InferenceSession(MODEL, given)):
        with pytest.raises(InputError, match=r"expected onnxruntime\.SessionOptions, not"):
            use(options)


@pytest.mark.parametrize("threads", [-1, 2.5, "2", None, 1 << 40])
def test_threads_are_a_whole_number(threads: Any) -> None:
    with pytest.raises(InputError, match="expected a whole number from 0 on"):
        sparse_export.InferenceSession(MODEL, threads=threads)


def test_io_binding(session: onnxruntime.InferenceSession, wanted: np.ndarray[Any, Any]) -> None:
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    assert np.array_equal(binding.copy_outputs_to_cpu()[0], wanted)


def test_ort_values(session: onnxruntime.InferenceSession, wanted: np.ndarray[Any, Any]) -> None:
    (y,) = session.run_with_ort_values(["y"], {"x": onnxruntime.OrtValue.ortvalue_from_numpy(X)})
    assert np.array_equal(y.numpy(), wanted)


def test_run_async(wanted: np.ndarray[Any, Any]) -> None:
    done, found = threading.Event(), list[Any]()

    def callback(results: Any, user_data: Any, error: str) -> None:
        found.extend([results, user_data, error])
        done.set()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = sparse_export.InferenceSession(MODEL, options)  # to be kept until the callback has been called
    session.run_async(["y"], {"x": X}, callback, "mine")
    assert done.wait(60)
    assert np.array_equal(found[0][0], wanted)
    assert found[1:] == ["mine", ""]


def test_profiling_names_the_native_operator(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    session = sparse_export.InferenceSession(MODEL, options)
    session.run(None, {"x": X})
    assert session.get_profiling_start_time_ns() > 0
    events = json.loads(Path(session.end_profiling()).read_text())
    assert "SparseConvRelu" in {e.get("args", {}).get("op_name") for e in events}


def test_metadata_and_providers(session: onnxruntime.InferenceSession) -> None:
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert list(session.get_provider_options()) == ["CPUExecutionProvider"]
    assert [i.name for i in session.get_inputs()] == ["x"]
    assert session.get_modelmeta().graph_name
    session.disable_fallback()
    session.set_providers(["CPUExecutionProvider"])
    assert session.run(None, {"x": X})[0].shape == (2, 8, 6, 6)


def test_the_same_options_serve_several_sessions(wanted: np.ndarray[Any, Any]) -> None:
    options = sparse_export.register(sparse_export.register(onnxruntime.SessionOptions()))
    for _ in range(2):
        session = sparse_export.InferenceSession(MODEL, options)
        assert np.array_equal(session.run(None, {"x": X})[0], wanted)
    copied = session.get_session_options()  # onnxruntime leaves the library out of this copy
    assert np.array_equal(sparse_export.InferenceSession(MODEL, copied).run(None, {"x": X})[0], wanted)


def test_a_library_registered_by_hand_is_one_clear_line() -> None:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(sparse_export.library_path()))
    with pytest.raises(InputError, match="already hold the operator library"):
        sparse_export.InferenceSession(MODEL, options)


def test_an_error_in_the_model_stays_onnxruntimes() -> None:
    with pytest.raises(Exception, match="INVALID_PROTOBUF") as caught:
        sparse_export.InferenceSession(b"no model")
    assert type(caught.value).__module__.startswith("onnxruntime.")


@pytest.mark.parametrize("name", ["sparse_export", "sparse_export.runtime.session"])
def test_the_class_is_made_when_it_is_asked_for(name: str) -> None:
    code = (
        f"import sys, {name} as m; assert 'onnxruntime' not in sys.modules; m.register; m.library_path()\n"
        "assert 'onnxruntime' not in sys.modules; m.InferenceSession; assert 'onnxruntime' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_onnxruntime_the_class_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sparse_export\n"
        "try: sparse_export.InferenceSession\n"
        "except sparse_export.MissingDependencyError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "onnxruntime is not installed: pip install onnxruntime\n"
