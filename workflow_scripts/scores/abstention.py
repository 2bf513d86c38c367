"""mteb's nAUC: how well the similarities of a query's hits tell how good its ranking is.

Takes the best similarities of each query and its value of each metric; leaves mteb's `nauc_*` scores. A system
that is not confident may abstain: at each rate of abstention the metric's mean over the queries of greatest confidence is a
point of a curve, and nAUC is that curve's area, 0 for abstaining at random and 1 for abstaining where the metric
is worst. Source: Gisserot-Boukhlef et al. 2024 (arXiv 2402.12997). mteb walks over queries and metrics one by one;
here each sum runs over all of them at once, in mteb's order, so that no rounding differs.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

MEASURES = ("max", "std", "diff1")  # of confidence: mteb's names
RATES = np.linspace(0, 1, 11)[:-1]


def confidence(best: np.ndarray[Any, np.dtype[np.float32]], same: np.ndarray[Any, np.dtype[np.float32]]) -> Array:
    """The three confidences of each query `(3, queries)`.

    `best` is (queries, n), falling: the similarities that mteb keeps. `same` is (queries,), the similarity of the
    document with the query's own id, which is left out; nan where there is none. The deviation is summed in the
    order of mteb's heap; over several chunks of a corpus, or among equal similarities, that order is another one, and
    the last bit of the deviation may be.
    """
    found = np.zeros((len(MEASURES), len(best)))
    values = best.astype(np.float64)
    if values.shape[1]:
        kept = np.take(values, _heap_order(values.shape[1]), axis=1)
        found[:2] = values[:, 0], kept.std(axis=1)
    if values.shape[1] > 1:
        found[2] = values[:, 0] - values[:, 1]
    for i in np.flatnonzero(same >= best.min(axis=1, initial=np.inf)):
        others = np.delete(kept[i], np.flatnonzero(kept[i] == same[i])[:1])
        first, second, *_ = [*np.sort(others)[:-3:-1], 0.0, 0.0]
        found[:, i] = first, others.std() if len(others) else 0, first - second if len(others) > 1 else 0
    return found


@cache
def _heap_order(count: int) -> Integers:
    """Where a heap keeps the numbers that were pushed onto it in falling order: the nth of them is at that place."""
    heap: list[int] = []
    for i in range(count):
        heapq.heappush(heap, -i)
    return -np.array(heap, dtype=np.int64)


def nauc(per_query: Mapping[str, Array], confidences: Array) -> dict[str, float]:
    """mteb's `nauc_<metric>_<measure>` of each metric `(queries,)`; nan where every query does equally well."""
    names = [name for name in per_query if not name.startswith("hit_rate")]
    metrics = np.array([per_query[name] for name in names], dtype=np.float64)
    oracle = np.sort(metrics, axis=1)
    orders = np.argsort(confidences, axis=1, kind="stable")
    ordered = [
        _evened(by[order], np.take(metrics, order, axis=1)) for by, order in zip(confidences, orders, strict=True)
    ]
    curves = _means_of_most_confident(np.stack([_evened(oracle, oracle), *ordered]))
    flat = curves[0, :, 0] * (RATES[-1] - RATES[0])
    possible, *areas = np.trapezoid(curves, RATES, axis=2) - flat
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(possible == 0, np.nan, areas / possible)
    return {
        f"nauc_{name}_{measure}": value
        for measure, of_measure in zip(MEASURES, shares.tolist(), strict=True)
        for name, value in zip(names, of_measure, strict=True)
    }


def _evened(by: Array, metrics: Array) -> Array:
    """The metrics `(metrics, queries)`, those of queries that are equally confident replaced by their mean.

    `by` is the same or `(queries,)`, for all metrics alike; the queries are in its order, rising.
    """
    starts = np.flatnonzero(np.diff(by, axis=-1, prepend=np.nan) != 0)
    if len(starts) == by.size:
        return metrics
    sizes = np.diff(starts, append=by.size)
    sums = np.add.reduceat(metrics.reshape(-1, by.size), starts, axis=1)
    evened: Array = np.repeat(sums / sizes, sizes, axis=1).reshape(metrics.shape)
    return evened


def _means_of_most_confident(metrics: Array) -> Array:
    """The means of `(…, queries)`, most confident last, when the first are left out: `(…, rates)`."""
    queries = metrics.shape[-1]
    cuts = [min(round(rate * queries), queries - 1) for rate in RATES]
    return np.stack([metrics[..., cut:].mean(axis=-1) for cut in cuts], axis=-1)
