"""The speed of faiss's indexes: every kind is timed at each dimension that bytes divide, with the bytes it takes."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from workflow_scripts.curves import index_speed
from workflow_scripts.curves.indexes import CANDIDATES, TOP, timed_indexes


def test_every_kind_of_index_is_timed_with_the_bytes_that_it_takes() -> None:
    found = index_speed.measure_indexes([12, 16, 64], vectors=600)
    sizes = {(point["index"], point["dim"]): point["bytes"] for point in found}
    assert len(sizes) == len(found) == 2 * 8
    assert [sizes[name, 64] for name in ("flat", "int8", "int4", "pq", "rabitq", "binary")] == [256, 64, 32, 8, 16, 8]
    assert all(point["queries_per_second"] > 0 for point in found)


def test_faiss_refines_signs_as_re_scoring_by_hand_does() -> None:
    corpus = np.random.default_rng(0).standard_normal((3000, 64), np.float32)
    queries = corpus[:20] + 1
    searches = {name: search for name, _, search in timed_indexes(corpus)}
    _, found = searches[f"binary, {CANDIDATES} re-scored in int8"](queries)
    fine: Any = faiss.IndexScalarQuantizer(64, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    fine.train(corpus[:2000])
    fine.add(corpus)
    signs: Any = faiss.IndexBinaryFlat(64)
    signs.add(np.packbits(corpus > 0, axis=1))
    _, candidates = signs.search(np.packbits(queries > 0, axis=1), CANDIDATES)
    for query, near, theirs in zip(queries, candidates, found, strict=True):
        best = near[np.argsort(-(fine.reconstruct_batch(near) @ query))[:TOP]]
        assert len(set(best) & set(theirs)) >= TOP - 1  # of candidates at one distance, either keeps others
