"""Pairs of rows of a user's own vectors as frozen pairs: what an adaptor of vectors is learned from.

Takes the stores of the vectors, the tasks that they are of and the user's files of pairs; leaves `FrozenPairs`. No text is
read and nothing is encoded. A pair's negative is another document of the collection, drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from workflow_scripts.evaluation.held_out import hold_out, load_for_own_vectors
from workflow_scripts.evaluation.own_pairs import read_pairs
from workflow_scripts.evaluation.plain_tasks import DOCUMENT, QUERY
from workflow_scripts.models.folder import ModelError
from workflow_scripts.models.frozen import FrozenPairs, refuse_alike
from workflow_scripts.models.learn_adaptor import FOLDS
from workflow_scripts.store import Store, open_store


class Source(NamedTuple):
    """One task's folder, the folder of the store of its vectors, and the user's file of pairs."""

    task: Path
    store: Path
    pairs: Path


class Draw(NamedTuple):
    """How many pairs are used, and the seed by which they are drawn; how many documents are held out of the search, by the
    seed that holds them out for every model of the study; pairs of a batch."""

    pairs: int
    seed: int
    held_out: int
    held_out_seed: int
    batch: int


class RowsOfTask(NamedTuple):
    """Rows of a store: query and document of each pair `(2, pairs)` of a file, the collection's documents `(documents,)`, and
    those of them that are held out of the search `(held out,)`. Of the `scored` queries with judgements, `answered_by_pairs`
    have an answer that pairs name too: on these more is gained than on queries about other documents."""

    file: Path
    store: Store
    pairs: np.ndarray
    documents: np.ndarray
    held_out: np.ndarray
    scored: int
    answered_by_pairs: int


def frozen_rows(of_tasks: Mapping[str, RowsOfTask], draw: Draw, device: torch.device) -> FrozenPairs:
    """The pairs of all tasks, `draw.pairs` of them, with the vectors of their rows.

    Behind these stand all documents that are held out of the search: the matrix starts at the principal axes of all, and few
    pairs have no axes worth the name. A held-out document of a pair stands in both places, and counts twice. Pairs of a
    task are in `FOLDS` parts by query, as `learn` holds out whole parts: here the pairs are of the very collection that is
    searched, and what it will meet are other queries. Raises ModelError for too few pairs, or vectors that are alike.
    """
    sizes = [rows.pairs.shape[1] for rows in of_tasks.values()]
    drawn = np.random.default_rng(draw.seed).permutation(sum(sizes))[: draw.pairs]
    if len(drawn) < draw.batch:
        files = ", ".join(str(rows.file) for rows in of_tasks.values())
        raise ModelError(
            f"{files}: {len(drawn)} pairs, fewer than the {draw.batch} of a batch; give more, or set `adaptor: batch`"
        )
    generator = np.random.default_rng([draw.seed, 1])
    vectors: list[np.ndarray] = []
    places: list[np.ndarray] = []
    rows_by_task: dict[str, np.ndarray] = {}
    first_pair = first_vector = first_row = 0
    for (name, rows), size in zip(of_tasks.items(), sizes, strict=True):
        chosen = np.sort(drawn[(drawn >= first_pair) & (drawn < first_pair + size)]) - first_pair
        first_pair += size
        query, positive = rows.pairs[:, chosen]
        triples = np.stack([query, positive, other_documents(query, rows, generator)])
        used, of_triples = np.unique(triples, return_inverse=True)
        places.append(first_vector + of_triples.reshape(3, -1))
        vectors += [np.asarray(rows.store.vectors[some], dtype=np.float32) for some in (used, rows.held_out)]
        first_vector += len(used) + len(rows.held_out)
        part = parts_by_query(query, draw.batch)
        for number in np.unique(part):
            said = f"{name} {number + 1} of {FOLDS}" if part.any() else name
            rows_by_task[said] = first_row + np.flatnonzero(part == number)
        first_row += len(chosen)
    found = np.concatenate(vectors)
    refuse_alike(found, next(iter(of_tasks.values())).store.folder)
    return FrozenPairs(torch.from_numpy(found).to(device), np.concatenate(places, axis=1), rows_by_task)


def read_rows(source: Source, draw: Draw) -> RowsOfTask:
    """The rows of one task's store that its pairs name. Raises InputError naming file and row."""
    task: Any = load_for_own_vectors(source.task)  # a retrieval task, as pairs are refused elsewhere
    store = open_store(source.store)
    (collection,) = task.parts
    queries = dict(zip(collection.query_ids, store.rows_of(collection.query_texts, QUERY), strict=True))
    of_documents = np.concatenate([store.rows_of(texts, DOCUMENT) for texts in collection.document_texts()])
    documents = dict(zip(collection.document_ids(), of_documents, strict=True))
    pairs = read_pairs(source.pairs, queries, documents, collection.judged)
    named = np.array([[queries[pair.query], documents[pair.document]] for pair in pairs], dtype=np.int64).T
    of_pairs = {pair.document for pair in pairs}
    answers = [{d for d, score in judged.items() if score > 0} for judged in collection.judged.values()]
    held = hold_out(task, draw.held_out, draw.held_out_seed)
    return RowsOfTask(
        source.pairs,
        store,
        named,
        of_documents,
        store.rows_of(held.texts, held.prompt_type),
        scored=len(answers),
        answered_by_pairs=sum(not of_pairs.isdisjoint(of_query) for of_query in answers),
    )


def other_documents(query: np.ndarray, rows: RowsOfTask, generator: np.random.Generator) -> np.ndarray:
    """For each pair `(pairs,)` of these queries a document that no pair of its query names. Raises ModelError where there is
    none."""
    answers: dict[int, set[int]] = {}
    for asked, document in rows.pairs.T.tolist():
        answers.setdefault(asked, set()).add(document)
    found = generator.choice(rows.documents, len(query))
    for place, asked in enumerate(query.tolist()):
        if int(found[place]) in answers[asked]:
            others = np.setdiff1d(rows.documents, list(answers[asked]))
            if not len(others):
                raise ModelError(f"{rows.store.folder}: pairs name all {len(rows.documents)} documents for one query")
            found[place] = generator.choice(others)
    return found


def parts_by_query(query: np.ndarray, batch: int) -> np.ndarray:
    """The part, from 0, of each pair `(pairs,)`: all pairs of a query in one of `FOLDS`; all in the first where one of them
    would have less than a batch."""
    queries, of_pair = np.unique(query, return_inverse=True)
    part: np.ndarray = (np.random.default_rng(0).permutation(len(queries)) % FOLDS)[of_pair]
    return part if np.bincount(part, minlength=FOLDS).min() >= batch else np.zeros_like(part)
