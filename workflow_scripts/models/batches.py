"""The training order: which rows make which step, and the distinct texts of a step.

Takes `tokens.arrow` (docs/files.md), memory-mapped; leaves, step by step, batches of rows of one task, and their
distinct texts cut into micro-batches under a budget of tokens. Exists apart from the loop so that the order depends
on the pairs, the batch, the cap and the seed alone: every variant sees the same rows in the same order.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from workflow_scripts.command_line import first_line
from workflow_scripts.models.folder import ModelError

COLUMNS = ("query", "pos", "neg")


class Tokens:
    """The tokens of all pairs, memory-mapped: nothing is read before it is asked for.

    `max_length`: texts are cut to this many tokens, a final special one kept, as a tokenizer truncates on the right.
    Raises ModelError where the file lacks a column or has another type, or holds no rows.
    """

    def __init__(self, path: str | Path, max_length: int | None = None) -> None:
        self.max_length = max_length
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise ModelError(f"{path}: not readable as an Arrow file ({first_line(error)})") from None
        wanted = ["task", *(f"{c}_{part}" for c in COLUMNS for part in ("ids", "skip", "key"))]
        if missing := [name for name in wanted if name not in table.column_names]:
            raise ModelError(f"{path}: columns {', '.join(missing)} are missing; make the tokens again")
        if table.num_rows == 0:
            raise ModelError(f"{path}: no rows; there is nothing to train on")
        self.task_names = _task_names(table.schema, path)
        self.task: np.ndarray = table.column("task").to_numpy()  # (rows,) int32
        self._ids = {c: _Lists(table.column(f"{c}_ids")) for c in COLUMNS}
        self._skip = {c: table.column(f"{c}_skip").to_numpy() for c in COLUMNS}
        self._key = {c: table.column(f"{c}_key").to_numpy() for c in COLUMNS}

    def __len__(self) -> int:
        return len(self.task)

    def ids(self, column: str, row: int) -> np.ndarray:
        """Token ids `(length,)` of one text, special tokens included."""
        ids = self._ids[column][row]
        if self.max_length is not None and len(ids) > self.max_length:
            return np.append(ids[: self.max_length - 1], ids[-1])
        return ids

    def skips(self, column: str, rows: np.ndarray) -> np.ndarray:
        """Leading tokens `(rows,)` left out of the pooling."""
        return np.asarray(self._skip[column][rows], dtype=np.int64)

    def keys(self, column: str, rows: np.ndarray) -> np.ndarray:
        """Hashes `(rows,)` uint64: equal texts with equal instructions, equal keys."""
        return np.asarray(self._key[column][rows], dtype=np.uint64)

    def rows_by_task(self) -> dict[str, np.ndarray]:
        """Row numbers of each task, tasks by name, so that the order does not hang on how they are numbered."""
        order = np.argsort(self.task, kind="stable")
        places, starts = np.unique(self.task[order], return_index=True)
        groups = np.split(order, starts[1:])
        return dict(sorted((self.task_names[place], rows) for place, rows in zip(places, groups, strict=True)))


class _Lists:
    """A chunked list column, one row at a time, without copying it into memory."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.chunks = [(chunk.offsets.to_numpy(), chunk.values.to_numpy()) for chunk in column.chunks if len(chunk)]
        self.starts = np.cumsum([0, *(len(offsets) - 1 for offsets, _ in self.chunks)])

    def __getitem__(self, row: int) -> np.ndarray:
        chunk = int(np.searchsorted(self.starts, row, side="right")) - 1
        offsets, values = self.chunks[chunk]
        place = row - int(self.starts[chunk])
        found: np.ndarray = values[offsets[place] : offsets[place + 1]]
        return found


def _task_names(schema: pa.Schema, path: str | Path) -> list[str]:
    """The list of names in the schema's metadata."""
    metadata = schema.metadata or {}
    for key in (b"tasks", b"task_names", b"task"):
        if key in metadata:
            names: list[str] = json.loads(metadata[key])
            return names
    raise ModelError(f"{path}: the schema's metadata names no tasks; make the tokens again")


@dataclass(frozen=True)
class Order:
    """What decides the order of rows."""

    batch: int
    seed: int
    rows_cap: int | None = None


@dataclass(frozen=True)
class Accounting:
    """What the order does with tasks that do not fill a batch; goes into the manifest."""

    tasks: int
    short_tasks: dict[str, int]  # fewer rows than a batch, under the cap: trained in batches of all these rows
    left_out: dict[str, int]  # a single row has no other row to be told from: never trained


def account(rows_by_task: dict[str, np.ndarray], batch: int, rows_cap: int | None = None) -> Accounting:
    """Count short and left-out tasks. Raises ModelError where no task has two rows."""
    sizes = {name: len(rows[:rows_cap]) for name, rows in rows_by_task.items()}
    if not any(size > 1 for size in sizes.values()):
        raise ModelError(f"pairs: no task has two rows or more ({len(sizes)} tasks); in-batch negatives need two")
    return Accounting(
        tasks=len(sizes),
        short_tasks={name: size for name, size in sizes.items() if 1 < size < batch},
        left_out={name: size for name, size in sizes.items() if size < 2},
    )


def training_order(rows_by_task: dict[str, np.ndarray], order: Order) -> Iterator[tuple[str, np.ndarray]]:
    """Without end: (task, its rows of this step), every batch from one task.

    In each epoch a task gives rows / batch batches (rows capped), rounded up or down at random so that tasks come in
    proportion to their rows; its rows are shuffled anew, those beyond the last batch wait for another epoch. A batch
    rounded up is filled from the head of the same shuffle; a task shorter than a batch gives all its rows.
    """
    for epoch in itertools.count():
        generator = np.random.default_rng([order.seed, epoch])
        batches: list[tuple[str, np.ndarray]] = []
        for name, rows in rows_by_task.items():
            shuffled = generator.permutation(rows)[: order.rows_cap]
            count = int(len(shuffled) / order.batch + generator.random())
            if len(rows) < 2:
                continue
            if len(shuffled) < order.batch:
                batches += [(name, shuffled)] * count
            else:
                filled = np.resize(shuffled, count * order.batch).reshape(count, order.batch)
                batches += [(name, chosen) for chosen in filled]
        for place in generator.permutation(len(batches)):
            yield batches[place]


@dataclass(frozen=True)
class Text:
    """One distinct text: its token ids `(length,)` and how many leading ones the pooling leaves out."""

    ids: np.ndarray
    skip: int


@dataclass(frozen=True)
class Batch:
    """A step's rows, in terms of its distinct texts, which are sorted from long to short.

    query, positive, negative: `(rows,)` places in `texts`. query_false_negatives `(rows, 2 rows)`,
    positive_false_negatives `(rows, rows)`: the false-negative masks, see `objective.Rows`; None where nothing is masked.
    """

    task: str
    texts: list[Text]
    query: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    query_false_negatives: np.ndarray | None
    positive_false_negatives: np.ndarray | None

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(text.ids) for text in self.texts])


def assemble(tokens: Tokens, task: str, rows: np.ndarray) -> Batch:
    """The batch of these rows: identical texts once, longest first, and the masks."""
    count = len(rows)
    skips = np.concatenate([tokens.skips(c, rows) for c in COLUMNS])
    keys = np.concatenate([tokens.keys(c, rows) for c in COLUMNS])
    # The same string may be cut into instruction and text in two ways: the pooling then differs, so the text does.
    _, first, place = np.unique(
        keys ^ (skips.astype(np.uint64) << np.uint64(48)), return_index=True, return_inverse=True
    )
    columns = np.repeat(np.arange(3), count)
    texts = []
    for i in first:
        ids = tokens.ids(COLUMNS[columns[i]], int(rows[i % count]))
        texts.append(Text(ids, min(int(skips[i]), len(ids) - 1)))
    by_length = sorted(range(len(texts)), key=lambda t: -len(texts[t].ids))
    rank = np.empty(len(texts), dtype=np.int64)
    rank[by_length] = np.arange(len(texts))
    query, positive, negative = rank[place.reshape(3, count)]
    masks = false_negative_masks(query, positive, negative)
    return Batch(task, [texts[t] for t in by_length], query, positive, negative, *masks)


def false_negative_masks(
    query: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Candidates that would count as negatives though another row of the batch says that they are right.

    A text is no negative for a query that it answers in any row of the batch; a query is no negative for a positive
    that answers it. A row's own positive (and query) stays.
    """
    count = len(query)
    # Looked up in a table, not multiplied: numpy's product would wake BLAS threads that spin beside torch's.
    queries, q = np.unique(query, return_inverse=True)
    candidates, c = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    known = np.zeros((len(queries), len(candidates)), bool)
    known[q, c[:count]] = True
    answers = known[q][:, c]
    answered = np.ascontiguousarray(answers[:, :count].T)
    own = np.arange(count)
    answers[own, own] = False
    answered[own, own] = False
    return (answers if answers.any() else None), (answered if answered.any() else None)


def micro_batches(lengths: np.ndarray, budget: int, padded: bool) -> list[slice]:
    """Cut texts, sorted from long to short, into runs of at most `budget` tokens (a longer text runs alone).

    `padded`: every text counts as long as the longest of its run.
    """
    cuts, start, total = [], 0, 0
    for i, length in enumerate(lengths):
        total = int(lengths[start]) * (i - start + 1) if padded else total + int(length)
        if total > budget and i > start:
            cuts.append(slice(start, i))
            start, total = i, int(length)
    cuts.append(slice(start, len(lengths)))
    return cuts
