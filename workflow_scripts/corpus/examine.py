"""The first pass: everything that a chunk of rows tells of itself.

Takes chunks of the source. Leaves the rows that may stay in a temporary file, grouped by task within each chunk, and
the counts of the others in the account. Chunks are examined by several threads and written in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from workflow_scripts.corpus.account import (
    CODE,
    EMPTY,
    NEGATIVE_IS_POSITIVE,
    NEGATIVE_IS_QUERY,
    POSITIVE_IS_QUERY,
    REASONS,
    Account,
    count_by_task,
)
from workflow_scripts.corpus.decontaminate import Index
from workflow_scripts.corpus.normalise import visible
from workflow_scripts.corpus.read import Chunk
from workflow_scripts.corpus.rows import INSTRUCTIONS, SCHEMA, TEXTS
from workflow_scripts.corpus.streams import ahead

SPOOL_COLUMNS = (*TEXTS, *INSTRUCTIONS)


@dataclass(frozen=True)
class Examined:
    """A chunk's rows that may stay, by task; and the counts of the others. `tasks` numbers into `names`."""

    rows_read: int
    names: list[str]
    rows_in: Counter[str]
    drops: dict[str, Counter[str]]
    table: pa.Table
    tasks: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    copies: npt.NDArray[np.uint8]  # 0 clean, 1 an exact copy of an evaluation text, 2 a near one
    copied: npt.NDArray[np.int64]  # pairs (row, evaluation task), shape (pairs, 2)


def first_pass(source: Iterator[Chunk], index: Index | None, account: Account, spool: Path, threads: int) -> None:
    schema = pa.schema([SCHEMA.field(name) for name in SPOOL_COLUMNS])
    with pa.ipc.new_file(str(spool), schema) as writer, ThreadPoolExecutor(threads) as pool:
        for _, examined in ahead(pool, lambda chunk: _examine(chunk, index), source, threads):
            _record(examined, account, writer)


def _examine(chunk: Chunk, index: Index | None) -> Examined:
    table = chunk.table.combine_chunks()
    encoded = pc.dictionary_encode(table.column("task_name").combine_chunks())
    tasks = encoded.indices.to_numpy().astype(np.int32)
    names = encoded.dictionary.to_pylist()
    unread = sum(chunk.drops.values(), Counter[str]())
    rows_in = count_by_task(tasks, names) + unread
    drops = dict(chunk.drops)
    frame = pl.DataFrame(table)
    seen = frame.with_columns(visible(frame[name]) for name in TEXTS)
    hashes = seen.hash_rows().to_numpy()
    codes = _codes(seen)
    for code in np.unique(codes[codes > 0]):
        drops[REASONS[code - 1]] = count_by_task(tasks[codes == code], names)
    rows = np.flatnonzero(codes == 0)
    rows = rows[np.argsort(tasks[rows], kind="stable")]
    table = table.take(pa.array(rows)).combine_chunks()
    copies = np.zeros(len(rows), np.uint8)
    copied = np.zeros((0, 2), np.int64)
    if index is not None and len(rows):
        for name in TEXTS:
            found = index.look(table.column(name).chunk(0))
            # An exact copy in one text outweighs a near one in another.
            copies = np.where((copies == 0) | (found.kinds == 1), found.kinds, copies)
            copied = np.concatenate([copied, np.stack([found.texts, found.tasks], axis=1)])
    return Examined(
        rows_read=chunk.rows,
        names=[*names, *(name for name in unread if name not in names)],
        rows_in=rows_in,
        drops=drops,
        table=table.select(SPOOL_COLUMNS),
        tasks=tasks[rows],
        hashes=hashes[rows],
        copies=copies,
        copied=np.unique(copied, axis=0),
    )


def _codes(seen: pl.DataFrame) -> npt.NDArray[np.uint8]:
    """Per row, its texts as a reader sees them: why it cannot stay, as far as the row alone tells; 0 where it may.
    Shape (rows,)."""
    query, pos, neg = (seen[name] for name in TEXTS)
    empty = (query == "") | (pos == "") | (neg == "")
    equal = {POSITIVE_IS_QUERY: query == pos, NEGATIVE_IS_POSITIVE: neg == pos, NEGATIVE_IS_QUERY: neg == query}
    found = {EMPTY: empty, **equal}
    return np.select(
        [where.to_numpy() for where in found.values()],
        [np.uint8(CODE[reason]) for reason in found],
        default=np.uint8(0),
    )


def _record(examined: Examined, account: Account, writer: Any) -> None:
    """Put a chunk's rows into the spool, one batch per task, and what is to be remembered into the account."""
    numbers = np.array([account.tasks.setdefault(name, len(account.tasks)) for name in examined.names], np.int32)
    account.rows_read += examined.rows_read
    account.rows_in.update(examined.rows_in)
    for reason, counts in examined.drops.items():
        account.drops[reason].update(counts)
    if not len(examined.tasks):
        return
    account.copied.append(examined.copied + np.array([account.rows, 0], np.int64))
    account.rows += len(examined.tasks)
    account.row_tasks.append(numbers[examined.tasks])
    account.row_hashes.append(examined.hashes)
    account.row_copies.append(examined.copies)
    starts = np.flatnonzero(np.r_[True, examined.tasks[1:] != examined.tasks[:-1]])
    for start, end in zip(starts, [*starts[1:], len(examined.tasks)], strict=True):
        writer.write_batch(examined.table.slice(start, end - start).to_batches()[0])
        account.batches.append((int(numbers[examined.tasks[start]]), int(end - start)))
