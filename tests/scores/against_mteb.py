"""Scores held against mteb's own evaluation of the same vectors, and vectors that cost nothing to make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from testing.real_tasks import hashed
from tests.scores.conftest import prefix_scores
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.mteb_tasks import fresh_state, parts
from workflow_scripts.scores.scored import Scored
from workflow_scripts.scores.stock import lookup, scores_by_part, stock_scores
from workflow_scripts.store import Store

DIMENSIONS = [8, 16, 32, 64, 128, 256, 384]


def differences(task: Any, store: Store, ours: Scored) -> dict[str, tuple[Any, Any]]:
    """What differs between a score of ours and mteb's evaluation of the same vectors: metric -> (mteb's, ours)."""
    assert ours.result is not None
    fresh_state(task)
    theirs, values = stock_scores(task, lookup(store, Fitted(store.width), ours.codec), ours.codec.dim)
    found: dict[str, tuple[Any, Any]] = {}
    for part in parts(task):
        actual = ours.result.of_parts[part]
        for name, value in scores_by_part(task, theirs)[part].items():
            both_undefined = isinstance(value, float) and math.isnan(value) and math.isnan(actual.get(name, 0))
            if not both_undefined and actual.get(name) != value:
                found[name] = (value, actual.get(name))
        if values[part] != ours.values[part]:
            found["values"] = (values[part], ours.values[part])
    if theirs.get_score() != ours.score:
        found["score"] = (theirs.get_score(), ours.score)
    return found


def all_differences(task: Any, store: Store, dimensions: Sequence[int]) -> dict[int, Any]:
    scored = prefix_scores(task, store, dimensions)
    assert [one.codec.dim for one in scored] == list(dimensions)
    return {one.codec.dim: found for one in scored if (found := differences(task, store, one))}


def wide(texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return hashed(texts, DIMENSIONS[-1])


def signs(texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One bit a coordinate: at few coordinates, hundreds of documents are equal."""
    return np.where(wide(texts) > 0, np.float32(1), np.float32(-1))
