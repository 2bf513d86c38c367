"""A task that mteb scores by the protocol of its base classes, as plain data: all that scoring needs of it, and no mteb.

Takes a task's folder, as `tasks/save.py` wrote it: the task's `data/`, and `protocol/`, which says what mteb does with it. Leaves
a `RetrievalTask` or a `ClassificationTask`, or None for a task that mteb alone can score. It exists because importing mteb
takes longer than scoring a small task.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.artefact import read_json
from workflow_scripts.command_line import InputError

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.int64]]
TRAIN = ""  # the prompt type of a text that is neither a query nor a document
QUERY, DOCUMENT = "query", "document"
DEPTH = 1000  # documents that mteb keeps per query
ROW_GROUP = 1 << 20  # rows of a parquet file that are in memory at once: what its writers take by default
ROWS_AT_ONCE = 50_000  # whose texts are Python objects
DATA, LAYOUT = "data", "layout.json"
PROTOCOL, FACTS = "protocol", "facts.json"
CORPUS, QUERIES, JUDGEMENTS, ROWS = "corpus.parquet", "queries.parquet", "qrels.parquet", "rows.parquet"
QUERY_TEXTS = "query_texts.parquet"  # as an encoder is asked for them, in the order of QUERIES
DRAWS = "draws.parquet"  # the rows that each experiment learns from, a list a row
TOP_RANKED = "top_ranked.parquet"
QRELS = pa.schema([("query-id", pa.string()), ("corpus-id", pa.string()), ("score", pa.int32())])


@dataclass(frozen=True)
class Part:
    """One evaluated piece of a task: a subset and a split of it."""

    subset: str
    split: str


@dataclass(frozen=True)
class Collection:
    """One part of a retrieval task: its queries `(queries,)`, the scores that documents are judged with by query, and the file of
    its documents. `searched` `(documents,)`: which of them are; None: all."""

    part: Part
    corpus: Path
    query_ids: list[str]
    query_texts: list[str]
    judged: dict[str, dict[str, int]]
    searched: Flags | None = None

    def document_ids(self) -> list[str]:
        """Of the documents that are searched, in the order of `document_texts`."""
        ids = _values(self.corpus, "id")
        return ids if self.searched is None else list(compress(ids, self.searched))

    def document_texts(self) -> Iterator[list[str]]:
        """The text that stands for each document that is searched, a list at a time: a large corpus is never whole in memory."""
        return _texts_of(self.corpus, None if self.searched is None else np.flatnonzero(self.searched))

    def texts_at(self, places: Places) -> list[str]:
        """The texts of the documents at these places, which rise, among those that are searched."""
        return [text for texts in _texts_of(self.corpus, self._rows()[places]) for text in texts]

    def without_documents(self, places: Places) -> Collection:
        """The collection whose documents at these places, among those that are searched, are not."""
        rows = self._rows()
        searched = np.zeros(self._count(), dtype=bool)
        searched[np.delete(rows, places)] = True
        return replace(self, searched=searched)

    def _rows(self) -> Places:
        return np.arange(self._count()) if self.searched is None else np.flatnonzero(self.searched)

    def _count(self) -> int:
        """Of all documents."""
        with opened(self.corpus) as file:
            return int(file.metadata.num_rows)

    def with_queries(self, kept: Sequence[int]) -> Collection:
        """The collection with these of its queries alone."""
        ids, texts = ([of_all[place] for place in kept] for of_all in (self.query_ids, self.query_texts))
        return replace(self, query_ids=ids, query_texts=texts)


@dataclass(frozen=True)
class Labelled:
    """One part of a classification task: the files of what is learned from and tested on, their columns, and the rows of the former
    that each experiment draws. Read when asked for: of millions of rows to learn from, few are drawn."""

    part: Part
    train: Path
    test: Path
    text: str
    label: str
    draws: list[list[int]]

    def train_texts(self, rows: Places | None = None) -> list[str]:
        """All, or those of these rows, which rise."""
        return [text for batch in batches_of(self.train, [self.text], rows) for text in batch.column(0).to_pylist()]

    def train_labels(self) -> list[int]:
        return _values(self.train, self.label)

    def test_texts(self) -> list[str]:
        return _values(self.test, self.text)

    def test_labels(self) -> list[int]:
        return _values(self.test, self.label)


@dataclass(frozen=True)
class RetrievalTask:
    """`cut_offs`: mteb's k of its metrics. `judged`: whether there is something to score a ranking by but the ranking at full
    width. `ignore_identical_ids`: whether a document with the query's own id is left out."""

    folder: Path
    name: str
    main_score: str
    languages: Mapping[str, list[str]]  # by subset, as mteb's results have them
    revision: str
    cut_offs: tuple[int, ...]
    judged: bool
    ignore_identical_ids: bool
    parts: tuple[Collection, ...]
    type = "Retrieval"


@dataclass(frozen=True)
class ClassificationTask:
    """`classifier`: how scikit-learn's LogisticRegression differs from its defaults, its random state included."""

    folder: Path
    name: str
    main_score: str
    languages: Mapping[str, list[str]]
    revision: str
    classifier: Mapping[str, Any]
    parts: tuple[Labelled, ...]
    type = "Classification"


PlainTask = RetrievalTask | ClassificationTask


def load_plain(folder: str | Path) -> PlainTask | None:
    """The task that was saved in `folder`; None for one that is scored by mteb alone.

    Raises InputError naming the file where something is missing or not readable.
    """
    data, protocol = Path(folder) / DATA, Path(folder) / PROTOCOL
    layout, facts = (read_written(path) for path in (data / LAYOUT, protocol / FACTS))
    if facts is None:
        return None
    places = {(entry["subset"], entry["split"]): entry["folder"] for entry in layout["entries"]}
    parts = [Part(subset, split) for split in layout["eval_splits"] for subset in layout["hf_subsets"]]
    shared = {
        "folder": Path(folder),
        "name": layout["name"],
        **{key: facts[key] for key in ("main_score", "languages", "revision")},
    }
    if facts["type"] == RetrievalTask.type:
        return RetrievalTask(
            **shared,
            cut_offs=tuple(facts["cut_offs"]),
            judged=facts["judged"],
            ignore_identical_ids=facts["ignore_identical_ids"],
            parts=tuple(_collection(part, data, protocol, places[part.subset, part.split]) for part in parts),
        )
    of_train = {part: places[part.subset, facts["train_split"]] for part in parts}
    return ClassificationTask(
        **shared,
        classifier=facts["classifier"],
        parts=tuple(
            Labelled(
                part,
                train=data / of_train[part] / ROWS,
                test=data / places[part.subset, part.split] / ROWS,
                text=facts["text"],
                label=facts["label"],
                draws=_values(protocol / of_train[part] / DRAWS, "rows"),
            )
            for part in parts
        ),
    )


def _collection(part: Part, data: Path, protocol: Path, place: str) -> Collection:
    return Collection(
        part,
        data / place / CORPUS,
        query_ids=_values(data / place / QUERIES, "id"),
        query_texts=_values(protocol / place / QUERY_TEXTS, "text"),
        judged=read_judgements(data / place),
    )


def _texts_of(corpus: Path, rows: Places | None) -> Iterator[list[str]]:
    """The texts of all documents of a file, or of these rows, which rise."""
    with opened(corpus) as file:
        names = [name for name in ("text", "title") if name in file.schema_arrow.names]
    for batch in batches_of(corpus, names, rows):
        columns = [column.to_pylist() for column in batch.columns]
        yield texts_of_documents(columns[0], columns[1] if len(columns) > 1 else None)


def batches_of(path: Path, names: list[str], rows: Places | None = None) -> Iterator[pa.RecordBatch]:
    """These columns of all rows of a file, or of `rows`, which rise, a batch at a time. Raises InputError."""
    start = 0
    with opened(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
            if rows is None:
                yield batch.select(names)
            elif len(here := rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(batch))]):
                yield batch.select(names).take(pa.array(here - start))
            start += len(batch)


def texts_of_documents(texts: Sequence[str], titles: Sequence[str | None] | None) -> list[str]:
    """The text that stands for each document, as mteb makes it: title, space, text, without space at the ends."""
    if titles is None:
        return [text.strip() for text in texts]
    return [(title + " " + text).strip() if title else text.strip() for title, text in zip(titles, texts, strict=True)]


# ---- files


def read_written(path: Path) -> Any:
    """The content of a JSON file of a task's folder. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: missing; make the task's folder again")
    return read_json(path)


def read_judgements(folder: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    columns = [column.to_pylist() for column in read_parquet(folder / JUDGEMENTS, QRELS.names).columns]
    for query, document, score in zip(*columns, strict=True):
        judged.setdefault(query, {})[document] = score
    return judged


def _values(path: Path, name: str) -> list[Any]:
    """A column of a file."""
    values: list[Any] = read_parquet(path, [name]).column(0).to_pylist()
    return values


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A file's table, or these of its columns, in this order. Raises InputError."""
    with opened(path) as file:
        table = file.read(columns)
    return table if columns is None else table.select(columns)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A parquet file to read from. Raises InputError, within the block too, where it is none."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not readable as parquet ({error}); make the task's folder again") from None
