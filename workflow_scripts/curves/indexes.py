"""The vector indexes that the report speaks of: which precisions each can hold, and those of faiss that are timed.

Takes vectors; leaves indexes with them inside. A new vector index goes here: its precisions into `ENGINES`, its faiss
index into `timed_indexes`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

FLOATS = frozenset({"float32", "float16"})
ANY, RESCORING = "any codec", "any codec, then re-scoring"
# The precisions that an index takes; None: any. Only the last searches in stages.
ENGINES: dict[str, frozenset[str] | None] = {
    "floats": FLOATS,
    "int8": FLOATS | {"int8"},
    "binary": FLOATS | {"binary", "binary_median"},
    "product quantisation": FLOATS | {"pq", "opq"},
    ANY: None,
    RESCORING: None,
}

TOP = 10  # documents that a search returns
CANDIDATES = 100  # that an index of few bits finds for re-scoring
TRAINING = 2000  # vectors that an index is trained on


def timed_indexes(corpus: np.ndarray) -> Iterator[tuple[str, int, Callable[[np.ndarray], Any]]]:
    """Each kind of faiss index with the corpus `(n, dim)` in it: its name, its bytes per vector, and its search."""
    import faiss  # here, for the report reads this module and needs no index

    dim, inner = corpus.shape[1], faiss.METRIC_INNER_PRODUCT
    sample = corpus[:TRAINING]
    quantiser = faiss.ScalarQuantizer
    kinds: dict[str, Any] = {
        "flat": faiss.IndexFlat(dim, inner),
        "int8": faiss.IndexScalarQuantizer(dim, quantiser.QT_8bit, inner),
        "int4": faiss.IndexScalarQuantizer(dim, quantiser.QT_4bit, inner),
        "pq": faiss.IndexPQ(dim, dim // 8, 8, inner),
        "rabitq": faiss.IndexRaBitQ(dim, inner),
    }
    kinds["pq"].pq.cp.min_points_per_centroid = 1  # else faiss warns once for each part of the code
    kinds["pq"].pq.cp.niter = 2  # what is timed does not depend on how good the centroids are
    for name, index in kinds.items():
        index.train(sample)
        index.add(corpus)
        yield name, int(index.sa_code_size()), functools.partial(index.search, k=TOP)
    binary = faiss.IndexBinaryFlat(dim)
    binary.add(np.packbits(corpus > 0, axis=1))
    yield "binary", dim // 8, lambda query: binary.search(np.packbits(query > 0, axis=1), TOP)
    # IndexRefine takes no binary index, but faiss's IndexLSH without its rotation holds the same signs.
    signs: Any = faiss.IndexLSH(dim, dim, False, False)
    signs.metric_type = inner  # else the re-scored would be sorted as distances
    signs.add(corpus)
    for name, coarse in (("binary", signs), ("rabitq", kinds["rabitq"])):
        refined: Any = faiss.IndexRefine(coarse, kinds["int8"])
        refined.k_factor = CANDIDATES / TOP
        yield (
            f"{name}, {CANDIDATES} re-scored in int8",
            int(coarse.sa_code_size()),
            functools.partial(refined.search, k=TOP),
        )
