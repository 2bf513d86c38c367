"""How many exhaustive searches a second this machine makes, by dimension and by faiss's kinds of index, in one short run.

Takes the study's dimensions; leaves speed.json (`points`, by dimension in float32; `indexes`, by kind), apart from curves.parquet, which must not depend on the machine.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from workflow_scripts.artefact import versions, write_json
from workflow_scripts.command_line import Settings, log, parse_settings, parser, run

VECTORS = 50_000
QUERIES = 16
REPEATS = 3
TOP = 10
CANDIDATES = 100  # that the binary index finds for re-scoring
TRAINING = 2000  # vectors that an index is trained on


class SpeedSettings(Settings):
    dimensions: list[int]


def measure(dimensions: list[int], vectors: int = VECTORS) -> list[dict[str, Any]]:
    """Queries per second, one query after another, exact top 10 by dot product in float32; the median of rounds.

    The dimensions take turns, so that a slow moment of the machine meets them all.
    """
    rng = np.random.default_rng(0)
    widest = rng.standard_normal((vectors, max(dimensions)), np.float32)
    seconds: dict[int, list[float]] = {dim: [] for dim in dimensions}
    for _ in range(REPEATS):
        for dim in dimensions:
            corpus = np.ascontiguousarray(widest[:, :dim])
            queries = widest[:QUERIES, :dim]
            _search(corpus, queries[0])
            started = time.perf_counter()
            for query in queries:
                _search(corpus, query)
            seconds[dim].append(time.perf_counter() - started)
    return [{"dim": dim, "queries_per_second": QUERIES / float(np.median(taken))} for dim, taken in seconds.items()]


def measure_indexes(dimensions: list[int], vectors: int = VECTORS) -> list[dict[str, Any]]:
    """Queries per second of faiss's own indexes at each dimension that bytes divide, one query after another, top 10.

    `index`: flat (float32), scalar quantisers of 8 and 4 bits, binary (Hamming distance, queries coded), product
    quantisation of a byte per eight coordinates, RaBitQ, and binary codes whose 100 best are re-scored in int8; `bytes`
    that a vector takes in memory. Vectors are random: what is timed does not depend on them.
    """
    rng = np.random.default_rng(0)
    widest = rng.standard_normal((vectors, max(dimensions)), np.float32)
    found: list[dict[str, Any]] = []
    for dim in (d for d in dimensions if d % 8 == 0):
        corpus = np.ascontiguousarray(widest[:, :dim])
        for name, size, search in _indexes(corpus):
            search(corpus[:1])
            seconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                for i in range(QUERIES):
                    search(corpus[i : i + 1])
                seconds.append(time.perf_counter() - started)
            rate = QUERIES / float(np.median(seconds))
            found.append({"index": name, "dim": dim, "bytes": size, "queries_per_second": rate})
    return found


def _indexes(corpus: np.ndarray) -> Iterator[tuple[str, int, Callable[[np.ndarray], Any]]]:
    """Each kind of index with the corpus `(n, dim)` in it: its name, its bytes per vector, and its search."""
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

    def by_bits(query: np.ndarray, count: int = TOP) -> Any:
        return binary.search(np.packbits(query > 0, axis=1), count)

    yield "binary", dim // 8, by_bits
    fine = kinds["int8"]

    def refined(query: np.ndarray) -> np.ndarray:
        candidates = by_bits(query, CANDIDATES)[1][0]
        scores = fine.reconstruct_batch(candidates) @ query[0]
        best: np.ndarray = candidates[np.argsort(-scores)[:TOP]]
        return best

    yield f"binary, {CANDIDATES} re-scored in int8", dim // 8, refined


def _search(corpus: np.ndarray, query: np.ndarray) -> np.ndarray:
    scores = corpus @ query
    best = np.argpartition(scores, -TOP)[-TOP:]
    return best[np.argsort(scores[best])]


def main() -> None:
    arguments = parser(__doc__, "{dimensions: to search at}")
    arguments.add_argument("--output", required=True, type=Path)
    given = arguments.parse_args()

    def work() -> None:
        dimensions = parse_settings(SpeedSettings, given.settings).dimensions
        faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        points, indexes = measure(dimensions), measure_indexes(dimensions)
        for point in points:
            log.info("%d dimensions: %.0f queries/s", point["dim"], point["queries_per_second"])
        for point in indexes:
            log.info("%s, %d dimensions: %.0f queries/s", point["index"], point["dim"], point["queries_per_second"])
        write_json(
            given.output,
            {
                "vectors": VECTORS,
                "points": points,
                "indexes": indexes,
                "machine": platform.processor() or platform.machine(),
                "threads": os.environ.get("OMP_NUM_THREADS", "all"),
                "cores": os.cpu_count(),
                "versions": versions("numpy", "faiss-cpu"),
            },
        )

    run(work)


if __name__ == "__main__":
    main()
