"""Accuracy and bytes over pruning rates, seeds and ways of retraining: one row each, never computed twice.

Every row is a file of its own in the sweep's folder, written whole, so a killed sweep goes on with
the rows that are missing, whoever computes them: this process, a pool, or a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import torch

from ...errors import InputError
from .. import checkpoints, prune, runs, train
from ..beginning import check_fit
from . import executors, footprint, integers, ways
from .rows import Folder, Row
from .task import Settings, Task


def parse_rates(text: str) -> list[float]:
    """`0:0.98:0.02` (both ends included) or `0.5,0.9,0.95` as rates.

    Raises
    ------
    InputError
        If it is neither, or a rate is outside [0, 1).
    """
    try:
        if ":" in text:
            first, last, step = (Decimal(part) for part in text.split(":"))
            if not step > 0 or last < first or (last - first) / step > 10_000:
                raise InputError(f"rates '{text}': the step must be positive and lead from first to last")
            rates = [first + i * step for i in range(int((last - first) / step) + 1)]
        else:
            rates = [Decimal(part) for part in text.split(",")]
    except (InvalidOperation, ValueError):
        raise InputError(
            f"rates '{text}': write FIRST:LAST:STEP or R1,R2,…, for example 0:0.98:0.02"
        ) from None
    for rate in rates:
        if rate.is_nan() or not 0 <= rate < 1:
            raise InputError(f"rate {rate} is outside [0, 1)")
    return [float(rate) for rate in rates]


def compute(task: Task) -> Row:
    """The row of a task: load the net, bring it to the rate, measure."""
    settings, started = task.settings, time.perf_counter()
    model, arch = checkpoints.load_model(task.checkpoint, settings.arch)
    samples = settings.data.load()
    check_fit(model, samples)
    early = checkpoints.read_state(task.early) if task.early else {}
    budget = ways.Allowance(
        settings.recipe,
        settings.epochs,
        settings.rounds,
        task.seed,
        settings.scope,
        settings.criterion,
        early,
        settings.structure,
    )
    ways.run(task.method, model, samples, task.rate, budget)
    nonzeros, size = prune.count_nonzero(model)
    row: Row = {
        "seed": task.seed,
        "method": task.method,
        "rate": task.rate,
        "accuracy": train.accuracy(model, samples.test),
        "nonzeros": nonzeros,
        "weights": size,
        "dense_bytes": 4 * size,
        "theory_bits": footprint.theory_bits(model),
        "entropy_bytes": footprint.entropy_bytes(model),
    }
    row |= {f"{name}_bytes": size for name, size in footprint.packed_bytes(model, settings.formats).items()}
    if settings.latency:
        shape = tuple(samples.test_arrays()[0].shape[1:])
        onnx, latency = footprint.onnx_bytes_and_latency(model, arch, shape, settings.formats[0])
        row |= {"onnx_bytes": onnx, "latency_ms": latency}
    if settings.activations == "int8":
        row |= integers.measured(model, arch, settings, samples)
    return row | {"seconds": time.perf_counter() - started}


def train_seeds(
    folder: Path, settings: Settings, seeds: int, run: executors.Map, rewind_epoch: int | None = None
) -> list[Path]:
    """One checkpoint a seed, trained from scratch into the folder unless it is there.

    With `rewind_epoch` the weights of that epoch too; training is repeatable, so a net whose early weights
    were not kept is trained again to the same checkpoint.
    """
    paths = [folder / f"seed{seed}.pt" for seed in range(seeds)]

    def there(path: Path) -> bool:
        return path.exists() and (rewind_epoch is None or runs.early_path(path, rewind_epoch).exists())

    missing = [(str(p), settings, seed, rewind_epoch) for seed, p in enumerate(paths) if not there(p)]
    run(_train_seed, missing, lambda job, _: None)
    return paths


def _train_seed(job: tuple[str, Settings, int, int | None]) -> None:
    path, settings, seed, rewind_epoch = job
    recipe = replace(settings.recipe, seed=seed)
    runs.run_train(Path(path), settings.arch, settings.data, recipe, force=True, rewind_epoch=rewind_epoch)


def plan(
    settings: Settings,
    models: Iterable[Path],
    seeds: int,
    methods: Iterable[str],
    rates: Iterable[float],
    rewind_epoch: int | None = None,
) -> list[Task]:
    """Every row of a sweep. One checkpoint serves all seeds; several are one seed each.

    Raises
    ------
    InputError
        If a method goes back to an early epoch, and none is named or its checkpoint is not there.
    """
    paths = list(models)
    digests = [checkpoints.digest(path) for path in paths]
    which = list(range(len(paths))) if len(paths) > 1 else [0] * seeds
    methods, wanted = list(methods), sorted(set(rates))
    tasks = []
    for seed, index in enumerate(which):
        path, digest = paths[index], digests[index]
        for method in methods:
            early = _early(path, method, rewind_epoch) if method in ways.REWINDS else None
            read = digest if early is None else f"{digest}+{checkpoints.digest(early)}"
            start = None if early is None else str(early.resolve())
            tasks += [Task(settings, str(path.resolve()), read, seed, method, rate, start) for rate in wanted]
    return tasks


def _early(path: Path, method: str, epoch: int | None) -> Path:
    """The early weights of a net, kept beside it by its training."""
    if epoch is None:
        raise InputError(f"'{method}' needs --rewind-epoch: the epoch to go back to")
    early = runs.early_path(path, epoch)
    if not early.is_file():
        raise InputError(f"{early}: not there; 'train --rewind-epoch {epoch}' keeps it beside {path.name}")
    return early


def run(
    folder: Folder,
    tasks: Sequence[Task],
    mapper: executors.Map,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Compute the rows that are missing, write the tables, return all rows in the order of the tasks."""
    found = {task.key: row for task in tasks if (row := folder.get(task)) is not None}
    progress(len(found), len(tasks))

    def keep(task: Task, row: Row) -> None:
        folder.put(task, row)
        found[task.key] = row
        progress(len(found), len(tasks))

    mapper(compute, [task for task in tasks if task.key not in found], keep)
    rows = [found[task.key] for task in tasks]
    folder.write_tables(rows)
    return rows


def limit_threads() -> None:
    """One thread a worker: rows run side by side."""
    torch.set_num_threads(1)
