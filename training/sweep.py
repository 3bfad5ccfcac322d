"""Accuracy and bytes over pruning rates, seeds and ways of retraining: one row each, never computed twice.

Every row is a file of its own in the sweep's folder, written whole, so a killed sweep goes on with
the rows that are missing, whoever computes them: this process, a pool, or a cluster.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import torch

from ..errors import CorruptFileError, InputError
from ..exporter.artifact import atomic_file
from . import campaign, checkpoints, executors, footprint, prune, runs, train
from .runs import DataSpec

Row = dict[str, Any]


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


@dataclass(frozen=True)
class Settings:
    """What all rows of a sweep share; a folder holds rows of one set of settings only.

    Parameters
    ----------
    epochs, rounds
        Budget of the retraining methods.
    """

    arch: str
    data: DataSpec
    recipe: train.Recipe
    epochs: int = 3
    rounds: int = 3
    scope: str = "global"
    criterion: str = "l1"
    formats: tuple[str, ...] = ("csr", "auto")
    latency: bool = False


@dataclass(frozen=True)
class Task:
    """One row to compute; small and picklable, so that any process can."""

    settings: Settings
    checkpoint: str
    digest: str
    seed: int
    method: str
    rate: float

    @property
    def key(self) -> str:
        """Name of the row's file."""
        return f"seed{self.seed}-{self.method}-{self.rate:.6f}"


def compute(task: Task) -> Row:
    """The row of a task: load the net, bring it to the rate, measure."""
    settings, started = task.settings, time.perf_counter()
    model, arch = checkpoints.load_model(task.checkpoint, settings.arch)
    samples = settings.data.load()
    runs.check_fit(model, samples)
    budget = campaign.Budget(
        settings.recipe, settings.epochs, settings.rounds, task.seed, settings.scope, settings.criterion
    )
    campaign.run(task.method, model, samples, task.rate, budget)
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
        "bound_bytes": footprint.bound_bytes(model),
    }
    row |= {f"{name}_bytes": size for name, size in footprint.packed_bytes(model, settings.formats).items()}
    if settings.latency:
        shape = tuple(samples.test_arrays()[0].shape[1:])
        onnx, latency = footprint.onnx_bytes_and_latency(model, arch, shape, settings.formats[0])
        row |= {"onnx_bytes": onnx, "latency_ms": latency}
    return row | {"seconds": time.perf_counter() - started}


class Folder:
    """The folder of a sweep: its settings, one file a row, the tables made of them.

    Raises
    ------
    InputError
        If the folder holds rows of other settings.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.rows = path, path / "rows"
        try:
            self.rows.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be made a folder: {error.strerror}") from error
        wanted = json.loads(json.dumps(asdict(settings)))
        note = path / "settings.json"
        if note.exists() and (found := _read_json(note)) != wanted:
            changed = [k for k in wanted if not isinstance(found, dict) or found.get(k) != wanted[k]]
            raise InputError(
                f"{path} holds a sweep with other settings ({', '.join(changed)}); "
                "give the same ones to go on, or another folder with -o"
            )
        _write_json(note, wanted)

    def get(self, task: Task) -> Row | None:
        """The row, if it is there and of this very checkpoint."""
        path = self.rows / f"{task.key}.json"
        if not path.exists():
            return None
        row = _read_json(path)
        if not isinstance(row, dict) or "accuracy" not in row:
            raise CorruptFileError(f"{path}: not a row of a sweep; delete it")
        if row.get("digest") != task.digest:
            raise InputError(f"{path} is of another checkpoint; use another folder with -o")
        return {key: value for key, value in row.items() if key != "digest"}

    def put(self, task: Task, row: Row) -> None:
        """Keep a row, whole or not at all."""
        _write_json(self.rows / f"{task.key}.json", row | {"digest": task.digest})

    def write_tables(self, rows: Sequence[Row]) -> None:
        """Write rows.csv and rows.json."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        _write(self.path / "rows.csv", text.getvalue())
        _write_json(self.path / "rows.json", rows)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CorruptFileError(f"{path}: not readable as JSON; delete it") from error


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, indent=1))


def _write(path: Path, text: str) -> None:
    with atomic_file(path, force=True) as handle:
        handle.write(text.encode())


def train_seeds(folder: Path, settings: Settings, seeds: int, run: executors.Map) -> list[Path]:
    """One checkpoint a seed, trained from scratch into the folder unless it is there."""
    paths = [folder / f"seed{seed}.pt" for seed in range(seeds)]
    missing = [(str(path), settings, seed) for seed, path in enumerate(paths) if not path.exists()]
    run(_train_seed, missing, lambda job, _: None)
    return paths


def _train_seed(job: tuple[str, Settings, int]) -> None:
    from dataclasses import replace

    path, settings, seed = job
    runs.run_train(Path(path), settings.arch, settings.data, replace(settings.recipe, seed=seed))


def plan(
    settings: Settings, models: Iterable[Path], seeds: int, methods: Iterable[str], rates: Iterable[float]
) -> list[Task]:
    """Every row of a sweep. One checkpoint serves all seeds; several are one seed each."""
    paths = list(models)
    digests = [checkpoints.digest(path) for path in paths]
    which = list(range(len(paths))) if len(paths) > 1 else [0] * seeds
    methods = list(methods)
    wanted = sorted(set(rates))
    return [
        Task(settings, str(paths[index].resolve()), digests[index], seed, method, rate)
        for seed, index in enumerate(which)
        for method in methods
        for rate in wanted
    ]


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
