"""mteb's own rankings: the rank of each relevant document by the very similarities that mteb computes.

Takes a split of a retrieval task and its vectors; leaves a `Ranking` per dimension. mteb pushes the thousand best
documents of each query through a Python heap and a dictionary, though every metric depends on one thing: how many
documents come before each relevant one. Here that number is counted among the best similarities of its query: the same
product, over the same chunks of the corpus, so that no rounding differs on a processor; on a GPU, which a score asks for none of, mteb's own
may differ in their last bits. Ties go as mteb's go: the greater document id first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize

from workflow_scripts.evaluation.plain_tasks import DEPTH
from workflow_scripts.scores import agreement
from workflow_scripts.scores.abstention import confidence
from workflow_scripts.scores.best_documents import Top
from workflow_scripts.scores.retrieval import COMPARED, NOT_FOUND, Integers, Split, ranks_in

SHOWN = agreement.DEPTH + 1  # best documents of a ranking: one of them may have the query's own id
CHUNK = 50_000  # documents searched at once: mteb's own number, and it decides how its products round
QUERIES = 2_500  # queries ranked at once: with a chunk of documents half a gigabyte of similarities
Vectors = Callable[
    [Integers], torch.Tensor
]  # rows of a store -> their vectors (rows, width), one call an `encode()` of mteb's


class Ranking(NamedTuple):
    """What one dimension's similarities say: of each judgement, the rank of its document in its query's ranking, from
    1, NOT_FOUND below the depth that mteb keeps `(judgements,)`; of each query, the three confidences `(3, queries)`, and its
    best documents `(queries, SHOWN)`, best first, NONE where a similarity is NaN. With those the ranks mean nothing."""

    rank: Integers
    confidence: np.ndarray[Any, np.dtype[np.float64]]
    best: Integers

    @property
    def is_finite(self) -> bool:
        """Whether no query has a NaN among its best similarities; they sort as the greatest."""
        return not np.isnan(self.confidence).any()


def rankings(split: Split, vectors: Vectors, dimensions: Sequence[int]) -> dict[int, Ranking]:
    """The ranking at each dimension: the first so many coordinates of the vectors."""
    queries = vectors(split.queries)
    found = [
        _of_block(block, queries[start : start + QUERIES], vectors, dimensions)
        for start, block in split.blocks_of_queries(QUERIES)
    ]
    return {dim: _joined([of_block[dim] for of_block in found]) for dim in dimensions}


def _joined(blocks: Sequence[Ranking]) -> Ranking:
    rank, confidence, best = zip(*blocks, strict=True)
    return Ranking(np.concatenate(rank), np.concatenate(confidence, axis=1), np.concatenate(best))


def _of_block(split: Split, queries: torch.Tensor, vectors: Vectors, dimensions: Sequence[int]) -> dict[int, Ranking]:
    if len(split.documents) <= CHUNK:
        documents = vectors(split.documents)
        return {dim: _ranking_by_counting(split, cosines(queries, documents, dim)) for dim in dimensions}
    best = {dim: Top(len(queries), DEPTH, split.order, as_mteb=True) for dim in dimensions}
    for start in range(0, len(split.documents), CHUNK):
        documents = vectors(split.documents[start : start + CHUNK])
        for dim in dimensions:
            best[dim].add(cosines(queries, documents, dim), start)
    return {dim: _ranking_in(split, best[dim]) for dim in dimensions}


def cosines(queries: torch.Tensor, documents: torch.Tensor, dim: int) -> torch.Tensor:
    """mteb's similarities at the first `dim` coordinates, `(queries, documents)` float32."""
    asked, stored = (normalize(vectors[:, :dim].float().contiguous()) for vectors in (queries, documents))
    return asked @ stored.T


def _ranking_by_counting(split: Split, similarity: torch.Tensor) -> Ranking:
    """The ranking from the similarities `(queries, documents)`: a document's rank is how many of its query's best are
    greater, and how many equal with a greater id."""
    best = _best_values(similarity)
    found = np.flatnonzero(split.judged_document >= 0)
    query, document = split.judged_query[found], split.judged_document[found]
    own = similarity[torch.from_numpy(query), torch.from_numpy(document)].numpy()
    before = _greater(best, query, own)
    rank = before + 1
    after = np.minimum(rank, best.shape[1] - 1)
    shared = (rank < best.shape[1]) & (best[query, after] == own)
    for i in np.flatnonzero(shared):
        row = similarity[query[i]].numpy()
        rivals = np.flatnonzero(row == row[document[i]])
        if before[i] + len(rivals) > DEPTH:
            # mteb sees only some of these equals: those that torch.topk happens to return.
            kept = torch.topk(similarity[query[i]], min(DEPTH + 1, len(row))).indices.numpy()
            rivals = np.intersect1d(rivals, kept)
            if document[i] not in rivals:
                rank[i] = NOT_FOUND
                continue
        rank[i] += int((split.order[rivals] > split.order[document[i]]).sum())
    rank[rank > DEPTH] = NOT_FOUND
    _leave_out_same(split, similarity, found, own, rank)
    ranks_of_all = np.full(len(split.judged_query), NOT_FOUND)
    ranks_of_all[found] = rank
    same = np.full(len(split.same), np.nan, dtype=np.float32)
    there = np.flatnonzero(split.same >= 0)
    same[there] = similarity[torch.from_numpy(there), torch.from_numpy(split.same[there])].numpy()
    shown = Top(len(similarity), SHOWN, split.order)
    shown.add(similarity, 0)
    return Ranking(ranks_of_all, confidence(best[:, :DEPTH], same), _known(*shown.sorted()))


def _greater(best: np.ndarray[Any, Any], query: Integers, value: np.ndarray[Any, Any]) -> Integers:
    """How many of a query's `best` `(queries, n)`, falling, are greater than each value: a binary search for all."""
    low, high = np.zeros(len(query), dtype=np.int64), np.full(len(query), best.shape[1])
    for _ in range(best.shape[1].bit_length()):
        middle = (low + high) // 2
        greater = best[query, np.minimum(middle, best.shape[1] - 1)] > value
        searched = low < high
        low, high = np.where(searched & greater, middle + 1, low), np.where(searched & ~greater, middle, high)
    return low


def _best_values(similarity: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The greatest DEPTH + 1 similarities of each query, falling: one more than are kept shows ties at the edge."""
    queries, documents = similarity.shape
    count = min(DEPTH + 1, documents)
    best = np.empty((queries, count), dtype=np.float32)
    step = max(1, COMPARED // max(1, documents))
    for start in range(0, queries, step):
        # numpy's partition is several times faster than torch's topk
        split = np.partition(similarity[start : start + step].numpy(), documents - count, axis=1)
        best[start : start + step] = np.sort(split[:, documents - count :], axis=1)[:, ::-1]
    return best


def _leave_out_same(
    split: Split, similarity: torch.Tensor, found: Integers, own: np.ndarray[Any, Any], rank: Integers
) -> None:
    """Take the document that has the query's own id out of the ranking, in place."""
    query, document = split.judged_query[found], split.judged_document[found]
    same = split.same[query]
    for i in np.flatnonzero((same >= 0) & (rank != NOT_FOUND)):
        if same[i] == document[i]:
            rank[i] = NOT_FOUND
            continue
        rival, value = float(similarity[query[i], same[i]]), float(own[i])
        rank[i] -= rival > value or (rival == value and split.order[same[i]] > split.order[document[i]])


def _ranking_in(split: Split, best: Top) -> Ranking:
    """The ranking from the best of each query, where the similarities of all documents are too many to hold."""
    values, documents = best.sorted()
    is_same = documents == split.same[:, None]
    same = np.where(is_same.any(axis=1), np.where(is_same, values, -np.inf).max(axis=1), np.nan)
    # Where more than DEPTH are equal, the best shown are among those that mteb sees: another search would cost too much.
    return Ranking(
        ranks_in(split, documents), confidence(values, same.astype(np.float32)), _known(values, documents)[:, :SHOWN]
    )


def _known(values: np.ndarray[Any, Any], documents: Integers) -> Integers:
    """The `documents` `(queries, depth)`, NONE where the similarity is NaN."""
    return np.where(np.isnan(values), agreement.NONE, documents)
