"""Doing many independent jobs: here, in a pool of processes, or on a running dask.distributed cluster.

All three hand each result over as soon as it is there, so that what is done is kept whatever happens
to the rest; a worker that dies costs only the job it was at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from ...errors import InputError, MissingDependencyError, SparseExportError

#: How often a pool is set up anew after a worker died.
RESTARTS = 3


class Map(Protocol):
    """`run(function, jobs, keep)` calls keep(job, function(job)) for every job, in any order."""

    def __call__(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], keep: Callable[[Any, Any], None]
    ) -> None: ...


def here(function: Callable[[Any], Any], jobs: Sequence[Any], keep: Callable[[Any, Any], None]) -> None:
    """One after the other in this process."""
    for job in jobs:
        keep(job, function(job))


class Pool:
    """Side by side in fresh processes, `initializer` run in each."""

    def __init__(self, processes: int, initializer: Callable[[], None] | None = None) -> None:
        if processes < 1:
            raise InputError("--jobs must be at least 1")
        self.processes, self.initializer = processes, initializer

    def __call__(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], keep: Callable[[Any, Any], None]
    ) -> None:
        import multiprocessing

        left = list(jobs)

        def done(job: Any, result: Any) -> None:
            keep(job, result)
            left.remove(job)

        for attempt in range(RESTARTS + 1):
            if not left:
                return
            context = multiprocessing.get_context("spawn")  # a fork after torch's threads can hang
            count = min(self.processes, len(left))
            pool = ProcessPoolExecutor(count, mp_context=context, initializer=self.initializer)
            try:
                _collect(pool, function, left, done)
            except BrokenProcessPool as error:
                if attempt == RESTARTS:
                    raise SparseExportError(f"worker processes keep dying: {error}") from error
            finally:
                pool.shutdown(cancel_futures=True)


class Cluster:
    """On the workers of a dask.distributed scheduler, through its concurrent.futures interface.

    The workers need this package and the files that the jobs name. A job whose worker dies is run again
    on another.

    Parameters
    ----------
    address
        Of the scheduler, for example "tcp://10.0.0.5:8786".
    """

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        self.address, self.timeout = address, timeout

    def __call__(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], keep: Callable[[Any, Any], None]
    ) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingDependencyError(
                "dask.distributed is not installed: pip install 'sparse-export[distributed]'"
            ) from error
        try:
            client: Any = Client(self.address, timeout=self.timeout)  # type: ignore[no-untyped-call]
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"no scheduler answers at '{self.address}'") from error
        with client, client.get_executor(pure=False, retries=RESTARTS) as executor:
            _collect(executor, function, list(jobs), keep)


def _collect(
    executor: Executor,
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    keep: Callable[[Any, Any], None],
) -> None:
    futures: dict[Future[Any], Any] = {executor.submit(function, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            keep(futures[future], future.result())
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def choose(jobs: int, scheduler: str | None, initializer: Callable[[], None] | None = None) -> Map:
    """The cluster where an address is given, else a pool for more than one job, else this process."""
    if scheduler is not None:
        return Cluster(scheduler)
    return Pool(jobs, initializer) if jobs != 1 else here
