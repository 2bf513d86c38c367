"""Adaptive retrieval: search at a few dimensions, re-rank what that finds at more.

Takes a retrieval piece and the store; leaves, over a grid of shortlists, candidates and re-ranking dimensions,
nDCG@10 with what it costs per query: multiply-adds, and bytes of vectors read. Funnels (two shortlists, each
smaller and wider than the one before) and the single dimensions stand in the same table, so that they can be
compared. Source of the idea: Kusupati et al. 2022 (arXiv 2205.13147), section 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from workflow_scripts.scores.retrieval import Integers, Piece, ranks_in, score, search, vectors_of
from workflow_scripts.scores.views import View
from workflow_scripts.store import Store

METRIC = "ndcg_at_10"
QUERIES_AT_ONCE = 64
BYTES = 4  # of a float32 coordinate


@dataclass(frozen=True)
class Search:
    """One way to search: stages of (dimension, candidates kept), then the dimension of the final ranking."""

    stages: tuple[tuple[int, int], ...]
    rerank_dim: int

    def multiply_adds(self, documents: int) -> int:
        """Products per query: every document at the first stage, then only what the stage before kept."""
        total, left = 0, documents
        for dim, kept in self.stages:
            total += left * dim
            left = min(left, kept)
        return total + left * self.rerank_dim


def grid(shortlist: Sequence[int], candidates: Sequence[int], dimensions: Sequence[int]) -> list[Search]:
    """The single dimensions; each shortlist and size, re-ranked at each greater dimension; and each funnel of two
    shortlists (a smaller one of more coordinates within a larger one of fewer), re-ranked at the greatest."""
    widest = max(dimensions)
    dims = [dim for dim in sorted(shortlist) if dim < widest]
    sizes = sorted(candidates, reverse=True)
    paths = [Search((), dim) for dim in sorted(dimensions)]
    for dim in dims:
        paths += [Search(((dim, kept),), rerank) for kept in sizes for rerank in sorted(dimensions) if rerank > dim]
    for i, first in enumerate(dims):
        for second in dims[i + 1 :]:
            for j, many in enumerate(sizes):
                paths += [Search(((first, many), (second, few)), widest) for few in sizes[j + 1 :]]
    return paths


def measure(task: Any, piece: Piece, store: Store, view: View, paths: Sequence[Search]) -> list[float]:
    """nDCG@10 of each path, as mteb means it (5 decimals)."""
    queries = vectors_of(store, piece.queries, view)
    depth = max([10, *(kept for path in paths for _, kept in path.stages)])
    if task.ignore_identical_ids:
        depth += 1
    first_dims = {path.stages[0][0] if path.stages else path.rerank_dim for path in paths}
    best = search(queries, store, piece.documents, piece.order, view, sorted(first_dims), depth)
    found = {dim: best[dim].sorted()[1] for dim in best}
    ranked: list[list[Integers]] = [[] for _ in paths]
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        block = slice(start, start + QUERIES_AT_ONCE)
        candidates = Candidates(queries[block], piece, store, view, {dim: hits[block] for dim, hits in found.items()})
        for path, blocks in zip(paths, ranked, strict=True):
            blocks.append(_follow(path, candidates))
    values = []
    for blocks in ranked:
        scores, _ = score(task, piece, ranks_in(piece, np.concatenate(blocks)))
        values.append(float(scores[METRIC]))
    return values


def _follow(path: Search, candidates: Candidates) -> Integers:
    """The documents `(queries, kept)` that a path leaves of each query of a block, best first."""
    if not path.stages:
        return candidates.found[path.rerank_dim]
    (dim, kept), *rest = path.stages
    documents = candidates.found[dim][:, :kept]
    for next_dim, keep in [*rest, (path.rerank_dim, documents.shape[1])]:
        documents = candidates.rerank(documents, next_dim)[:, :keep]
    return documents


class Candidates:
    """All that the searches `found` for a block of queries, by dimension `(queries, depth)`, best first. Their vectors
    are read once, and their similarities at each dimension made once, for all paths."""

    def __init__(
        self, queries: torch.Tensor, piece: Piece, store: Store, view: View, found: dict[int, Integers]
    ) -> None:
        self.queries, self.order, self.found = queries, piece.order, found
        self.documents = np.unique(np.concatenate([hits.ravel() for hits in found.values()]))
        self.vectors = vectors_of(store, piece.documents[self.documents], view)
        self.similarities: dict[int, np.ndarray[Any, Any]] = {}

    def rerank(self, documents: Integers, dim: int) -> Integers:
        """The candidates `(queries, candidates)` of each query, best first by cosine at `dim` coordinates."""
        if dim not in self.similarities:
            left, right = (torch.nn.functional.normalize(of[:, :dim]) for of in (self.queries, self.vectors))
            self.similarities[dim] = (left @ right.T).numpy()
        place = np.searchsorted(self.documents, documents)
        values = np.take_along_axis(self.similarities[dim], place, 1)
        order = np.lexsort((-self.order[documents], -values), axis=1)
        return np.take_along_axis(documents, order, 1)
