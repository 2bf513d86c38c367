"""Search in stages: candidates by codecs of few bytes, re-scored by one of more.

Takes a retrieval split, the store and the fitted codecs; leaves, over the grid of shortlists, candidates and re-scoring
codecs, the score of each search with what it costs. Pairs of shortlists (the second of more bytes within the
first's candidates) and the codecs alone stand in the same table. Source of the idea: Kusupati et al. 2022
(arXiv 2205.13147), section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.plain_tasks import RetrievalTask
from workflow_scripts.scores.agreement import agreement
from workflow_scripts.scores.codec_search import Wanted
from workflow_scripts.scores.retrieval import Integers, Split, ranks_in, score
from workflow_scripts.search_grid import Search
from workflow_scripts.store import Store

QUERIES_AT_ONCE = 64


def first_stages(task: RetrievalTask, searches: Sequence[Search]) -> list[Wanted]:
    """The codecs that rank all documents, each with how many of them the searches go on with."""
    depth = max([depth_of(task.main_score), *(kept for one in searches for _, kept in one.stages)])
    first = {one.codecs[0].name: one.codecs[0] for one in searches}
    return [(codec, depth + int(task.ignore_identical_ids)) for codec in first.values()]


def measure(
    task: RetrievalTask,
    split: Split,
    store: Store,
    fitted: Fitted,
    searches: Sequence[Search],
    found: Mapping[str, Integers],
    reference: Integers | None = None,
) -> list[tuple[float, np.ndarray[Any, np.dtype[np.float64]]]]:
    """The main score of each search, as mteb means it, and each query's value `(queries,)`; of a task without judgements by
    agreement with the `reference` `(queries, depth)`, the ranking at full width. `found` `(queries, depth)`: the best
    documents under each of the `first_stages`, by its name."""
    metric = task.main_score
    queries = np.asarray(store.vectors[split.queries], dtype=np.float32)
    ranked: list[list[Integers]] = [[] for _ in searches]
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block = slice(start, start + QUERIES_AT_ONCE)
        hits = {name: documents[block] for name, documents in found.items()}
        candidates = Candidates(queries[block], split, store, fitted, hits)
        for one, blocks in zip(searches, ranked, strict=True):
            blocks.append(_follow(one, candidates))
    values = []
    for blocks in ranked:
        documents = np.concatenate(blocks)
        if reference is not None:
            agreed = agreement(split, documents, reference, [metric])[metric]
            values.append((float(agreed.mean()), agreed))
            continue
        scores, per_query = score(task, split, ranks_in(split, documents), [metric])
        values.append((float(scores[metric]), per_query[metric]))
    return values


def depth_of(metric: str) -> int:
    """How many documents of a ranking a metric looks at: 10 of `ndcg_at_10`."""
    return int(metric.rpartition("_at_")[2]) if "_at_" in metric else 1


def _follow(one: Search, candidates: Candidates) -> Integers:
    """The documents `(queries, kept)` that a search leaves of each query of a block, best first."""
    if not one.stages:
        return candidates.found[one.rescore.name]
    (codec, kept), *rest = one.stages
    documents = candidates.found[codec.name][:, :kept]
    for next_codec, keep in [*rest, (one.rescore, documents.shape[1])]:
        documents = candidates.rescored(documents, next_codec)[:, :keep]
    return documents


class Candidates:
    """All that the first stages `found` for a block of queries, by codec `(queries, depth)`, best first. Their vectors
    are read once, and their similarities under each codec computed once, for all searches."""

    def __init__(self, queries: Matrix, split: Split, store: Store, fitted: Fitted, found: dict[str, Integers]) -> None:
        self.queries, self.order, self.fitted, self.found = queries, split.order, fitted, found
        self.documents = np.unique(np.concatenate([hits.ravel() for hits in found.values()]))
        self.vectors = np.asarray(store.vectors[split.documents[self.documents]], dtype=np.float32)
        self.similarities: dict[str, Matrix] = {}

    def rescored(self, documents: Integers, codec: Codec) -> Integers:
        """The candidates `(queries, candidates)` of each query, best first under the codec."""
        if codec.name not in self.similarities:
            self.similarities[codec.name] = self.fitted.similarities(codec, self.queries, self.vectors)
        place = np.searchsorted(self.documents, documents)
        values = np.take_along_axis(self.similarities[codec.name], place, 1)
        order = np.lexsort((-self.order[documents], -values), axis=1)
        return np.take_along_axis(documents, order, 1)
