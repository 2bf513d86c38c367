"""How many exhaustive searches a second this machine makes, by dimension and by faiss's kinds of index, in one short run.

Takes the study's dimensions; leaves speed.json (`points`, by dimension in float32; `indexes`, by kind), apart from curves.parquet, which must not depend on the machine.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from workflow_scripts.artefact import versions, write_json
from workflow_scripts.command_line import Settings, log, parse_settings, parser, run
from workflow_scripts.curves.indexes import TOP, timed_indexes

VECTORS = 50_000
QUERIES = 16
REPEATS = 3


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
    quantisation of a byte per eight coordinates, RaBitQ, and signs or RaBitQ whose 100 best are re-scored in int8
    (IndexRefine); `bytes` that a vector takes in memory for the first pass. Vectors are random: what is timed does not depend on them.
    """
    rng = np.random.default_rng(0)
    widest = rng.standard_normal((vectors, max(dimensions)), np.float32)
    found: list[dict[str, Any]] = []
    for dim in (d for d in dimensions if d % 8 == 0):
        corpus = np.ascontiguousarray(widest[:, :dim])
        for name, size, search in timed_indexes(corpus):
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
