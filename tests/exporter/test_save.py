"""Models with an aligned data file beside them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from sparse_export.errors import InputError, VerificationError
from sparse_export.exporter.files.onnx_write import ALIGNMENT, save

from ..onnx_models import model, residual_net


def output(path: Path, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path)).run(None, {"X": x})[0]


def test_external_data_is_aligned_and_computes_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    made = residual_net(rng)
    x = rng.standard_normal((1, 16, 12, 12)).astype(np.float32)
    (inline,) = save(made, tmp_path / "inline.onnx")
    model, data = save(made, tmp_path / "out.onnx", external_data=True)
    assert output(model, x).tobytes() == output(inline, x).tobytes()
    entries = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(str(model), load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    assert len(entries) == 3 and all(entry["location"] == data.name for entry in entries)
    assert all(int(entry["offset"]) % ALIGNMENT == 0 for entry in entries)


def test_a_model_of_small_tensors_has_no_data_file(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["X", "w"], ["Y"])
    made = model([node], {"w": np.eye(4, dtype=np.float32)}, ["n", 4], 2)
    assert save(made, tmp_path / "out.onnx", external_data=True) == [tmp_path / "out.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


def test_overwriting_replaces_the_pair(tmp_path: Path, rng: np.random.Generator) -> None:
    save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    files = save(residual_net(rng), tmp_path / "out.onnx", external_data=True, force=True)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_failed_check_leaves_the_old_pair(tmp_path: Path, rng: np.random.Generator) -> None:
    files = save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    before = [path.read_bytes() for path in files]

    def refuse(path: Path) -> None:
        onnxruntime.InferenceSession(str(path))  # the new pair loads under its temporary name
        raise VerificationError("differs")

    with pytest.raises(VerificationError):
        save(residual_net(rng), tmp_path / "out.onnx", external_data=True, force=True, check=refuse)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert [path.read_bytes() for path in files] == before


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_data_file_is_named_after_its_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    _, data = save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    assert data.name == f"out.{hashlib.sha256(data.read_bytes()).hexdigest()[:12]}.data"


@pytest.mark.parametrize("copy", ["copy.onnx", "out.onnx.bak", "notes"])
def test_copy_of_the_model_keeps_its_data(copy: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model, old = save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    shutil.copy(model, tmp_path / copy)
    _, new = save(residual_net(rng), tmp_path / "out.onnx", external_data=True, force=True)
    assert names(tmp_path) == sorted([copy, "out.onnx", old.name, new.name])
    (tmp_path / copy).unlink()
    save(residual_net(rng), tmp_path / "out.onnx", force=True)
    assert names(tmp_path) == ["out.onnx"]


def test_data_that_a_killed_export_left_is_removed_by_the_next(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    model, data = save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    model.unlink()
    files = save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    assert data not in files and names(tmp_path) == sorted(path.name for path in files)


@pytest.mark.parametrize("name", ["out.0123456789ab.data", "other.0123456789ab.data", "out.data"])
def test_data_of_others_is_left_alone(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / name).write_bytes(b"not what the name says")
    save(residual_net(rng), tmp_path / "out.onnx")
    assert names(tmp_path) == sorted([name, "out.onnx"])


def test_data_of_a_source_is_never_removed(tmp_path: Path, rng: np.random.Generator) -> None:
    model, data = save(residual_net(rng), tmp_path / "out.onnx", external_data=True)
    model.unlink()
    save(residual_net(rng), tmp_path / "out.onnx", sources=[data])
    assert data.exists()


def test_the_same_weights_again_reuse_the_data_file(tmp_path: Path, rng: np.random.Generator) -> None:
    made = residual_net(rng)
    _, data = save(made, tmp_path / "out.onnx", external_data=True)
    before = data.stat()
    save(made, tmp_path / "out.onnx", external_data=True, force=True)
    assert (data.stat().st_ino, data.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_altered_data_file_is_replaced_only_with_force(tmp_path: Path, rng: np.random.Generator) -> None:
    made = residual_net(rng)
    model, data = save(made, tmp_path / "out.onnx", external_data=True)
    model.unlink()
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + b"!")
    with pytest.raises(InputError, match="another content"):
        save(made, tmp_path / "out.onnx", external_data=True)
    save(made, tmp_path / "out.onnx", external_data=True, force=True)
    assert data.read_bytes() == whole


def test_data_of_an_export_at_work_is_not_taken_for_left_over(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    def meanwhile(path: Path) -> None:  # the first one's data is there, its model is not
        save(residual_net(rng), tmp_path / "out.onnx", external_data=True)

    with pytest.raises(InputError, match="appeared while this ran"):
        save(residual_net(rng), tmp_path / "out.onnx", external_data=True, check=meanwhile)
    assert len(names(tmp_path)) == 2
    output(tmp_path / "out.onnx", np.zeros((1, 16, 12, 12), np.float32))


def test_everything_but_the_weights_stays_in_the_model(tmp_path: Path, rng: np.random.Generator) -> None:
    made = residual_net(rng)
    made.doc_string, made.domain, made.model_version = "what it is", "ours", 7
    made.graph.doc_string = "a graph"
    made.graph.value_info.add(name="inner")
    inline, _ = save(made, tmp_path / "out.onnx", external_data=True)
    back = onnx.load(str(inline))
    for tensor in back.graph.initializer:
        tensor.ClearField("data_location")
    assert back == made


def test_two_exporters_of_one_target_leave_one_whole_pair(tmp_path: Path) -> None:
    start = multiprocessing.get_context("fork").Barrier(2)

    def export(seed: int) -> int:
        made = residual_net(np.random.default_rng(seed))
        start.wait()
        try:
            save(made, tmp_path / "out.onnx", external_data=True)
        except InputError:
            return 2
        return 0

    for seed in (1, 2):
        if os.fork() == 0:
            os._exit(export(seed))
    results = sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2))
    assert results == [0, 2]
    assert len(names(tmp_path)) == 2
    output(tmp_path / "out.onnx", np.zeros((1, 16, 12, 12), np.float32))
