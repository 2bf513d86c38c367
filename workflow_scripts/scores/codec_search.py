"""The search with codecs: the best documents of each query by every codec, in one pass over the store.

Takes a split of a retrieval task, its store and the fitted codecs; leaves the best documents under each codec. A codec
ranks by the inner product of a query with what is stored of a document, vectors being normalised before they are stored:
what an index of inner products does. A block of documents is read and transformed once for all codecs, and float32
codecs of one transform share their products over dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.scores.best_documents import Top
from workflow_scripts.scores.retrieval import Integers, Split
from workflow_scripts.store import Store

BLOCK = 4096  # documents at once: few enough to stay near the processor
PART = 64  # queries that are worth a thread; products of one to three round differently from those of more
Wanted = tuple[Codec, int]  # a codec, and how many documents of each query are kept
Found = dict[tuple[str, int], Integers]  # by the codec's name and how many are kept: (queries, depth), best first
Step = Callable[[Matrix, int], None]  # takes in a block's transformed vectors (block, width), and its first document
MakeStep = Callable[[Fitted, Sequence[Codec], Matrix, dict[str, list[Top]]], Step]


def search(split: Split, store: Store, fitted: Fitted, wanted: Sequence[Wanted]) -> Found:
    """The best documents of each query of a split, by each codec."""
    queries = np.asarray(store.vectors[split.queries], dtype=np.float32)
    return search_rows(queries, split.documents, split.order, store, fitted, wanted)


def search_rows(
    queries: Matrix, documents: Integers, order: Integers, store: Store, fitted: Fitted, wanted: Sequence[Wanted]
) -> Found:
    """The same for `queries` `(queries, width)` and `documents`, rows of the store; `order` is each one's place among equals."""
    if not wanted:
        return {}
    by_transform: dict[tuple[str, int], list[Codec]] = {}
    for codec in {codec.name: codec for codec, _ in wanted}.values():
        by_transform.setdefault((codec.transform, codec.draw), []).append(codec)
    tops: dict[tuple[str, int], list[Top]] = {}
    with _one_thread_each() as (pool, threads):
        groups = []
        for codecs in by_transform.values():
            steps, of_group = _side_by_side(fitted, codecs, queries, wanted, order, threads)
            groups.append((codecs[0], steps))
            tops |= of_group
        for start in range(0, len(documents), BLOCK):
            vectors = np.asarray(store.vectors[documents[start : start + BLOCK]], dtype=np.float32)
            for first, steps in groups:
                transformed = fitted.full_width(first, vectors)
                list(pool.map(lambda step, block=transformed, start=start: step(block, start), steps))
        best = pool.map(lambda parts: np.concatenate([top.sorted()[1] for top in parts]), tops.values())
        return dict(zip(tops, best, strict=True))


def _side_by_side(
    fitted: Fitted, codecs: Sequence[Codec], queries: Matrix, wanted: Sequence[Wanted], order: Integers, threads: int
) -> tuple[list[Step], dict[tuple[str, int], list[Top]]]:
    """The steps that rank the codecs of one transform, and what they collect: by codec and depth, for each part of the queries
    in turn. They are in parts where there are fewer steps than threads; each part has the documents coded again."""
    by_step = _by_step(codecs)
    count = max(1, min(math.ceil(threads / len(by_step)), len(queries) // PART))
    steps: list[Step] = []
    collected: dict[tuple[str, int], list[Top]] = {}
    for part in np.array_split(queries, count):
        best: dict[str, list[Top]] = {}
        for codec, depth in dict.fromkeys(wanted):
            if codec in codecs:
                top = Top(len(part), depth, order)
                best.setdefault(codec.name, []).append(top)
                collected.setdefault((codec.name, depth), []).append(top)
        steps += [step_of(fitted, some, part, best) for step_of, some in by_step]
    return steps, collected


def _by_step(codecs: Sequence[Codec]) -> list[tuple[MakeStep, list[Codec]]]:
    """The codecs of one transform that are ranked in one step, and what makes it: those that share products, then what is kept
    at each dimension, the longest first, so that no thread is left with it at the end."""
    shared: list[Codec] = []
    rest: dict[int, list[Codec]] = {}
    for codec in codecs:
        shares = codec.precision == "float32" and not codec.rotates_within
        (shared if shares else rest.setdefault(codec.dim, [])).append(codec)
    steps: list[tuple[MakeStep, list[Codec]]] = [(_shared_products, shared)] if shared else []
    return [*steps, *((_one_dimension, rest[dim]) for dim in sorted(rest, reverse=True))]


@contextmanager
def _one_thread_each() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """As many threads as torch may use, and how many; in each its operations take one: steps are independent, and half of
    their work is NumPy's, which takes one anyway."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool, threads
    finally:
        torch.set_num_threads(threads)


def _one_dimension(fitted: Fitted, codecs: Sequence[Codec], queries: Matrix, best: dict[str, list[Top]]) -> Step:
    """The step for all codecs of one transform and dimension, which keep the same coordinates."""
    asked = [torch.from_numpy(np.ascontiguousarray(fitted.query(codec, queries))) for codec in codecs]
    rounded = [fitted.precision(codec) for codec in codecs]

    def step(transformed: Matrix, start: int) -> None:
        kept = fitted.kept(codecs[0], transformed)
        for codec, precision, query in zip(codecs, rounded, asked, strict=True):
            compared, added = precision.compared(kept)
            similarity = query @ torch.from_numpy(compared).T
            if added is not None:
                similarity += torch.from_numpy(added)
            for top in best[codec.name]:
                top.add(similarity, start)

    return step


def _shared_products(fitted: Fitted, codecs: Sequence[Codec], queries: Matrix, best: dict[str, list[Top]]) -> Step:
    """The step for float32 codecs of one transform: the products of a dimension are those of the one below plus those
    of the coordinates between, and so are the squared norms."""
    ordered = sorted(codecs, key=lambda codec: codec.dim)
    edges = list(zip([0, *(codec.dim for codec in ordered[:-1])], (codec.dim for codec in ordered), strict=True))
    transformed_queries = torch.from_numpy(np.ascontiguousarray(fitted.full_width(ordered[0], queries)))
    asked = [transformed_queries[:, below:dim].contiguous() for below, dim in edges]

    def step(transformed: Matrix, start: int) -> None:
        vectors = torch.from_numpy(np.ascontiguousarray(transformed))
        products, squares = torch.zeros((len(queries), len(vectors))), torch.zeros(len(vectors))
        similarity = torch.empty_like(products)
        for codec, (below, dim), query in zip(ordered, edges, asked, strict=True):
            block = vectors[:, below:dim].contiguous()
            products.addmm_(query, block.T)
            squares += block.square().sum(dim=1)
            # A query's own norm changes nothing in its ranking, so it is left out.
            torch.mul(products, squares.clamp_min(1e-24).rsqrt(), out=similarity)
            for top in best[codec.name]:
                top.add(similarity, start)

    return step
