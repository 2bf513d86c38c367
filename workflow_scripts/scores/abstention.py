"""mteb's nAUC: how well the similarities of a query's hits tell how good its ranking is.

Takes the best similarities of each query and its value of each metric; leaves mteb's `nauc_*` scores. A system
that is unsure may abstain: at each rate of abstention the metric's mean over the queries it is surest of is a
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

SIGNS = ("max", "std", "diff1")  # of being sure: mteb's names
RATES = np.linspace(0, 1, 11)[:-1]


def sureness(best: np.ndarray[Any, np.dtype[np.float32]], same: np.ndarray[Any, np.dtype[np.float32]]) -> Array:
    """The three signs of each query `(3, queries)`.

    `best` is (queries, n), falling: the similarities that mteb keeps. `same` is (queries,), the similarity of the
    document with the query's own id, which is left out; nan where there is none. The deviation is summed in the
    order of mteb's heap; over several chunks of a corpus, or among equal similarities, that order is another one, and
    the last bit of the deviation may be.
    """
    found = np.zeros((len(SIGNS), len(best)))
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


def nauc(per_query: Mapping[str, Array], sure: Array) -> dict[str, float]:
    """mteb's `nauc_<metric>_<sign>` of each metric `(queries,)`; nan where every query does equally well."""
    names = [name for name in per_query if not name.startswith("hit_rate")]
    metrics = np.array([per_query[name] for name in names], dtype=np.float64)
    oracle = _curves(metrics, metrics)
    flat = oracle[:, 0] * (RATES[-1] - RATES[0])
    possible = np.trapezoid(oracle, RATES, axis=1) - flat
    scores: dict[str, float] = {}
    for sign, by in zip(SIGNS, sure, strict=True):
        area = np.trapezoid(_curves(np.broadcast_to(by, metrics.shape), metrics), RATES, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(possible == 0, np.nan, (area - flat) / possible)
        scores |= {f"nauc_{name}_{sign}": float(value) for name, value in zip(names, share, strict=True)}
    return scores


def _curves(by: Array, metrics: Array) -> Array:
    """Each metric's mean over what is left when the queries of the least `by` are left out: `(metrics, rates)`.

    Both `(metrics, queries)`. Queries that are equally sure count as their mean.
    """
    order = np.argsort(by, axis=1, kind="stable")
    by, metrics = np.take_along_axis(by, order, 1), np.take_along_axis(metrics, order, 1)
    starts = np.flatnonzero(np.diff(by, axis=1, prepend=np.nan) != 0)
    sizes = np.diff(starts, append=metrics.size)
    evened = np.repeat(np.add.reduceat(metrics.ravel(), starts) / sizes, sizes).reshape(metrics.shape)
    queries = metrics.shape[1]
    cuts = [min(round(rate * queries), queries - 1) for rate in RATES]
    return np.stack([evened[:, cut:].mean(axis=1) for cut in cuts], axis=1)
