"""What this room's streams share: how much is held at once, parquet read in pages, and work done ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq

ROWS = 16_384
BYTES = 32 * 2**20

Item = TypeVar("Item")
Result = TypeVar("Result")


def opened(path: Path) -> pq.ParquetFile:
    """A parquet file read page by page: its row groups may be larger than what memory is to hold."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)


def ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with what the function makes of it, in order, while the pool has up to `count` of the next ones."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) > count:
            first, made = waiting.popleft()
            yield first, made.result()
    while waiting:
        first, made = waiting.popleft()
        yield first, made.result()
