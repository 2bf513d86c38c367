"""A linear adaptor of vectors without a model beside their principal axes and their prefix, through the workflow itself.

    python benchmarks/adaptor_of_vectors.py [--data wordnet scifact] [--pairs 3000] [--seeds 3] [--folder DIR]

Takes vectors of all-MiniLM-L6-v2 in float16 as a user would bring them (testing/example_vectors.py): of WordNet, with pairs of
other synsets, and of `../shared/data/retrieval/scifact` with its training pairs, but for the two whose claims are test claims.
Runs a study of `ours` and `ours_adapted`, and prints nDCG@10 at 32 dimensions and at full width; of queries whose answers no pair
names also by themselves, as pairs say more of documents that they name. `--folder` keeps the vectors.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SCIFACT = ROOT.parent / "shared" / "data" / "retrieval" / "scifact"
DIMENSIONS = (32, 384)
ROWS = {  # what the table calls them: variant, transform
    "prefix": ("ours", "prefix"),
    "principal axes (`transforms: [pca]`)": ("ours", "pca"),
    "adaptor": ("ours_adapted", "prefix"),
}
GAIN = "over the best of the others, 95% over queries"


def write_scifact(folder: Path) -> None:
    """SciFact's vectors, judgements of its test queries and pairs of its training queries."""
    from testing.example_vectors import write_vectors

    names = ("corpus", "queries", "qrels", "queries_train", "qrels_train")
    corpus, queries, judged, more, pairs = (pl.read_parquet(SCIFACT / f"{name}.parquet") for name in names)
    titles = corpus["title"].fill_null("").to_list()
    documents = [f"{title} {text}".strip() for title, text in zip(titles, corpus["text"].to_list(), strict=True)]
    row = {key: number for number, key in enumerate(corpus["_id"].to_list())}
    asked = {key: number for number, key in enumerate(queries["_id"].to_list())}
    scored = set(queries["text"])
    text = {key: words for key, words in more.select("_id", "text").iter_rows() if words not in scored}
    write_vectors(
        folder,
        {"documents": documents, "queries": queries["text"].to_list()},
        [(asked[q], row[d], score) for q, d, score in judged.select("query-id", "corpus-id", "score").iter_rows()],
        [(text[q], documents[row[d]]) for q, d in pairs.select("query-id", "corpus-id").iter_rows() if q in text],
    )


def run_study(name: str, vectors: Path, pairs: int, seeds: int, folder: Path) -> Path:
    """The scores of the study; gives the folder of its results."""
    study = {
        "study": f"adaptor_of_vectors_{name}",
        "seeds": list(range(seeds)),
        "variants": {"ours": {"vectors": str(vectors)}, "ours_adapted": {"parent": "ours", "adaptor": "linear"}},
        "training": {"objective": "mnr"},
        "adaptor": {"pairs": pairs},
        "dimensions": list(DIMENSIONS),
        "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32"]},
        "tasks": [{"name": name, "path": str(vectors)}],
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--until", "score", "--configfile", str(file)]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "results" / f"adaptor_of_vectors_{name}"


def without_pairs(vectors: Path) -> set[str]:
    """The scored queries of whose answers no pair names one."""
    judged, pairs = (pl.read_csv(vectors / name, separator="\t") for name in ("judgements.tsv", "pairs.tsv"))
    of_pairs = judged.filter(pl.col("corpus-id").is_in(pairs["corpus-id"].implode()))
    return {str(query) for query in set(judged["query-id"]) - set(of_pairs["query-id"])}


def scores_of(results: Path, task: str, model: str, seed: int, codec: str) -> pl.DataFrame:
    """nDCG@10 of each query (`unit`, `value`)."""
    table = pl.read_parquet(results / "scores" / model / f"s{seed}" / f"{task}.values.parquet")
    return table.filter((pl.col("codec") == codec) & (pl.col("metric") == "ndcg_at_10"))


def print_table(results: Path, task: str, vectors: Path, seeds: int) -> None:
    """A row for each way, a column for each dimension and set of queries: the mean, of an adaptor over seeds with the
    least and the greatest. Then what the adaptor gains over the best of the others."""
    apart = without_pairs(vectors)
    print(f"\n| {task} | all queries at " + " | at ".join(map(str, DIMENSIONS)), end="")
    print(f" | {len(apart)} queries whose answers no pair names, at " + " | at ".join(map(str, DIMENSIONS)) + " |")
    print("|---|" + "---|" * 2 * len(DIMENSIONS))
    columns: dict[str, list[str]] = {words: [] for words in [*ROWS, GAIN]}
    for only in (None, apart):
        for dim in DIMENSIONS:
            values = {}
            for words, (model, transform) in ROWS.items():
                of_seeds = range(seeds if model != "ours" else 1)
                tables = [
                    scores_of(results, task, model, s, f"{transform}-{dim}-float32").sort("unit") for s in of_seeds
                ]
                kept = [t if only is None else t.filter(pl.col("unit").is_in(list(only))) for t in tables]
                values[words] = np.stack([t["value"].to_numpy() for t in kept])
                means = values[words].mean(axis=1)
                spread = f" ({means.min():.3f} to {means.max():.3f})" if len(means) > 1 else ""
                columns[words].append(f"{means.mean():.3f}{spread}")
            *others, adaptor = (of_words.mean(axis=0) for of_words in values.values())
            columns[GAIN].append(gain(adaptor, max(others, key=np.mean)))
    for words, cells in columns.items():
        print(f"| {words} | " + " | ".join(cells) + " |")


def gain(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Our mean over theirs, less 1, with the 95% interval of resampled queries."""
    drawn = np.random.default_rng(0).integers(0, len(ours), (2000, len(ours)))
    low, high = np.percentile(ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1) - 1, [2.5, 97.5])
    return f"{ours.mean() / theirs.mean() - 1:+.1%} ({low:.0%} to {high:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=["wordnet", "scifact"], default=["wordnet", "scifact"])
    parser.add_argument("--pairs", type=int, default=3000, help="WordNet's pairs; SciFact has 917")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="the vectors stay here")
    given = parser.parse_args()
    from testing.example_vectors import write

    if "scifact" in given.data and not SCIFACT.is_dir():
        sys.exit(f"{SCIFACT}: not there; leave it out with --data wordnet")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.data:
            vectors = folder / (f"wordnet_{given.pairs}" if name == "wordnet" else name)
            if not vectors.exists():
                write(vectors, given.pairs) if name == "wordnet" else write_scifact(vectors)
            results = run_study(name, vectors, given.pairs, given.seeds, folder)
            print_table(results, name, vectors, given.seeds)


if __name__ == "__main__":
    main()
