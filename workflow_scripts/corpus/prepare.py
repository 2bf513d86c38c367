"""Prepare the training pairs: read, clean, deduplicate, keep clear of the evaluation texts, cap, group by task.

Takes the source of the pairs and the evaluation tasks' folders. Leaves pairs.parquet (rows of a task together),
sample.parquet and corpus.json, which accounts for every row: rows in = rows out + drops by reason and task.
It streams: a first pass writes what may stay to a temporary file, grouped by task within each chunk, and remembers
a few bytes per row; a second pass reads that back task by task. Memory does not grow with the text.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from workflow_scripts import wordnet
from workflow_scripts.artefact import claim, log, start_log, versions, whole_file, write_digests, write_json
from workflow_scripts.corpus.read import COLUMNS, INSTRUCTIONS, ROWS, SCHEMA, TEXTS, Chunk, InputError, chunks, files_of
from workflow_scripts.study import Corpus

MALFORMED = "malformed"
EMPTY = "empty"
POSITIVE_IS_QUERY = "positive equals query"
NEGATIVE_IS_POSITIVE = "negative equals positive"
DUPLICATE = "exact duplicate"
CONTAMINATED_EXACT = "contaminated, exact"
CONTAMINATED_NEAR = "contaminated, near"
CAP = "cap"
# A row is dropped for the first of these that holds. 0 stands for a row that stays.
REASONS = (
    MALFORMED,
    EMPTY,
    POSITIVE_IS_QUERY,
    NEGATIVE_IS_POSITIVE,
    DUPLICATE,
    CONTAMINATED_EXACT,
    CONTAMINATED_NEAR,
    CAP,
)
CODE = {reason: code for code, reason in enumerate(REASONS, start=1)}
SPOOL_COLUMNS = (*TEXTS, *INSTRUCTIONS)


class PairsSettings(BaseModel):
    """What decides the pairs."""

    model_config = ConfigDict(extra="forbid")

    corpus: Corpus
    evaluation: list[str]  # folders of the tasks to keep clear of


@dataclass
class Account:
    """What happened to the rows: counts by reason and task, and a few bytes for each row in the spool."""

    tasks: dict[str, int] = field(default_factory=dict)  # name -> number, in the order of appearance
    rows_in: Counter[str] = field(default_factory=Counter)
    drops: dict[str, Counter[str]] = field(default_factory=lambda: {reason: Counter() for reason in REASONS})
    row_tasks: list[npt.NDArray[np.int32]] = field(default_factory=list)
    row_hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    row_codes: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    batches: list[tuple[int, int]] = field(default_factory=list)  # (task, rows) of each batch of the spool

    def number_of(self, task: str) -> int:
        return self.tasks.setdefault(task, len(self.tasks))


def prepare(settings: PairsSettings, source: str | None, output: Path) -> dict[str, Any]:
    """Make the pairs; `output` is the manifest, and the other files lie beside it. Returns the manifest."""
    started = time.monotonic()
    account = Account()
    folder = output.parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pairs.", suffix=".part", dir=folder) as scratch:
        spool = Path(scratch) / "spool.arrow"
        _first_pass(_chunks_of_source(settings.corpus.source, source), account, spool)
        keep = _decide(account, settings.corpus)
        if not keep.any():
            raise InputError(f"{source or settings.corpus.source}: no pair is left of {account.rows_in.total()} rows")
        with whole_file(folder / "pairs.parquet") as pairs, whole_file(folder / "sample.parquet") as sample:
            _second_pass(account, keep, spool, settings.corpus, pairs, sample)
    kept = np.bincount(np.concatenate(account.row_tasks)[keep], minlength=len(account.tasks))
    manifest = {
        "source": settings.corpus.source,
        "revision": settings.corpus.repository.rpartition("@")[2] if settings.corpus.source == "medi" else None,
        "rows_in": account.rows_in.total(),
        "rows_out": int(keep.sum()),
        "drops": {reason: dict(counts) for reason, counts in account.drops.items() if counts},
        "tasks": {
            name: {"rows_in": account.rows_in[name], "rows_out": int(kept[number]), "contaminated": {}}
            for name, number in account.tasks.items()
        },
        "decontaminated_against": [],
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions("polars", "pyarrow"),
    }
    write_json(output, manifest)
    write_digests(folder / "corpus.sha256", [folder / "pairs.parquet", folder / "sample.parquet"])
    return manifest


# ---- reading


def _chunks_of_source(kind: str, source: str | None) -> Iterator[Chunk]:
    if kind == "wordnet":
        yield from _wordnet_chunks()
        return
    path = Path(source if source is not None else kind)
    for file in _listed_files(path) if path.suffix == ".sha256" else files_of(path):
        rows = 0
        for chunk in chunks(file):
            rows += chunk.table.num_rows + chunk.malformed.total()
            yield chunk
        log.info("read %s: %d rows", file.name, rows)


def _listed_files(digests: Path) -> list[Path]:
    """The files that a download's list of digests names, in its order, those that hold pairs."""
    try:
        names = [line.split("  ", 1)[1] for line in digests.read_text().splitlines() if line]
    except (OSError, IndexError) as error:
        raise InputError(f"{digests}: not a list of digests ({error}); run the download again") from None
    found = [file for name in names for file in _pairs_among(digests.parent / name)]
    if not found:
        raise InputError(f"{digests}: names no file of pairs")
    return found


def _pairs_among(path: Path) -> list[Path]:
    try:
        return files_of(path) if path.name != "source.json" else []
    except InputError:
        if not path.exists():
            raise
        return []


def _wordnet_chunks() -> Iterator[Chunk]:
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for row in wordnet.training_rows():
        for name in COLUMNS:
            columns[name].append(row[name])
        if len(columns["query"]) == ROWS:
            yield Chunk(pa.table(columns, schema=SCHEMA))
            columns = {name: [] for name in COLUMNS}
    if columns["query"]:
        yield Chunk(pa.table(columns, schema=SCHEMA))


# ---- the first pass: everything that a chunk can tell of itself


def _first_pass(source: Iterator[Chunk], account: Account, spool: Path) -> None:
    schema = pa.schema([SCHEMA.field(name) for name in SPOOL_COLUMNS])
    with pa.ipc.new_file(str(spool), schema) as writer:
        for chunk in source:
            _count(account.rows_in, account.drops[MALFORMED], chunk.malformed)
            for task in chunk.malformed:
                account.number_of(task)
            if chunk.table.num_rows:
                _spool_chunk(chunk.table, account, writer)


def _spool_chunk(table: pa.Table, account: Account, writer: Any) -> None:
    table = table.combine_chunks()
    names = table.column("task_name").chunk(0).dictionary_encode()
    _count(account.rows_in, Counter(dict(_value_counts(names))))
    numbers = np.array([account.number_of(name) for name in names.dictionary.to_pylist()], np.int32)
    tasks = numbers[names.indices.to_numpy()]
    codes = _codes(table)
    for code in np.unique(codes[codes > 0]):
        dropped = Counter(tasks[codes == code].tolist())
        by_number = list(account.tasks)
        _count(account.drops[REASONS[code - 1]], Counter({by_number[n]: count for n, count in dropped.items()}))
    rows = np.flatnonzero(codes == 0)
    rows = rows[np.argsort(tasks[rows], kind="stable")]
    if not len(rows):
        return
    tasks = tasks[rows]
    grouped = table.take(pa.array(rows))
    account.row_hashes.append(pl.DataFrame(grouped).hash_rows().to_numpy())
    account.row_tasks.append(tasks)
    account.row_codes.append(np.zeros(len(rows), np.uint8))
    grouped = grouped.select(SPOOL_COLUMNS).combine_chunks()
    starts = np.flatnonzero(np.r_[True, tasks[1:] != tasks[:-1]])
    for start, end in zip(starts, [*starts[1:], len(tasks)], strict=True):
        writer.write_batch(grouped.slice(start, end - start).to_batches()[0])
        account.batches.append((int(tasks[start]), int(end - start)))


def _codes(table: pa.Table) -> npt.NDArray[np.uint8]:
    """Per row: why it cannot stay, as far as the row alone tells; 0 where it may. Shape (rows,)."""
    query, pos, neg = (table.column(name).chunk(0) for name in TEXTS)
    empty = pc.or_(pc.or_(_is_blank(query), _is_blank(pos)), _is_blank(neg)).to_numpy(zero_copy_only=False)
    same = pc.equal(query, pos).to_numpy(zero_copy_only=False)
    clash = pc.equal(neg, pos).to_numpy(zero_copy_only=False)
    codes = np.select(
        [empty, same, clash], [CODE[EMPTY], CODE[POSITIVE_IS_QUERY], CODE[NEGATIVE_IS_POSITIVE]], default=0
    )
    return codes.astype(np.uint8)


def _is_blank(texts: pa.Array) -> pa.Array:
    return pc.equal(pc.binary_length(pc.utf8_ltrim_whitespace(texts)), 0)


# ---- between the passes: what only all rows together tell


def _decide(account: Account, corpus: Corpus) -> npt.NDArray[np.bool_]:
    """Which rows of the spool stay, shape (rows in the spool,); counts the others by reason and task."""
    if not account.row_tasks:
        return np.zeros(0, bool)
    tasks = np.concatenate(account.row_tasks)
    hashes = np.concatenate(account.row_hashes)
    codes = np.concatenate(account.row_codes)
    _, first = np.unique(hashes, return_index=True)
    repeated = np.ones(len(hashes), bool)
    repeated[first] = False
    codes[repeated] = CODE[DUPLICATE]
    if corpus.rows_per_task is not None:
        for number, name in enumerate(account.tasks):
            rows = np.flatnonzero((tasks == number) & (codes == 0))
            if len(rows) > corpus.rows_per_task:
                draw = np.random.default_rng([corpus.seed, *name.encode()]).permutation(rows)
                codes[draw[corpus.rows_per_task :]] = CODE[CAP]
    names = list(account.tasks)
    for code in np.unique(codes[codes > 0]):
        counts = np.bincount(tasks[codes == code], minlength=len(names))
        dropped = Counter({names[n]: int(counts[n]) for n in np.flatnonzero(counts)})
        _count(account.drops[REASONS[code - 1]], dropped)
    return np.asarray(codes == 0)


# ---- the second pass: task by task


def _second_pass(
    account: Account, keep: npt.NDArray[np.bool_], spool: Path, corpus: Corpus, pairs: Path, sample: Path
) -> None:
    places: dict[int, list[tuple[int, int, int]]] = {number: [] for number in account.tasks.values()}
    row = 0
    for batch, (task, rows) in enumerate(account.batches):
        places[task].append((batch, row, rows))
        row += rows
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    draw = _Sample(corpus.sample_texts, corpus.seed)
    with (
        pa.OSFile(str(spool)) as file,
        pa.ipc.open_file(file) as reader,
        pq.ParquetWriter(
            pairs, schema, compression="zstd", compression_level=1, use_dictionary=["task_name", *INSTRUCTIONS]
        ) as writer,
    ):
        waiting: list[pa.Table] = []

        def flush() -> None:
            if waiting:
                table = pa.concat_tables(waiting)
                draw.add(table)
                writer.write_table(table.cast(schema), row_group_size=ROWS)
                waiting.clear()

        for name, number in account.tasks.items():
            for batch, start, rows in places[number]:
                mask = keep[start : start + rows]
                if not mask.any():
                    continue
                table = pa.Table.from_batches([reader.get_batch(batch)]).filter(pa.array(mask))
                table = table.append_column("task_name", pa.repeat(pa.scalar(name, pa.large_string()), len(table)))
                waiting.append(table.select(COLUMNS))
                if sum(len(t) for t in waiting) >= ROWS:
                    flush()
        flush()
    pq.write_table(pa.table({"text": draw.texts()}), sample, compression="zstd")


class _Sample:
    """A draw of distinct texts from a stream: those whose seeded hashes are the smallest."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.drawn = pl.DataFrame(schema={"hash": pl.UInt64, "text": pl.String})

    def add(self, table: pa.Table) -> None:
        worst = self.drawn["hash"].max() if len(self.drawn) == self.size else None
        for name in TEXTS:
            texts = pl.Series("text", pl.from_arrow(table.column(name)), pl.String)
            found = pl.DataFrame({"hash": texts.hash(self.seed), "text": texts})
            if worst is not None:
                found = found.filter(pl.col("hash") < worst)
            self.drawn = pl.concat([self.drawn, found]).unique("hash").sort("hash").head(self.size)

    def texts(self) -> pa.Array:
        return self.drawn["text"].to_arrow().cast(pa.string())


# ---- small things


def _count(*counters_and_counts: Counter[str]) -> None:
    """Add the last counter to each of those before it."""
    *counters, counts = counters_and_counts
    for counter in counters:
        counter.update(counts)


def _value_counts(names: pa.DictionaryArray) -> list[tuple[str, int]]:
    counts = np.bincount(names.indices.to_numpy(), minlength=len(names.dictionary))
    return list(zip(names.dictionary.to_pylist(), counts.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare the training pairs, with an account of every row dropped.")
    parser.add_argument("--settings", required=True, help="JSON: the study's section corpus, and the evaluation tasks")
    parser.add_argument("--source", nargs="*", default=[], help="the download's digests, or the user's file or folder")
    parser.add_argument("--output", required=True, type=Path, help="the manifest, corpus.json; the rest lies beside it")
    arguments = parser.parse_args()
    start_log()
    try:
        settings = PairsSettings.model_validate(json.loads(arguments.settings))
        with claim(arguments.output):
            manifest = prepare(settings, arguments.source[0] if arguments.source else None, arguments.output)
    except (InputError, FileNotFoundError, ValidationError, json.JSONDecodeError) as error:
        raise SystemExit(f"pairs: {error}") from None
    log.info("%d rows in, %d rows out", manifest["rows_in"], manifest["rows_out"])


if __name__ == "__main__":
    sys.exit(main())
