"""The best documents of each query: those of a sort by similarity, then by the fixed order, however many are equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from workflow_scripts.scores.best_documents import Top

QUERIES, DOCUMENTS = 12, 2000


def best_of(similarity: np.ndarray[Any, Any], depth: int, order: np.ndarray[Any, Any], chunk: int) -> Any:
    top = Top(len(similarity), depth, order)
    for start in range(0, DOCUMENTS, chunk):
        top.add(torch.from_numpy(similarity[:, start : start + chunk].copy()), start)
    return top.sorted()[1]


@pytest.mark.parametrize("levels", [2, 9, 10_000])
@pytest.mark.parametrize("chunk", [7, 300, DOCUMENTS])
@pytest.mark.parametrize("depth", [1, 10, 101])
def test_equals_are_kept_and_ranked_by_the_order_alone(levels: int, chunk: int, depth: int) -> None:
    draw = np.random.default_rng(levels)
    similarity = draw.integers(0, levels, (QUERIES, DOCUMENTS)).astype(np.float32)
    similarity[:3] = np.sort(similarity[:3])  # every chunk has better ones than all before it
    similarity[3, [5, 900]] = np.nan  # sorts as the greatest
    order = draw.permutation(DOCUMENTS)
    rank = np.where(np.isnan(similarity), np.inf, similarity)
    expected = np.lexsort((-np.broadcast_to(order, similarity.shape), -rank), axis=1)[:, :depth]
    found = best_of(similarity, depth, order, chunk)
    number = np.arange(QUERIES) != 3
    np.testing.assert_array_equal(found[number], expected[number])
    assert len({5, 900} & set(found[3].tolist())) == min(depth, 2)
