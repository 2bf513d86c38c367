"""How many brute-force searches a second this machine makes at each dimension, measured in one short run.

Takes the study's dimensions; leaves speed.json, apart from curves.parquet, which must not depend on the machine.
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.artefact import versions, write_json
from workflow_scripts.command_line import Settings, log, parse_settings, parser, run

VECTORS = 50_000
QUERIES = 16
REPEATS = 3
TOP = 10


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


def _search(corpus: np.ndarray, query: np.ndarray) -> np.ndarray:
    scores = corpus @ query
    best = np.argpartition(scores, -TOP)[-TOP:]
    return best[np.argsort(scores[best])]


def main() -> None:
    arguments = parser(__doc__, "{dimensions: to search at}")
    arguments.add_argument("--output", required=True, type=Path)
    given = arguments.parse_args()

    def work() -> None:
        points = measure(parse_settings(SpeedSettings, given.settings).dimensions)
        for point in points:
            log.info("%d dimensions: %.0f queries/s", point["dim"], point["queries_per_second"])
        write_json(
            given.output,
            {
                "vectors": VECTORS,
                "points": points,
                "machine": platform.processor() or platform.machine(),
                "threads": os.environ.get("OMP_NUM_THREADS", "all"),
                "cores": os.cpu_count(),
                "versions": versions("numpy"),
            },
        )

    run(work)


if __name__ == "__main__":
    main()
