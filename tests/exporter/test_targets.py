"""What is read is never overwritten, and no two outputs are one file."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sparse_export.errors import InputError
from sparse_export.exporter.files.atomic import atomic_file, forget_published, published
from sparse_export.exporter.files.onnx_write import save
from sparse_export.exporter.files.targets import SourceFiles, check_target, check_targets

from ..onnx_models import residual_net

LINKS: dict[str, Callable[[Path, Path], None]] = {
    "itself": lambda target, source: None,
    "symbolic": lambda target, source: target.symlink_to(source),
    "hard": lambda target, source: target.hardlink_to(source),
}


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("link", LINKS)
def test_force_never_overwrites_external_data_of_the_source(
    link: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, data = save(residual_net(rng), tmp_path / "source.onnx", external_data=True)
    target = data if link == "itself" else tmp_path / "link"
    LINKS[link](target, data)
    with pytest.raises(InputError, match="overwrite the input"):
        check_target(target, force=True, sources=SourceFiles(model))


def test_shards_and_the_code_of_the_architecture_are_sources(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    for name in ("1.safetensors", "2.safetensors"):
        (tmp_path / name).write_bytes(b"shard")
    found = SourceFiles(index, arch=f"{tmp_path}/nets.py:make")
    assert {path.name for path in found} == {index.name, "1.safetensors", "2.safetensors", "nets.py"}


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"[]", b"{}", b'{"weight_map": 3}'])
@pytest.mark.parametrize("name", ["m.onnx", "m.index.json"])
def test_unreadable_source_is_itself_alone(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(SourceFiles(tmp_path / name)) == [tmp_path / name]


def test_two_options_may_not_name_one_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "folder").symlink_to(".")
    for first, second in (("new", "new"), ("new", "folder/new"), ("there", "link"), ("new", "./new")):
        with pytest.raises(InputError, match="--report and --card name the same file"):
            check_targets({"--report": tmp_path / first, "--card": tmp_path / second}, force=True)
    check_targets({"--report": tmp_path / "new", "--card": tmp_path / "newer", "--html": None})


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 256, "x" * 5000, "y" * 5000 + "/z"])
def test_impossible_names_are_one_line_of_ours(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as failure:
        check_target(tmp_path / name)
    assert "\n" not in str(failure.value)


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(InputError, match="appeared while this ran"), atomic_file(target) as file:
        file.write(b"ours")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs" and names(tmp_path) == ["out"]


@pytest.mark.parametrize("appears", [False, True])
def test_file_system_without_links_still_overwrites_nothing(
    appears: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "out"
    try:
        with atomic_file(target) as file:
            file.write(b"ours")
            if appears:
                target.write_bytes(b"theirs")
    except InputError:
        assert appears
    assert target.read_bytes() == (b"theirs" if appears else b"ours") and names(tmp_path) == ["out"]


def test_replacement_of_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"secret")
    target.chmod(0o640)
    with atomic_file(target, force=True) as file:
        assert stat.S_IMODE(Path(file.name).stat().st_mode) == 0o600
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owner_is_kept_with_force(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    os.chown(target, 1234, 5678)
    target.chmod(0o4750)
    with atomic_file(target, force=True) as file:
        file.write(b"new")
    status = target.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, 0o4750)


def test_published_lists_what_is_there(tmp_path: Path) -> None:
    forget_published()
    for name in ("one", "two", "two"):
        with atomic_file(tmp_path / name, force=True) as file:
            file.write(b"x")
    (tmp_path / "one").unlink()
    assert published() == [tmp_path / "two"]
    forget_published()
    assert published() == []
