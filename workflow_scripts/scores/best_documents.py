"""The best documents of each query, collected over blocks of a corpus, with ties in an order that no data decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

Integers = np.ndarray[Any, np.dtype[np.int64]]
GROUPS = 8  # times as many as documents are kept: then most of the best are the greatest of a group of their own
AT_ONCE = 1 << 22  # similarities of a chunk whose ties are looked at together, a bound on memory


class Top:
    """The best `depth` documents of each query over chunks of a corpus, vectorised over queries and hits.

    Equal similarities are in the order of mteb's heap: the greater `order` `(documents,)` first. `as_mteb`: a chunk
    gives at most depth + 1 documents a query, and which of more equals they are is left to torch.topk. Only what may come
    before a query's worst kept document is looked at; such hits are buffered, and merged when the buffer is full.
    """

    def __init__(self, queries: int, depth: int, order: Integers, as_mteb: bool = False) -> None:
        self.depth, self.as_mteb = depth, as_mteb
        self.most = depth + 1 if as_mteb else 2 * depth  # hits of a query in one chunk that are worth a merge
        self.order = torch.from_numpy(order)
        self.values = torch.empty((queries, 0))
        self.worst = torch.empty((queries, 1))
        self.documents = torch.empty((queries, 0), dtype=torch.int64)
        # Hits are buffered and merged when the buffer is full; small tensors of their own would fragment memory.
        self.hit_query, self.hit_document = (torch.empty(queries * depth, dtype=torch.int32) for _ in range(2))
        self.hit_value = torch.empty(queries * depth)
        self.buffered = 0

    def add(self, similarity: torch.Tensor, start: int) -> None:
        """Take in the similarities `(queries, documents)` of the chunk whose first document is number `start`."""
        width = similarity.shape[1]
        is_full = self.values.shape[1] == self.depth
        if not is_full and width <= self.depth:
            documents = torch.arange(start, start + width).expand(len(similarity), width)
            self._merge(similarity, documents)
            return
        least = self.worst if is_full else _least_of_best(similarity, self.depth)
        # numpy compares and finds the few true among many false faster than torch; NaN is the greatest
        hits = torch.from_numpy(np.flatnonzero(~(similarity.numpy() < least.numpy())))
        if len(hits) == 0:
            return
        query = hits // width
        document, value = hits - query * width, similarity.view(-1)[hits]
        if width > self.depth:
            crowded = torch.bincount(query, minlength=len(similarity)) > self.most
            if crowded.any():
                values, documents = self._best_of_chunk(similarity[crowded], start)
                few = ~crowded[query]
                many = torch.repeat_interleave(crowded.nonzero().view(-1), values.shape[1])
                query, value = torch.cat([query[few], many]), torch.cat([value[few], values.flatten()])
                document = torch.cat([document[few], documents.flatten()])
        document = document + start
        if self.buffered + len(query) > len(self.hit_query):
            self._flush()
        if not is_full or len(query) > len(self.hit_query):
            self._merge_hits(query, document, value)
            return
        free = slice(self.buffered, self.buffered + len(query))
        self.hit_query[free], self.hit_document[free], self.hit_value[free] = query, document, value
        self.buffered += len(query)

    def _best_of_chunk(self, similarity: torch.Tensor, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The similarities and the places `(queries, depth or depth + 1)` of a chunk's best, in any order."""
        depth, width = self.depth, similarity.shape[1]
        values, places = torch.topk(similarity, depth + 1, dim=1)
        if self.as_mteb:
            return values, places
        least, places = values[:, depth - 1 : depth], places[:, :depth]
        order, tied = self.order[start : start + width], (least[:, 0] == values[:, depth]).nonzero().view(-1)
        step = max(1, AT_ONCE // width)
        for first in range(0, len(tied), step):
            rows = tied[first : first + step]
            places[rows] = _greatest(similarity[rows], least[rows], order, depth)
        return torch.gather(similarity, 1, places), places

    def _flush(self) -> None:
        """Merge the buffered hits."""
        if self.buffered:
            taken = slice(self.buffered)
            self._merge_hits(self.hit_query[taken].long(), self.hit_document[taken].long(), self.hit_value[taken])
            self.buffered = 0

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
            place.scatter_(1, last[:, :1], place[:, -1:].clone())  # the least of them goes
            place = place[:, : self.depth]
            # Where it equals the least that stays, their order says which one goes.
            tied = (worst[:, 0] == worst[:, 1]).nonzero().view(-1)
            if len(tied):
                place[tied] = _greatest(values[tied], worst[tied, 1:], self.order[documents[tied]], self.depth)
            values, documents = torch.gather(values, 1, place), torch.gather(documents, 1, place)
        self.values, self.documents = values, documents
        self.worst = values.amin(dim=1, keepdim=True)

    def sorted(self) -> tuple[np.ndarray[Any, np.dtype[np.float32]], Integers]:
        """The similarities and the documents `(queries, depth)`, best first."""
        self._flush()
        values, documents = self.values.numpy(), self.documents.numpy()
        place = _best_first(values, self.order.numpy()[documents])
        return np.take_along_axis(values, place, 1), np.take_along_axis(documents, place, 1)


def _least_of_best(similarity: torch.Tensor, depth: int) -> torch.Tensor:
    """A similarity `(queries, 1)` that at least `depth` documents of each query reach, and few more do. The greatest of each
    of many groups is found faster than the `depth` best of all, and of those `depth` are as great as the `depth`-th."""
    queries, width = similarity.shape
    groups = width // max(1, width // (GROUPS * depth))
    of_groups = similarity[:, : width // groups * groups].view(queries, -1, groups).amax(dim=1)
    return torch.from_numpy(np.partition(of_groups.numpy(), groups - depth, axis=1)[:, groups - depth, None])


def _greatest(values: torch.Tensor, least: torch.Tensor, order: torch.Tensor, depth: int) -> torch.Tensor:
    """The places `(queries, depth)` of the greatest of `values` `(queries, n)`, of those equal to the `least` `(queries, 1)`
    that stays the ones of greater `order`, `(queries, n)` or `(n,)`."""
    key = torch.where(values == least, order, -1)
    key.masked_fill_(~(values <= least), torch.iinfo(torch.int64).max)  # NaN is the greatest, as in torch.topk
    return torch.topk(key, depth, dim=1, sorted=False).indices


def _best_first(values: np.ndarray[Any, Any], order: Integers) -> Integers:
    """The places of `values` `(queries, documents)` by falling value, equals by falling `order`."""
    return np.lexsort((-order, -values), axis=1)
