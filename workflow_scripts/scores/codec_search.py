"""The search with codecs: the best documents of each query by every codec, in one pass over the store.

Takes a split of a retrieval task, its store and the fitted codecs; leaves the best documents under each codec. A codec
ranks by the inner product of a query with what is stored of a document, vectors being normalised before they are stored:
what an index of inner products does. A block of documents is read and transformed once for all codecs, and float32
codecs of one transform share their products over dimensions.
"""

from __future__ import annotations

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
Wanted = tuple[Codec, int]  # a codec, and how many documents of each query are kept
Found = dict[tuple[str, int], Top]  # the best documents by the codec's name and how many are kept
Step = Callable[[Matrix, int], None]  # takes in a block's transformed vectors (block, width), and its first document


def search(split: Split, store: Store, fitted: Fitted, wanted: Sequence[Wanted]) -> Found:
    """The best documents of each query of a split, by each codec."""
    queries = np.asarray(store.vectors[split.queries], dtype=np.float32)
    return search_rows(queries, split.documents, split.order, store, fitted, wanted)


def search_rows(
    queries: Matrix, documents: Integers, order: Integers, store: Store, fitted: Fitted, wanted: Sequence[Wanted]
) -> Found:
    """The same for `queries` `(queries, width)` and `documents`, rows of the store; `order` is each one's place among equals."""
    found = {(codec.name, depth): Top(len(queries), depth, order) for codec, depth in wanted}
    best: dict[str, list[Top]] = {}
    for (name, _), top in found.items():
        best.setdefault(name, []).append(top)
    by_transform: dict[tuple[str, int], list[Codec]] = {}
    for codec in {codec.name: codec for codec, _ in wanted}.values():
        by_transform.setdefault((codec.transform, codec.draw), []).append(codec)
    steps: list[tuple[Codec, list[Step]]] = []
    for group in by_transform.values():
        shared = [codec for codec in group if codec.precision == "float32" and not codec.rotates_within]
        made = [_shared_products(fitted, shared, queries, best)] if shared else []
        rest: dict[int, list[Codec]] = {}
        for codec in group:
            if codec not in shared:
                rest.setdefault(codec.dim, []).append(codec)
        # the longest first, so that no thread is left with it at the end
        made += [_one_dimension(fitted, rest[dim], queries, best) for dim in sorted(rest, reverse=True)]
        steps.append((group[0], made))
    with _one_thread_each() as threads:
        for start in range(0, len(documents), BLOCK):
            vectors = np.asarray(store.vectors[documents[start : start + BLOCK]], dtype=np.float32)
            for first, made in steps:
                transformed = fitted.full_width(first, vectors)
                list(threads.map(lambda step, block=transformed, start=start: step(block, start), made))
    return found


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch may use, in each of which its operations take one: steps are independent, and half of their
    work is NumPy's, which takes one anyway."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
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
            products += query @ block.T
            squares += block.square().sum(dim=1)
            # A query's own norm changes nothing in its ranking, so it is left out.
            torch.mul(products, squares.clamp_min(1e-24).rsqrt(), out=similarity)
            for top in best[codec.name]:
                top.add(similarity, start)

    return step
