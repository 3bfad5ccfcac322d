"""Jobs done by a few threads, their results in the order of the jobs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def in_order(function: Callable[[Any], T], jobs: Iterable[Any], threads: int | None) -> Iterator[T]:
    """Results of the function in the order of the jobs, a few of them ahead on other threads."""
    threads = threads or min(4, os.cpu_count() or 1)
    if threads == 1:
        yield from map(function, jobs)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
