"""Prepare the training pairs: read, clean, deduplicate, keep clear of the evaluation texts, cap, group by task.

Takes the source of the pairs and the evaluation tasks' folders. Leaves pairs.parquet (rows of a task together),
sample.parquet and corpus.json, which accounts for every row: rows in = rows out + drops by reason and task.
It streams: a first pass writes what may stay to a temporary file, grouped by task within each chunk, and remembers
a few bytes per row; a second pass reads that back task by task. Memory does not grow with the text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from workflow_scripts.artefact import (
    atomic_write,
    exclusive_lock,
    log,
    temporary_folder,
    versions,
    write_digests,
    write_json,
)
from workflow_scripts.command_line import InputError, Settings, parse_settings, parser, run, users_file
from workflow_scripts.corpus.account import Account, count_by_task, decide
from workflow_scripts.corpus.decontaminate import Index
from workflow_scripts.corpus.examine import first_pass
from workflow_scripts.corpus.files import pairs_files
from workflow_scripts.corpus.group import second_pass
from workflow_scripts.corpus.read import Chunk, chunks
from workflow_scripts.corpus.rows import COLUMNS, SCHEMA
from workflow_scripts.corpus.streams import ROWS, opened
from workflow_scripts.evaluation import wordnet
from workflow_scripts.study.sections.corpus import Corpus


class PairsSettings(Settings):
    """What decides the pairs."""

    corpus: Corpus
    evaluation: list[str]  # folders of the tasks to keep clear of


def prepare(settings: PairsSettings, source: str | None, output: Path, threads: int = 2) -> dict[str, Any]:
    """Make the pairs; `output` is the manifest, and the other files lie beside it. Returns the manifest."""
    started = time.monotonic()
    account = Account()
    folder = output.parent
    evaluation = [Path(task).name for task in settings.evaluation]
    index = _index(settings)
    with temporary_folder(folder / "pairs") as scratch:
        spool = scratch / "spool.arrow"
        first_pass(_chunks_of_source(settings.corpus.source, source), index, account, spool, threads)
        del index
        keep = decide(account, settings.corpus, evaluation)
        if not keep.any():
            raise InputError(
                f"{source or settings.corpus.source}: no pair is left of {account.rows_in.total()} rows"
                + "".join(f"; {reason}: {counts.total()}" for reason, counts in account.drops.items() if counts)
            )
        with atomic_write(folder / "pairs.parquet") as pairs, atomic_write(folder / "sample.parquet") as sample:
            second_pass(account, keep, spool, settings.corpus, pairs, sample)
    kept = count_by_task(np.concatenate(account.row_tasks)[keep], list(account.tasks))
    manifest: dict[str, Any] = {
        "source": settings.corpus.source,
        "revision": settings.corpus.repository.rpartition("@")[2] if settings.corpus.source == "medi" else None,
        "rows_read": account.rows_read,
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
    files = {name: folder / f"{name}.parquet" for name in ("pairs", "sample")}
    for name, file in files.items():  # one each: only rotations, and codecs that are fitted, read the sample
        write_digests(folder / f"{name}.sha256", [file])
    write_digests(folder / "corpus.sha256", files.values())
    return manifest


def _index(settings: PairsSettings) -> Index | None:
    """The evaluation texts to keep clear of."""
    if not settings.evaluation:
        return None
    return Index([_evaluation_texts(Path(folder)) for folder in settings.evaluation], settings.corpus.near_duplicate)


def _evaluation_texts(folder: Path) -> Iterator[pa.LargeStringArray]:
    """Those of a task's texts.parquet that training must not have seen, in parts."""
    path, count = folder / "texts.parquet", 0
    with users_file(f"{path}: expected columns text and evaluation"):
        for batch in opened(path).iter_batches(2048, columns=["text", "evaluation"]):
            texts = batch.filter(batch.column("evaluation")).column("text").cast(pa.large_string())
            count += len(texts)
            yield texts
    log.info("keeping clear of %s: %d texts", folder.name, count)


def _chunks_of_source(kind: str, source: str | None) -> Iterator[Chunk]:
    if kind == "wordnet":
        yield from _wordnet_chunks()
        return
    for file in pairs_files(Path(source if source is not None else kind)):
        rows = triples = 0
        for chunk in chunks(file):
            rows, triples = rows + chunk.rows, triples + chunk.table.num_rows
            yield chunk
        log.info("read %s: %d rows, %d pairs", file.path.name, rows, triples)


def _wordnet_chunks() -> Iterator[Chunk]:
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for row in wordnet.training_rows():
        for name in COLUMNS:
            columns[name].append(row[name])
        if len(columns["query"]) == ROWS:
            yield Chunk(pa.table(columns, schema=SCHEMA), ROWS)
            columns = {name: [] for name in COLUMNS}
    if columns["query"]:
        yield Chunk(pa.table(columns, schema=SCHEMA), len(columns["query"]))


def main() -> None:
    command = parser(__doc__, "the study's section corpus, and the folders of the evaluation tasks")
    command.add_argument("--threads", type=int, default=2, help="chunks examined at once")
    command.add_argument(
        "--source", nargs="?", help="the download's digests, or pairs that are not where the settings say"
    )
    command.add_argument(
        "--output", required=True, type=Path, help="the manifest, corpus.json; the rest lies beside it"
    )
    arguments = command.parse_args()
    settings = parse_settings(PairsSettings, arguments.settings)
    with exclusive_lock(arguments.output):
        manifest = prepare(settings, arguments.source, arguments.output, arguments.threads)
    log.info("%d rows in, %d rows out", manifest["rows_in"], manifest["rows_out"])


if __name__ == "__main__":
    run(main)
