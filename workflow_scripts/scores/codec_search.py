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
Documents = Integers  # the best documents of each query, best first: (queries, depth)
Found = dict[tuple[str, int], Documents]  # by the codec's name and how many are kept
Tops = dict[str, list[Top]]  # a codec's, of several depths
Step = Callable[[Matrix, int], None]  # takes in a block's transformed vectors (block, width), and its first document


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
    groups = list(by_transform.values())
    with _one_thread_each() as (pool, threads):
        # Where a transform has fewer steps than there are threads, each is done for parts of the queries side by side.
        fewest = min(len(_by_step(group)) for group in groups)
        parts = np.array_split(queries, max(1, min(-(-threads // fewest), len(queries))))
        found = [{(codec.name, depth): Top(len(part), depth, order) for codec, depth in wanted} for part in parts]
        steps = [
            [
                step
                for part, tops in zip(parts, found, strict=True)
                for step in _steps(fitted, group, part, _by_codec(tops))
            ]
            for group in groups
        ]
        for start in range(0, len(documents), BLOCK):
            vectors = np.asarray(store.vectors[documents[start : start + BLOCK]], dtype=np.float32)
            for group, made in zip(groups, steps, strict=True):
                transformed = fitted.full_width(group[0], vectors)
                list(pool.map(lambda step, block=transformed, start=start: step(block, start), made))
        best = [dict(zip(tops, pool.map(lambda top: top.sorted()[1], tops.values()), strict=True)) for tops in found]
    return {key: np.concatenate([of_part[key] for of_part in best]) for key in best[0]}


def _by_codec(tops: dict[tuple[str, int], Top]) -> Tops:
    found: Tops = {}
    for (name, _), top in tops.items():
        found.setdefault(name, []).append(top)
    return found


def _by_step(group: Sequence[Codec]) -> list[list[Codec]]:
    """The codecs of one transform that are ranked in one step: those that share products, then what is kept at each dimension,
    the longest first, so that no thread is left with it at the end."""
    shared = [codec for codec in group if _shares_products(codec)]
    rest: dict[int, list[Codec]] = {}
    for codec in group:
        if not _shares_products(codec):
            rest.setdefault(codec.dim, []).append(codec)
    return [*([shared] if shared else []), *(rest[dim] for dim in sorted(rest, reverse=True))]


def _shares_products(codec: Codec) -> bool:
    return codec.precision == "float32" and not codec.rotates_within


def _steps(fitted: Fitted, group: Sequence[Codec], queries: Matrix, best: Tops) -> list[Step]:
    return [
        (_shared_products if _shares_products(codecs[0]) else _one_dimension)(fitted, codecs, queries, best)
        for codecs in _by_step(group)
    ]


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


def _one_dimension(fitted: Fitted, codecs: Sequence[Codec], queries: Matrix, best: Tops) -> Step:
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


def _shared_products(fitted: Fitted, codecs: Sequence[Codec], queries: Matrix, best: Tops) -> Step:
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
