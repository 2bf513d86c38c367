"""Prepare the training pairs: read, clean, deduplicate, keep clear of the evaluation texts, cap, group by task.

Takes the source of the pairs and the evaluation tasks' folders. Leaves pairs.parquet (rows of a task together),
sample.parquet and corpus.json, which accounts for every row: rows in = rows out + drops by reason and task.
It streams: a first pass writes what may stay to a temporary file, grouped by task within each chunk, and remembers
a few bytes per row; a second pass reads that back task by task. Memory does not grow with the text.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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

from workflow_scripts.artefact import atomic_write, exclusive_lock, log, versions, write_digests, write_json
from workflow_scripts.command_line import start_log
from workflow_scripts.corpus.decontaminate import Index
from workflow_scripts.corpus.read import (
    BYTES,
    COLUMNS,
    INSTRUCTIONS,
    NOT_PAIRS,
    ROWS,
    SCHEMA,
    TEXTS,
    Chunk,
    InputError,
    ahead,
    chunks,
    files_of,
    opened,
)
from workflow_scripts.evaluation import wordnet
from workflow_scripts.study.sections.corpus import Corpus

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
    contaminated: dict[str, dict[str, int]] = field(default_factory=dict)  # task -> evaluation task -> rows
    rows: int = 0  # in the spool
    row_tasks: list[npt.NDArray[np.int32]] = field(default_factory=list)
    row_hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    row_copies: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    copied: list[npt.NDArray[np.int64]] = field(default_factory=list)  # pairs (row of the spool, evaluation task)
    batches: list[tuple[int, int]] = field(default_factory=list)  # (task, rows) of each batch of the spool


def prepare(settings: PairsSettings, source: str | None, output: Path, threads: int = 2) -> dict[str, Any]:
    """Make the pairs; `output` is the manifest, and the other files lie beside it. Returns the manifest."""
    started = time.monotonic()
    account = Account()
    folder = output.parent
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = [Path(task).name for task in settings.evaluation]
    index = _index(settings)
    with tempfile.TemporaryDirectory(prefix=".pairs.", suffix=".part", dir=folder) as scratch:
        spool = Path(scratch) / "spool.arrow"
        _first_pass(_chunks_of_source(settings.corpus.source, source), index, account, spool, threads)
        del index
        keep = _decide(account, settings.corpus, evaluation)
        if not keep.any():
            raise InputError(
                f"{source or settings.corpus.source}: no pair is left of {account.rows_in.total()} rows"
                + "".join(f"; {reason}: {counts.total()}" for reason, counts in account.drops.items() if counts)
            )
        with atomic_write(folder / "pairs.parquet") as pairs, atomic_write(folder / "sample.parquet") as sample:
            _second_pass(account, keep, spool, settings.corpus, pairs, sample)
    kept = _by_task(np.concatenate(account.row_tasks)[keep], list(account.tasks))
    manifest: dict[str, Any] = {
        "source": settings.corpus.source,
        "revision": settings.corpus.repository.rpartition("@")[2] if settings.corpus.source == "medi" else None,
        "rows_in": account.rows_in.total(),
        "rows_out": int(keep.sum()),
        "drops": {reason: dict(counts) for reason, counts in account.drops.items() if counts},
        "tasks": {
            name: {
                "rows_in": account.rows_in[name],
                "rows_out": kept[name],
                "contaminated": account.contaminated.get(name, {}),
            }
            for name in account.tasks
        },
        "decontaminated_against": evaluation,
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions("numpy", "polars", "pyarrow"),
    }
    write_json(output, manifest)
    write_digests(folder / "corpus.sha256", [folder / "pairs.parquet", folder / "sample.parquet"])
    return manifest


def _index(settings: PairsSettings) -> Index | None:
    """The evaluation texts to keep clear of."""
    if not settings.evaluation:
        return None
    return Index([_evaluation_texts(Path(folder)) for folder in settings.evaluation], settings.corpus.near_duplicate)


def _evaluation_texts(folder: Path) -> Iterator[pa.LargeStringArray]:
    """Those of a task's texts.parquet that training must not have seen, in parts."""
    file, count = folder / "texts.parquet", 0
    try:
        for batch in opened(file).iter_batches(2048, columns=["text", "evaluation"]):
            texts = batch.filter(batch.column("evaluation")).column("text").cast(pa.large_string())
            count += len(texts)
            yield texts
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{file}: expected columns text and evaluation ({str(error).splitlines()[0]})") from None
    log.info("keeping clear of %s: %d texts", folder.name, count)


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
        return files_of(path) if path.name not in NOT_PAIRS else []
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


@dataclass(frozen=True)
class Examined:
    """A chunk's rows that may stay, by task; and the counts of the others. `tasks` numbers into `names`."""

    names: list[str]
    rows_in: Counter[str]
    drops: dict[str, Counter[str]]
    table: pa.Table
    tasks: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    copies: npt.NDArray[np.uint8]  # 0 clean, 1 an exact copy of an evaluation text, 2 a near one
    copied: npt.NDArray[np.int64]  # pairs (row, evaluation task), shape (pairs, 2)


def _first_pass(source: Iterator[Chunk], index: Index | None, account: Account, spool: Path, threads: int) -> None:
    schema = pa.schema([SCHEMA.field(name) for name in SPOOL_COLUMNS])
    with pa.ipc.new_file(str(spool), schema) as writer, ThreadPoolExecutor(threads) as pool:
        for _, examined in ahead(pool, lambda chunk: _examine(chunk, index), source, threads):
            _record(examined, account, writer)


def _examine(chunk: Chunk, index: Index | None) -> Examined:
    table = chunk.table.combine_chunks()
    names = pc.dictionary_encode(table.column("task_name").combine_chunks())
    tasks = names.indices.to_numpy().astype(np.int32)
    names = names.dictionary.to_pylist()
    rows_in = _by_task(tasks, names) + chunk.malformed
    drops = {MALFORMED: chunk.malformed}
    codes = _codes(table) if len(table) else np.zeros(0, np.uint8)
    for code in np.unique(codes[codes > 0]):
        drops[REASONS[code - 1]] = _by_task(tasks[codes == code], names)
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
        names=[*names, *(name for name in chunk.malformed if name not in names)],
        rows_in=rows_in,
        drops=drops,
        table=table.select(SPOOL_COLUMNS),
        tasks=tasks[rows],
        hashes=pl.DataFrame(table).hash_rows().to_numpy() if len(rows) else np.zeros(0, np.uint64),
        copies=copies,
        copied=np.unique(copied, axis=0),
    )


def _record(examined: Examined, account: Account, writer: Any) -> None:
    """Put a chunk's rows into the spool, one batch per task, and what is to be remembered into the account."""
    numbers = np.array([account.tasks.setdefault(name, len(account.tasks)) for name in examined.names], np.int32)
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


def _decide(account: Account, corpus: Corpus, evaluation: list[str]) -> npt.NDArray[np.bool_]:
    """Which rows of the spool stay, shape (rows in the spool,); counts the others by reason and task."""
    if not account.rows:
        return np.zeros(0, bool)
    names = list(account.tasks)
    tasks = np.concatenate(account.row_tasks)
    copies = np.concatenate(account.row_copies)
    codes = np.zeros(len(tasks), np.uint8)
    codes[copies == 1] = CODE[CONTAMINATED_EXACT]
    codes[copies == 2] = CODE[CONTAMINATED_NEAR]
    _, first = np.unique(np.concatenate(account.row_hashes), return_index=True)
    repeated = np.ones(len(tasks), bool)
    repeated[first] = False
    codes[repeated] = CODE[DUPLICATE]
    rows, sources = np.concatenate(account.copied).T
    once = ~repeated[rows]
    for (task, source), count in Counter(zip(tasks[rows[once]].tolist(), sources[once].tolist(), strict=True)).items():
        account.contaminated.setdefault(names[task], {})[evaluation[source]] = count
    if corpus.rows_per_task is not None:
        for number, name in enumerate(names):
            left = np.flatnonzero((tasks == number) & (codes == 0))
            draw = np.random.default_rng([corpus.seed, *name.encode()]).permutation(left)
            codes[draw[corpus.rows_per_task :]] = CODE[CAP]
    for code in np.unique(codes[codes > 0]):
        account.drops[REASONS[code - 1]].update(_by_task(tasks[codes == code], names))
    return np.asarray(codes == 0)


# ---- the second pass: task by task


def _second_pass(
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
    """Write the tables as one row group, let the sample see them, and empty the list."""
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


# ---- small things


def _by_task(tasks: npt.NDArray[np.int32], names: list[str]) -> Counter[str]:
    """How many rows each task has, by name; tasks without any are left out."""
    counts = np.bincount(tasks, minlength=len(names))
    return Counter({names[number]: int(counts[number]) for number in np.flatnonzero(counts)})


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare the training pairs, with an account of every row dropped.")
    parser.add_argument("--settings", required=True, help="JSON: the study's section corpus, and the evaluation tasks")
    parser.add_argument("--threads", type=int, default=2, help="chunks examined at once")
    parser.add_argument(
        "--source", nargs="?", help="the download's digests, or pairs that are not where the settings say"
    )
    parser.add_argument("--output", required=True, type=Path, help="the manifest, corpus.json; the rest lies beside it")
    arguments = parser.parse_args()
    start_log()
    try:
        settings = PairsSettings.model_validate(json.loads(arguments.settings))
        with exclusive_lock(arguments.output):
            manifest = prepare(settings, arguments.source, arguments.output, arguments.threads)
    except (InputError, FileNotFoundError, ValidationError, json.JSONDecodeError) as error:
        raise SystemExit(f"pairs: {error}") from None
    log.info("%d rows in, %d rows out", manifest["rows_in"], manifest["rows_out"])


if __name__ == "__main__":
    main()
