"""Retrieval at every dimension: mteb's scores from the ranks of the relevant documents alone.

Takes a loaded retrieval task and the store of its texts; leaves, per dimension, the same scores as `mteb.evaluate`
on the same vectors. mteb pushes the thousand best documents of each query through a Python heap and a dictionary,
though every metric depends on one thing: how many documents come before each relevant one. Here that number is
counted among the best similarities of its query, and those are the very ones that mteb computes: the same product,
over the same chunks of the corpus, so that no rounding differs. Ties go as mteb's go: the greater document id first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.similarity_functions import cos_sim

from workflow_scripts.evaluation.task_files import (
    DOCUMENT,
    QUERY,
    Part,
    column,
    document_texts,
    parts,
    query_texts,
    rows_of_part,
)
from workflow_scripts.scores.abstention import sureness
from workflow_scripts.scores.views import View
from workflow_scripts.store import Store

Integers = np.ndarray[Any, np.dtype[np.int64]]
CHUNK = 50_000  # documents searched at once: mteb's own number, and it decides how its products round
DEPTH = 1000  # documents that mteb keeps per query
BLOCK = 4096  # documents whose products are shared over dimensions at once
COMPARED = 1 << 24  # similarities compared at once, a bound on memory
NOT_FOUND = np.iinfo(np.int64).max
OWN_WAYS = ("evaluate", "_evaluate_subset", "task_specific_scores")


@dataclass(frozen=True)
class Piece:
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


def is_plain(task: Any) -> bool:
    """Whether mteb would score the task by the base class's own full search, which is the one done here."""
    if not isinstance(task, AbsTaskRetrieval) or task.metadata.type != "Retrieval":
        return False
    kind = type(task)
    if any(getattr(kind, name) is not getattr(AbsTaskRetrieval, name) for name in OWN_WAYS):
        return False
    if task.skip_first_result or max(task.k_values) != DEPTH or task._top_k != DEPTH:
        return False
    for part in parts(task):
        rows = rows_of_part(task, part.subset, part.split)
        if rows["top_ranked"] is not None:
            return False
        for identifiers in (column(rows["corpus"], "id"), column(rows["queries"], "id")):
            if len(set(identifiers)) != len(identifiers):
                return False
    return True


def gather(task: Any, store: Store) -> list[Piece]:
    """Find every row of the store that the task needs, once. Raises StoreError, and ValueError where no query of a
    split is judged (a single query without judgements is left out, as mteb leaves it out)."""
    pieces = []
    for part in parts(task):
        rows = rows_of_part(task, part.subset, part.split)
        judged = {query: documents for query, documents in rows["relevant_docs"].items() if documents}
        kept = [i for i, query in enumerate(column(rows["queries"], "id")) if query in judged]
        if not kept:
            raise ValueError(f"{task.metadata.name}: no query of {part.subset!r} {part.split!r} has a judged document")
        queries = rows["queries"].select(kept)
        query_ids, document_ids = column(queries, "id"), column(rows["corpus"], "id")
        place = {identifier: i for i, identifier in enumerate(document_ids)}
        triples = [
            (i, place.get(document, -1), score)
            for i, query in enumerate(query_ids)
            for document, score in judged[query].items()
            if score > 0
        ]
        judgements = np.array(triples, dtype=np.int64).reshape(-1, 3)
        order = np.empty(len(document_ids), dtype=np.int64)
        order[sorted(range(len(document_ids)), key=document_ids.__getitem__)] = np.arange(len(document_ids))
        same = [place.get(query, -1) if task.ignore_identical_ids else -1 for query in query_ids]
        pieces.append(
            Piece(
                part=part,
                query_ids=query_ids,
                queries=store.rows_of(query_texts(task, queries), QUERY),
                documents=_rows_of_documents(store, rows["corpus"]),
                judged_query=judgements[:, 0],
                judged_document=judgements[:, 1],
                gain=judgements[:, 2],
                ideal=_ideal(judgements[:, 0], judgements[:, 2], len(query_ids), task.k_values),
                order=order,
                same=np.array(same, dtype=np.int64),
            )
        )
    return pieces


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


def _rows_of_documents(store: Store, corpus: Any) -> Integers:
    """The store's row of each document `(documents,)`; looked up in slices, so that few texts are held at a time."""
    slices = (corpus.select(range(i, min(i + CHUNK, len(corpus)))) for i in range(0, len(corpus), CHUNK))
    found = [store.rows_of(document_texts(some), DOCUMENT) for some in slices]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


class Ranking(NamedTuple):
    """What one dimension's similarities say: of each judgement, the rank of its document in its query's ranking, from
    1, NOT_FOUND below the depth that mteb keeps `(judgements,)`; of each query, how sure they are `(3, queries)`."""

    rank: Integers
    sure: np.ndarray[Any, np.dtype[np.float64]]


def rankings(piece: Piece, store: Store, view: View, dimensions: list[int]) -> dict[int, Ranking]:
    """The ranking at each dimension."""
    queries = vectors_of(store, piece.queries, view)
    if len(piece.documents) <= CHUNK:
        documents = vectors_of(store, piece.documents, view)
        return {dim: _ranking_by_counting(piece, cosines(queries, documents, dim)) for dim in dimensions}
    best = {dim: Best(len(queries), DEPTH, piece.order) for dim in dimensions}
    for start in range(0, len(piece.documents), CHUNK):
        documents = vectors_of(store, piece.documents[start : start + CHUNK], view)
        for dim in dimensions:
            best[dim].add(cosines(queries, documents, dim), start)
    return {dim: _ranking_in(piece, best[dim]) for dim in dimensions}


def search(
    queries: torch.Tensor,
    store: Store,
    documents: Integers,
    order: Integers,
    view: View,
    dimensions: Sequence[int],
    depth: int,
) -> dict[int, Best]:
    """The best documents of each query at each dimension, in one pass over the store, the products shared.

    `queries` is (queries, width), `documents` rows of the store, `order` each one's place among equals. Each dimension's dot products are those of the one
    below plus the block of coordinates between, and so are the squared norms; blocks of documents are small enough
    to stay near the processor. The sums round differently from mteb's own product: for `rankings`, which must be mteb's
    to the last bit, this is not used.
    """
    steps = sorted(dimensions)
    best = {dim: Best(len(queries), depth, order) for dim in steps}
    edges = list(zip([0, *steps[:-1]], steps, strict=True))
    asked = [queries[:, below:dim].contiguous() for below, dim in edges]
    for start in range(0, len(documents), BLOCK):
        vectors = vectors_of(store, documents[start : start + BLOCK], view)
        products, squares = torch.zeros((len(queries), len(vectors))), torch.zeros(len(vectors))
        similarity = torch.empty_like(products)
        for (below, dim), part in zip(edges, asked, strict=True):
            block = vectors[:, below:dim].contiguous()
            products += product(part, block)
            squares += block.square().sum(dim=1)
            # A query's own norm changes nothing in its ranking, so it is left out.
            best[dim].add(torch.mul(products, squares.clamp_min(1e-24).rsqrt(), out=similarity), start)
    return best


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`left @ right.T` in float32, by oneDNN where torch has it: `arithmetic.py` says why."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return left @ right.T
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return found


def vectors_of(store: Store, rows: Integers, view: View) -> torch.Tensor:
    """The vectors of these rows of the store, as the view shows them, `(rows, width)` float32."""
    return torch.from_numpy(np.array(view.of(np.asarray(store.vectors[rows], dtype=np.float32))))


def cosines(queries: torch.Tensor, documents: torch.Tensor, dim: int) -> torch.Tensor:
    """mteb's similarities at the first `dim` coordinates, `(queries, documents)` float32."""
    return cos_sim(queries[:, :dim].contiguous(), documents[:, :dim].contiguous())


def _ranking_by_counting(piece: Piece, similarity: torch.Tensor) -> Ranking:
    """The ranking from the similarities `(queries, documents)`: a document's rank is how many of its query's best are
    greater, and how many equal with a greater id."""
    best = _best_values(similarity)
    found = np.flatnonzero(piece.judged_document >= 0)
    query, document = piece.judged_query[found], piece.judged_document[found]
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
        rank[i] += int((piece.order[rivals] > piece.order[document[i]]).sum())
    rank[rank > DEPTH] = NOT_FOUND
    _leave_out_same(piece, similarity, found, own, rank)
    ranks_of_all = np.full(len(piece.judged_query), NOT_FOUND)
    ranks_of_all[found] = rank
    same = np.full(len(piece.same), np.nan, dtype=np.float32)
    there = np.flatnonzero(piece.same >= 0)
    same[there] = similarity[torch.from_numpy(there), torch.from_numpy(piece.same[there])].numpy()
    return Ranking(ranks_of_all, sureness(best[:, :DEPTH], same))


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
    piece: Piece, similarity: torch.Tensor, found: Integers, own: np.ndarray[Any, Any], rank: Integers
) -> None:
    """Take the document that has the query's own id out of the ranking, in place."""
    query, document = piece.judged_query[found], piece.judged_document[found]
    same = piece.same[query]
    for i in np.flatnonzero((same >= 0) & (rank != NOT_FOUND)):
        if same[i] == document[i]:
            rank[i] = NOT_FOUND
            continue
        rival, value = float(similarity[query[i], same[i]]), float(own[i])
        rank[i] -= rival > value or (rival == value and piece.order[same[i]] > piece.order[document[i]])


class Best:
    """The best `depth` documents of each query over chunks of a corpus, with no Python loop over hits.

    Equal similarities are in the order of mteb's heap: the greater `order` `(documents,)` first. As mteb does, a chunk
    gives at most depth + 1 documents a query, those that torch.topk returns. Only what may come before a query's worst
    kept document is looked at, which soon is next to nothing; such hits are merged when there are as many as are kept.
    """

    def __init__(self, queries: int, depth: int, order: Integers) -> None:
        self.depth = depth
        self.order = torch.from_numpy(order)
        self.values = torch.empty((queries, 0))
        self.worst = torch.empty((queries, 1))
        self.documents = torch.empty((queries, 0), dtype=torch.int64)
        # One place for the hits that wait: many small tensors between large ones would scatter the memory.
        self.hit_query, self.hit_document = (torch.empty(queries * depth, dtype=torch.int32) for _ in range(2))
        self.hit_value = torch.empty(queries * depth)
        self.waiting = 0

    def add(self, similarity: torch.Tensor, start: int) -> None:
        """Take in the similarities `(queries, documents)` of the chunk whose first document is number `start`."""
        width = similarity.shape[1]
        if self.values.shape[1] < self.depth:
            values, documents = torch.topk(similarity, min(self.depth + 1, width), dim=1)
            self._merge(values, documents + start)
            return
        # numpy's search for the few true among many false is several times faster than torch's
        hits = torch.from_numpy(np.flatnonzero((similarity >= self.worst).numpy()))
        if len(hits) == 0:
            return
        query = hits // width
        document, value = hits - query * width, similarity.view(-1)[hits]
        if width > self.depth:
            crowded = torch.bincount(query, minlength=len(similarity)) > self.depth + 1
            if crowded.any():
                values, documents = torch.topk(similarity[crowded], self.depth + 1, dim=1)
                few = ~crowded[query]
                many = torch.repeat_interleave(crowded.nonzero().view(-1), self.depth + 1)
                query, value = torch.cat([query[few], many]), torch.cat([value[few], values.view(-1)])
                document = torch.cat([document[few], documents.view(-1)])
        document = document + start
        if self.waiting + len(query) > len(self.hit_query):
            self._settle()
        if len(query) > len(self.hit_query):
            self._merge_hits(query, document, value)
            return
        free = slice(self.waiting, self.waiting + len(query))
        self.hit_query[free], self.hit_document[free], self.hit_value[free] = query, document, value
        self.waiting += len(query)

    def _settle(self) -> None:
        """Merge the hits that wait."""
        if self.waiting:
            taken = slice(self.waiting)
            self._merge_hits(self.hit_query[taken].long(), self.hit_document[taken].long(), self.hit_value[taken])
            self.waiting = 0

    def _merge_hits(self, query: torch.Tensor, document: torch.Tensor, value: torch.Tensor) -> None:
        """Merge hits as a matrix with one row per query."""
        order = torch.argsort(query, stable=True)
        query, document, value = query[order], document[order], value[order]
        counts = torch.bincount(query, minlength=len(self.values))
        place = torch.arange(len(query)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        values = torch.full((len(self.values), int(counts.max())), -torch.inf)
        documents = torch.zeros(values.shape, dtype=torch.int64)
        values[query, place] = value
        documents[query, place] = document
        self._merge(values, documents)

    def _merge(self, values: torch.Tensor, documents: torch.Tensor) -> None:
        values = torch.cat([self.values, values], dim=1)
        documents = torch.cat([self.documents, documents], dim=1)
        if values.shape[1] > self.depth:
            best, place = torch.topk(values, self.depth + 1, dim=1, sorted=False)
            worst, last = torch.topk(best, 2, dim=1, largest=False)
            place.scatter_(1, last[:, :1], place[:, -1:])  # the least of them goes
            place = place[:, : self.depth]
            # Where it equals the least that stays, their order says which one goes.
            tied = (worst[:, 0] == worst[:, 1]).nonzero().view(-1)
            if len(tied):
                ranked = _best_first(values[tied].numpy(), self.order[documents[tied]].numpy())
                place[tied] = torch.from_numpy(ranked[:, : self.depth])
            values, documents = torch.gather(values, 1, place), torch.gather(documents, 1, place)
        self.values, self.documents = values, documents
        self.worst = values.amin(dim=1, keepdim=True)

    def sorted(self) -> tuple[np.ndarray[Any, np.dtype[np.float32]], Integers]:
        """The similarities and the documents `(queries, depth)`, best first."""
        self._settle()
        values, documents = self.values.numpy(), self.documents.numpy()
        place = _best_first(values, self.order.numpy()[documents])
        return np.take_along_axis(values, place, 1), np.take_along_axis(documents, place, 1)


def _best_first(values: np.ndarray[Any, Any], order: Integers) -> Integers:
    """The places of `values` `(queries, documents)` by falling value, equals by falling `order`."""
    return np.lexsort((-order, -values), axis=1)


def _ranking_in(piece: Piece, best: Best) -> Ranking:
    """The ranking from the best of each query, where the similarities of all documents are too many to hold."""
    values, documents = best.sorted()
    is_same = documents == piece.same[:, None]
    same = np.where(is_same.any(axis=1), np.where(is_same, values, -np.inf).max(axis=1), np.nan)
    return Ranking(ranks_in(piece, documents), sureness(values, same.astype(np.float32)))


def ranks_in(piece: Piece, documents: Integers) -> Integers:
    """The rank of each judgement's document among its query's `documents` `(queries, depth)`, best first."""
    rank = np.full(len(piece.judged_query), NOT_FOUND)
    step = max(1, COMPARED // max(1, documents.shape[1]))
    for start in range(0, len(rank), step):
        query, document = piece.judged_query[start : start + step], piece.judged_document[start : start + step]
        rows, same = documents[query], piece.same[query]
        judged, identical = rows == document[:, None], rows == same[:, None]
        place = judged.argmax(axis=1)
        moved_up = identical.any(axis=1) & (identical.argmax(axis=1) < place)
        there = judged.any(axis=1) & (document != same)
        rank[start : start + step][there] = (place + 1 - moved_up)[there]
    return rank


def score(task: Any, piece: Piece, rank: Integers) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """mteb's scores of one piece from the ranks of its relevant documents, and each query's value per metric.

    Definitions as in trec_eval: gains divided by log2(rank + 1), the ideal from all judgements above 0.
    """
    count = len(piece.query_ids)
    order = np.lexsort((rank, piece.judged_query))
    query, rank, gain = piece.judged_query[order], rank[order], piece.gain[order]
    relevant = np.bincount(query, minlength=count)
    nth = _nth_of_query(query, count)
    discounted = gain / np.log2(rank.astype(np.float64) + 1)
    precision = nth / rank
    reciprocal = np.zeros(count)
    first = nth == 1
    reciprocal[query[first]] = np.where(rank[first] != NOT_FOUND, 1.0 / rank[first], 0.0)

    per_query: dict[str, np.ndarray[Any, Any]] = {}
    for k in task.k_values:
        within = rank <= k
        found = query[within]
        hits = np.bincount(found, minlength=count)
        gained = np.bincount(found, weights=discounted[within], minlength=count)
        per_query[f"ndcg_at_{k}"] = _share(gained, piece.ideal[k])
        per_query[f"map_at_{k}"] = _share(np.bincount(found, precision[within], count), relevant)
        per_query[f"recall_at_{k}"] = _share(hits, relevant)
        per_query[f"precision_at_{k}"] = hits / k
        per_query[f"mrr_at_{k}"] = np.where(reciprocal >= 1.0 / k, reciprocal, 0.0)
        per_query[f"hit_rate_at_{k}"] = (hits > 0).astype(np.float64)
    scores: dict[str, Any] = {}
    for name, values in per_query.items():
        mean = sum(values.tolist()) / count
        scores[name] = mean if name.startswith("mrr") else round(mean, 5)
    scores["accuracy"] = scores["recall_at_1"]
    scores["main_score"] = scores[task.metadata.main_score]
    return scores, per_query


def _share(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shares: np.ndarray[Any, Any] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares
