"""Sweeps: rates, rows, resumption, and jobs done by this process, a pool or a cluster that loses a worker."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sparse_export.errors import CorruptFileError, InputError
from sparse_export.exporter.nets import cifar
from sparse_export.training import prune, runs, train
from sparse_export.training.beginning import DataSpec
from sparse_export.training.sweep import executors, footprint, sweep
from sparse_export.training.sweep.rows import Folder
from sparse_export.training.sweep.task import Settings, Task


def test_rates_include_both_ends_exactly() -> None:
    assert sweep.parse_rates("0.80:0.90:0.05") == [0.8, 0.85, 0.9]
    assert len(sweep.parse_rates("0:0.98:0.02")) == 50
    assert sweep.parse_rates("0.5,0.9235") == [0.5, 0.9235]


@pytest.mark.parametrize(
    "text", ["", "a", "0:1:0.5", "0.5,1", "-0.1,0", "0:0.5", "0.5:0:0.1", "0:0.5:0", "nan", "0:0.5:nan"]
)
def test_rejects_rates_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="rate"):
        sweep.parse_rates(text)


@pytest.fixture(scope="module")
def settings(nets: Path) -> Settings:
    recipe = train.Recipe(epochs=1, lr=0.02)
    return Settings(f"{nets}:tiny", DataSpec(f"{nets}:blobs"), recipe, epochs=1, rounds=1)


@pytest.fixture(scope="module")
def net(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "net.pt"
    runs.run_train(path, settings.arch, settings.data, settings.recipe)
    return path


def test_a_row_says_what_the_net_is(settings: Settings, net: Path, tmp_path: Path) -> None:
    tasks = sweep.plan(settings, [net], 1, ["none"], [0.5])
    (row,) = sweep.run(Folder(tmp_path, settings), tasks, executors.here)
    assert row["nonzeros"] == row["weights"] - round(0.5 * row["weights"])
    assert row["theory_bits"] == 32 * row["nonzeros"]
    assert row["theory_bits"] / 8 < row["entropy_bytes"] < row["dense_bytes"]
    assert row["auto_bytes"] <= row["csr_bytes"] <= row["dense_bytes"]
    assert next(csv.DictReader((tmp_path / "rows.csv").open()))["rate"] == "0.5"


def test_a_row_says_what_the_net_is_as_integers(settings: Settings, net: Path, tmp_path: Path) -> None:
    both = dataclasses.replace(settings, structure="1x4", activations="int8", latency=True)
    tasks = sweep.plan(both, [net], 1, ["none"], [0.5])
    (row,) = sweep.run(Folder(tmp_path, both), tasks, executors.here)
    assert abs(row["int8_accuracy"] - row["accuracy"]) <= 0.25
    assert row["int8_agreement"] >= 0.75
    assert 0 < row["int8_bytes"] <= row["dense_int8_bytes"] < row["dense_bytes"] + 20_000
    assert 0 < row["int8_latency_ms"] < 1000 and 0 < row["dense_int8_latency_ms"] < 1000


def test_weight_rewinding_starts_from_the_early_epoch_of_each_net(settings: Settings, tmp_path: Path) -> None:
    longer = dataclasses.replace(settings, recipe=train.Recipe(epochs=2, lr=0.02))
    nets = sweep.train_seeds(tmp_path, longer, 2, executors.here)
    trained = nets[0].read_bytes()
    with pytest.raises(InputError, match="needs --rewind-epoch"):
        sweep.plan(longer, nets, 2, ["weight-rewind"], [0.5])
    with pytest.raises(InputError, match=r"seed0\.epoch1\.pt: not there"):
        sweep.plan(longer, nets, 2, ["weight-rewind"], [0.5], 1)
    assert sweep.train_seeds(tmp_path, longer, 2, executors.here, rewind_epoch=1) == nets
    assert nets[0].read_bytes() == trained
    tasks = sweep.plan(longer, nets, 2, ["lr-rewind", "weight-rewind"], [0.5], 1)
    assert [Path(task.early).name if task.early else "" for task in tasks] == [
        "",
        "seed0.epoch1.pt",
        "",
        "seed1.epoch1.pt",
    ]
    rows = sweep.run(Folder(tmp_path, longer), tasks, executors.here)
    assert len({row["nonzeros"] for row in rows}) == 1
    assert sweep.run(Folder(tmp_path, longer), tasks, executors.here) == rows


def test_latency_is_that_of_the_exported_file(settings: Settings, net: Path) -> None:
    timed = dataclasses.replace(settings, latency=True, formats=("csr",))
    (task,) = sweep.plan(timed, [net], 1, ["none"], [0.9])
    row = sweep.compute(task)
    assert row["onnx_bytes"] > row["csr_bytes"]
    assert row["latency_ms"] > 0


def test_rows_that_are_there_are_never_computed_again(settings: Settings, net: Path, tmp_path: Path) -> None:
    computed: list[float] = []

    def counting(function: Any, jobs: Any, keep: Any) -> None:
        for job in jobs:
            computed.append(job.rate)
            keep(job, function(job))
            if len(computed) == 2:
                raise KeyboardInterrupt

    tasks = sweep.plan(settings, [net], 1, ["none"], [0.1, 0.5, 0.9])
    with pytest.raises(KeyboardInterrupt):
        sweep.run(Folder(tmp_path, settings), tasks, counting)
    rows = sweep.run(Folder(tmp_path, settings), tasks, counting)
    assert computed == [0.1, 0.5, 0.9]
    again = sweep.run(Folder(tmp_path, settings), tasks, counting)
    assert again == rows
    assert len(computed) == 3


def test_a_folder_of_other_settings_another_net_or_damaged_rows_is_refused(
    settings: Settings, net: Path, tmp_path: Path
) -> None:
    folder = Folder(tmp_path, settings)
    (task,) = sweep.plan(settings, [net], 1, ["none"], [0.5])
    sweep.run(folder, [task], executors.here)
    other = Settings(settings.arch, settings.data, settings.recipe, epochs=9)
    with pytest.raises(InputError, match=r"other settings \(epochs, rounds\)"):
        Folder(tmp_path, other)
    stranger = Task(settings, str(net), "0" * 64, 0, "none", 0.5)
    with pytest.raises(InputError, match="another checkpoint"):
        folder.get(stranger)
    (tmp_path / "rows" / f"{task.key}.json").write_text("{")
    with pytest.raises(CorruptFileError):
        folder.get(task)


def test_a_pool_computes_the_same_rows_though_a_worker_dies(
    settings: Settings, net: Path, tmp_path: Path
) -> None:
    import psutil

    tasks = sweep.plan(settings, [net], 1, ["none", "fine-tune"], [0.2, 0.4, 0.6])
    expected = sweep.run(Folder(tmp_path / "here", settings), tasks, executors.here)
    pool, killed = executors.Pool(2, sweep.limit_threads), []

    def deadly(function: Any, jobs: Any, keep: Any) -> None:
        def kill_once(job: Any, result: Any) -> None:
            keep(job, result)
            if not killed:
                workers = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
                killed.append(workers[0].pid)
                os.kill(workers[0].pid, signal.SIGKILL)

        pool(function, jobs, kill_once)

    rows = sweep.run(Folder(tmp_path / "pool", settings), tasks, deadly)
    assert killed
    assert [row["nonzeros"] for row in rows] == [row["nonzeros"] for row in expected]


def test_a_cluster_loses_a_worker_and_no_row(settings: Settings, net: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    tasks = sweep.plan(settings, [net], 1, ["fine-tune"], [i / 20 for i in range(12)])
    killed = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="CRITICAL"
    ) as cluster:
        mapper = executors.choose(1, cluster.scheduler_address)

        def deadly(function: Any, jobs: Any, keep: Any) -> None:
            def kill_once(job: Any, result: Any) -> None:
                keep(job, result)
                if not killed:
                    killed.append(cluster.workers[0].pid)
                    os.kill(cluster.workers[0].pid, signal.SIGKILL)

            mapper(function, jobs, kill_once)

        rows = sweep.run(Folder(tmp_path, settings), tasks, deadly)
    assert killed
    assert [row["rate"] for row in rows] == [i / 20 for i in range(12)]
    assert len(list((tmp_path / "rows").glob("*.json"))) == 12


def test_says_when_no_scheduler_answers() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no scheduler answers"):
        executors.Cluster("tcp://127.0.0.1:9", timeout=0.5)(len, ["x"], lambda job, result: None)


def test_footprint_of_a_dense_net_is_dense() -> None:
    net = cifar.densenet_cifar()
    sizes = footprint.packed_bytes(net, ("csr", "auto"))
    assert sizes["csr"] == 4 * prune.count_nonzero(net)[1]
    with pytest.raises(InputError):
        footprint.parse_formats("csr,nonsense")
    with pytest.raises(InputError):
        footprint.parse_formats(" , ")
