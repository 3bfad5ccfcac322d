"""The archive as a file: what it is made of and into, its name, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
import torch.nn.utils.prune

from sparse_export.errors import InputError, UnsupportedError
from sparse_export.exporter import archive
from sparse_export.exporter.archive import writer

from .archives import pruned, same


def test_large_tensors_are_cut_and_threads_do_not_change_the_bytes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(writer, "CHUNK_BYTES", 1 << 16)
    torch.save({"w": pruned((300, 500), 0.05), "b": pruned((70,), 1.0)}, tmp_path / "m.pt")
    files = [tmp_path / "one.packed.safetensors", tmp_path / "four.packed.safetensors"]
    for file, threads in zip(files, (1, 4), strict=True):
        archive.write(tmp_path / "m.pt", file, threads=threads)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(safetensors.safe_open(files[0], "np").keys()) > 8
    assert np.array_equal(archive.arrays(files[0])["w"], pruned((300, 500), 0.05).numpy())


def test_safetensors_in_and_out_keep_tensors_metadata_and_order(tmp_path: Path) -> None:
    tensors = {"z": pruned((40, 30)), "a": torch.arange(5), "m": pruned((3, 3), 1.0).to(torch.bfloat16)}
    source, packed, back = tmp_path / "m.safetensors", tmp_path / "p.safetensors", tmp_path / "b.safetensors"
    safetensors.torch.save_file(tensors, source, metadata={"format": "pt", "who": "me"})
    archive.write(source, packed)
    assert archive.unpack(packed, back) == []
    opened = safetensors.safe_open(back, "pt")
    assert opened.metadata() == {"format": "pt", "who": "me"}
    assert all(same(opened.get_tensor(name), tensors[name]) for name in tensors)
    archive.unpack(packed, tmp_path / "b.pt")
    assert set(torch.load(tmp_path / "b.pt", weights_only=True)) == set(tensors)


def test_shards_become_one_archive(tmp_path: Path) -> None:
    tensors = {f"layer{i}.weight": pruned((20, 30), seed=i) for i in range(4)}
    names = list(tensors)
    for number, part in enumerate((names[::2], names[1::2])):
        safetensors.torch.save_file({n: tensors[n] for n in part}, tmp_path / f"model-{number}.safetensors")
    index = {
        "metadata": {"total_size": 1},
        "weight_map": {n: f"model-{names.index(n) % 2}.safetensors" for n in names},
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    report = archive.write(tmp_path / "model.safetensors.index.json", tmp_path / "p.safetensors")
    assert list(report.tensors) == names
    back = archive.arrays(tmp_path / "p.safetensors")
    assert all(np.array_equal(back[name], tensors[name].numpy()) for name in names)


def test_shards_of_pickles_become_one_archive(tmp_path: Path) -> None:
    tensors = {f"layer{i}.weight": pruned((20, 30), seed=i) for i in range(4)}
    parts = {"pytorch_model-1.bin": list(tensors)[:3], "pytorch_model-2.bin": list(tensors)[3:]}
    for file, names in parts.items():
        torch.save({name: tensors[name] for name in names}, tmp_path / file)
    index = {"weight_map": {name: file for file, names in parts.items() for name in names}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    archive.write(tmp_path, tmp_path / "p.safetensors")
    back = archive.arrays(tmp_path / "p.safetensors")
    assert all(np.array_equal(back[name], tensors[name].numpy()) for name in tensors)


def test_default_name_and_refusals(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": pruned((4, 4))}, "net.pt")
    assert archive.write(Path("net.pt")).path.name == "net.packed.safetensors"
    assert archive.default_target(Path("x/model.safetensors.index.json")) == Path("model.packed.safetensors")
    assert archive.is_archive(Path("net.packed.safetensors")) and not archive.is_archive(Path("net.pt"))
    with pytest.raises(InputError, match="--force"):
        archive.write(Path("net.pt"))
    with pytest.raises(InputError, match=r"\.pt or"):
        archive.unpack(Path("net.packed.safetensors"), Path("back.bin"))
    with pytest.raises(InputError, match="is not an archive"):
        safetensors.torch.save_file({"w": torch.ones(2)}, "plain.safetensors")
        archive.info(Path("plain.safetensors"))


def test_refuses_tensors_it_cannot_hold_and_leaves_no_file(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2, dtype=torch.complex64)}, tmp_path / "m.pt")
    with pytest.raises(UnsupportedError):
        archive.write(tmp_path / "m.pt", tmp_path / "p.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_unpack_command_writes_the_checkpoint(tmp_path: Path) -> None:
    state = {"w": pruned((30, 30))}
    torch.save(state, tmp_path / "m.pt")
    archive.write(tmp_path / "m.pt", tmp_path / "p.safetensors")
    command = [sys.executable, "-m", "sparse_export.cli", "unpack", "p.safetensors", "-o", "b.pt", "--json"]
    code = "import sys; from sparse_export.cli import main; main(sys.argv[1:])"
    command[1:3] = ["-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == "b.pt"
    assert same(torch.load(tmp_path / "b.pt", weights_only=True)["w"], state["w"])
