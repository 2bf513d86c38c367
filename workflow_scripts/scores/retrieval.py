"""Retrieval tasks: what a split consists of, and mteb's metrics from the ranks of the relevant documents alone.

Takes a retrieval task and the store of its texts; leaves `Split`s, and scores where the ranks are known: those of
`rankings.py` (mteb's own, to the last bit) or of `codec_search.py` (any codec).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.plain_tasks import DOCUMENT, QUERY, Collection, Part, RetrievalTask
from workflow_scripts.store import Store

Integers = np.ndarray[Any, np.dtype[np.int64]]
COMPARED = 1 << 24  # similarities compared at once, a bound on memory
NOT_FOUND = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Split:
    """One subset and split.

    `queries` and `documents` are rows of the store, `(queries,)` and `(documents,)`; `judged_query`,
    `judged_document` (-1: not in the corpus) and `gain` describe each judgement above 0; `ideal` is each query's best
    possible discounted gain by cut-off, `(queries,)` each; `order` is each document's place among the sorted ids;
    `same` is the document with the query's own id (-1: none), where mteb leaves it out.
    """

    part: Part
    query_ids: list[str]
    queries: Integers
    documents: Integers
    judged_query: Integers
    judged_document: Integers
    gain: Integers
    ideal: dict[int, np.ndarray[Any, Any]]
    order: Integers
    same: Integers

    def blocks_of_queries(self, size: int) -> Iterator[tuple[int, Split]]:
        """The split in blocks of so many queries, each with the number of its first."""
        for start in range(0, len(self.queries), size):
            some = slice(start, start + size)
            first, last = np.searchsorted(
                self.judged_query, [start, start + size]
            )  # judgements are in the queries' order
            yield (
                start,
                replace(
                    self,
                    query_ids=self.query_ids[some],
                    queries=self.queries[some],
                    judged_query=self.judged_query[first:last] - start,
                    judged_document=self.judged_document[first:last],
                    gain=self.gain[first:last],
                    ideal={k: ideal[some] for k, ideal in self.ideal.items()},
                    same=self.same[some],
                ),
            )


def gather(task: RetrievalTask, store: Store) -> list[Split]:
    """Find every row of the store that the task needs, once. Raises StoreError, and InputError where no query of a
    split is judged (a single query without judgements is left out, as mteb leaves it out); of a task that has no judgements
    at all, every query is kept."""
    return [_split(task, collection, store) for collection in task.parts]


def _split(task: RetrievalTask, collection: Collection, store: Store) -> Split:
    part = collection.part
    judged = {query: documents for query, documents in collection.judged.items() if documents}
    kept = [i for i, query in enumerate(collection.query_ids) if query in judged or not task.judged]
    if not kept:
        raise InputError(f"{task.name}: no query of {part.subset!r} {part.split!r} has a judged document")
    queries = collection.with_queries(kept)
    document_ids = collection.document_ids()
    place = {identifier: i for i, identifier in enumerate(document_ids)}
    triples = [
        (i, place.get(document, -1), score)
        for i, query in enumerate(queries.query_ids)
        for document, score in judged.get(query, {}).items()
        if score > 0
    ]
    judgements = np.array(triples, dtype=np.int64).reshape(-1, 3)
    order = np.empty(len(document_ids), dtype=np.int64)
    order[sorted(range(len(document_ids)), key=document_ids.__getitem__)] = np.arange(len(document_ids))
    same = [place.get(query, -1) if task.ignore_identical_ids else -1 for query in queries.query_ids]
    return Split(
        part=part,
        query_ids=queries.query_ids,
        queries=store.rows_of(queries.query_texts, QUERY),
        documents=_rows_of_documents(store, collection),
        judged_query=judgements[:, 0],
        judged_document=judgements[:, 1],
        gain=judgements[:, 2],
        ideal=_ideal(judgements[:, 0], judgements[:, 2], len(kept), task.cut_offs),
        order=order,
        same=np.array(same, dtype=np.int64),
    )


def _ideal(query: Integers, gain: Integers, count: int, cut_offs: Sequence[int]) -> dict[int, np.ndarray[Any, Any]]:
    """The discounted gain of each query `(count,)` if its judged documents came first, the best of them at the top."""
    order = np.lexsort((-gain, query))
    query, gain = query[order], gain[order]
    nth = _nth_of_query(query, count)
    discounted = gain / np.log2(nth.astype(np.float64) + 1)
    return {k: np.bincount(query[nth <= k], weights=discounted[nth <= k], minlength=count) for k in cut_offs}


def _nth_of_query(query: Integers, count: int) -> Integers:
    """Of judgements sorted by query, how many of its query came up to it, itself included."""
    of_query = np.bincount(query, minlength=count)
    return np.arange(len(query)) - (np.cumsum(of_query) - of_query)[query] + 1


def _rows_of_documents(store: Store, collection: Collection) -> Integers:
    """The store's row of each document `(documents,)`."""
    found = [store.rows_of(texts, DOCUMENT) for texts in collection.document_texts()]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def ranks_in(split: Split, documents: Integers) -> Integers:
    """The rank of each judgement's document among its query's `documents` `(queries, depth)`, best first."""
    rank = np.full(len(split.judged_query), NOT_FOUND)
    step = max(1, COMPARED // max(1, documents.shape[1]))
    for start in range(0, len(rank), step):
        query, document = split.judged_query[start : start + step], split.judged_document[start : start + step]
        rows, same = documents[query], split.same[query]
        judged, identical = rows == document[:, None], rows == same[:, None]
        place = judged.argmax(axis=1)
        moved_up = identical.any(axis=1) & (identical.argmax(axis=1) < place)
        there = judged.any(axis=1) & (document != same)
        rank[start : start + step][there] = (place + 1 - moved_up)[there]
    return rank


def score(
    task: RetrievalTask, split: Split, rank: Integers, only: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """mteb's scores of one split from the ranks of its relevant documents, and each query's value per metric.

    All of mteb's metrics, or `only` those named. Definitions as in trec_eval: gains divided by log2(rank + 1), the ideal
    from all judgements above 0.
    """
    count = len(split.query_ids)
    order = np.lexsort((rank, split.judged_query))
    query, rank, gain = split.judged_query[order], rank[order], split.gain[order]
    relevant = np.bincount(query, minlength=count)
    nth = _nth_of_query(query, count)
    discounted = gain / np.log2(rank.astype(np.float64) + 1)
    precision = nth / rank
    reciprocal = np.zeros(count)
    first = nth == 1
    reciprocal[query[first]] = np.where(rank[first] != NOT_FOUND, 1.0 / rank[first], 0.0)

    per_query: dict[str, np.ndarray[Any, Any]] = {}
    for k in task.cut_offs:
        if only and not any(name.endswith(f"_at_{k}") for name in only):
            continue
        within = rank <= k
        found = query[within]
        hits = np.bincount(found, minlength=count)
        gained = np.bincount(found, weights=discounted[within], minlength=count)
        per_query[f"ndcg_at_{k}"] = _share(gained, split.ideal[k])
        per_query[f"map_at_{k}"] = _share(np.bincount(found, precision[within], count), relevant)
        per_query[f"recall_at_{k}"] = _share(hits, relevant)
        per_query[f"precision_at_{k}"] = hits / k
        per_query[f"mrr_at_{k}"] = np.where(reciprocal >= 1.0 / k, reciprocal, 0.0)
        per_query[f"hit_rate_at_{k}"] = (hits > 0).astype(np.float64)
    if only:
        per_query = {name: per_query[name] for name in only}
    scores: dict[str, Any] = {}
    for name, values in per_query.items():
        mean = sum(values.tolist()) / count
        scores[name] = mean if name.startswith("mrr") else round(mean, 5)
    if not only:
        scores["accuracy"] = scores["recall_at_1"]
    scores["main_score"] = scores[task.main_score]
    return scores, per_query


def _share(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shares: np.ndarray[Any, Any] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares
