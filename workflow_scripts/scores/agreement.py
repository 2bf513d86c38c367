"""How far a ranking agrees with that of the same model at full width in float32: what needs no judgements.

Takes the best documents of each query under a codec and at full width; leaves, per query, the share of the best 10 and 100 that
are the same documents, and whether the first is. Source of the measure: overlap at depth, Webber et al. 2010 (ACM TOIS 28:4), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from workflow_scripts.scores.retrieval import Integers, Split

DEPTHS = (10, 100)
DEPTH = max(DEPTHS)
SAME_FIRST = "same_first_hit"
METRICS = (*(f"overlap_at_{depth}" for depth in DEPTHS), SAME_FIRST)
NONE = -1  # in place of a document, where there are fewer


def agreement(
    split: Split, documents: Integers, reference: Integers, only: Sequence[str] = METRICS
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Each query's value `(queries,)` of each metric, from 0 to 1. `documents` and `reference` are `(queries, depth)`, best first;
    a document that has the query's own id counts in neither."""
    found, expected = _without_same(split, documents), _without_same(split, reference)
    values = {}
    for depth in DEPTHS:
        if (name := f"overlap_at_{depth}") in only:
            there = np.maximum((expected[:, :depth] != NONE).sum(axis=1), 1)
            values[name] = _common(found[:, :depth], expected[:, :depth]) / there
    if SAME_FIRST in only:
        values[SAME_FIRST] = (found[:, 0] == expected[:, 0]).astype(np.float64)
    return values


def _without_same(split: Split, documents: Integers) -> Integers:
    """The documents of each query without the one that has its id, which goes to the end as NONE."""
    same = documents == split.same[:, None]
    if not same.any():
        return documents
    kept = np.where(same, NONE, documents)
    return np.take_along_axis(kept, np.argsort(same, axis=1, kind="stable"), 1)


def _common(first: Integers, second: Integers) -> Integers:
    """How many documents are in both rows, which have each but once."""
    both = np.sort(np.concatenate([first, second], axis=1), axis=1)
    twice: Integers = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] != NONE)).sum(axis=1)
    return twice
