"""The second pass: the rows that stay, task by task, and a sample of their texts.

Takes the temporary file of the first pass and which of its rows stay. Leaves pairs.parquet and sample.parquet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.corpus.account import Account
from workflow_scripts.corpus.rows import COLUMNS, INSTRUCTIONS, TEXTS
from workflow_scripts.corpus.streams import BYTES, ROWS
from workflow_scripts.study.sections.corpus import Corpus


def second_pass(
    account: Account, keep: npt.NDArray[np.bool_], spool: Path, corpus: Corpus, pairs: Path, sample: Path
) -> None:
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    draw = Sample(corpus.sample_texts, corpus.seed)
    with (
        pa.OSFile(str(spool)) as file,
        pa.ipc.open_file(file) as reader,
        pq.ParquetWriter(
            pairs, schema, compression="zstd", compression_level=1, use_dictionary=["task_name", *INSTRUCTIONS]
        ) as writer,
    ):
        waiting: list[pa.Table] = []
        rows = size = 0
        for table in _kept_by_task(account, keep, reader):
            waiting.append(table)
            rows, size = rows + len(table), size + table.nbytes
            if rows >= ROWS or size >= BYTES:  # row groups of one size, whatever the size of the tasks
                _write(waiting, writer, draw)
                rows = size = 0
        _write(waiting, writer, draw)
    pq.write_table(pa.table({"text": draw.texts()}), sample, compression="zstd")


def _kept_by_task(account: Account, keep: npt.NDArray[np.bool_], reader: Any) -> Iterator[pa.Table]:
    """The rows that stay, task by task in the order of appearance, each task's rows in their own order."""
    places: dict[int, list[tuple[int, int, int]]] = {number: [] for number in account.tasks.values()}
    row = 0
    for batch, (task, rows) in enumerate(account.batches):
        places[task].append((batch, row, rows))
        row += rows
    for name, number in account.tasks.items():
        for batch, start, rows in places[number]:
            mask = keep[start : start + rows]
            if mask.any():
                table = pa.Table.from_batches([reader.get_batch(batch)]).filter(pa.array(mask))
                table = table.append_column("task_name", pa.repeat(pa.scalar(name, pa.large_string()), len(table)))
                yield table.select(COLUMNS)


def _write(waiting: list[pa.Table], writer: pq.ParquetWriter, draw: Sample) -> None:
    """Write the tables as one row group, add them to the sample, and empty the list."""
    if waiting:
        table = pa.concat_tables(waiting)
        draw.add(table)
        writer.write_table(table.cast(writer.schema), row_group_size=max(len(table), 1))
        waiting.clear()


class Sample:
    """A draw of distinct texts from a stream: those whose seeded hashes are the smallest."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.hashes = np.zeros(0, np.uint64)  # of the drawn, rising
        self.drawn = pa.array([], pa.large_string())

    def add(self, table: pa.Table) -> None:
        for name in TEXTS:
            texts = table.column(name).cast(pa.large_string()).combine_chunks()
            hashes = pl.Series(texts).hash(self.seed).to_numpy()
            if len(self.hashes) == self.size:
                low = np.flatnonzero(hashes < self.hashes[-1])
                texts, hashes = texts.take(pa.array(low)), hashes[low]
            self.hashes, first = np.unique(np.concatenate([self.hashes, hashes]), return_index=True)
            self.hashes = self.hashes[: self.size]
            # copies what is drawn: a view would keep the whole table that it was drawn from
            self.drawn = pa.concat_arrays([self.drawn, texts]).take(pa.array(first[: self.size]))

    def texts(self) -> pa.Array:
        return self.drawn.cast(pa.string())
