"""Is dropout worth its price? The embedded study's trainings with the model's own dropout and with none.

    python benchmarks/dropout.py [--seeds 3] [--cores N] [--json FILE]

Runs two studies, results/dropout_none and results/dropout_own (a second run goes on from them): the fixed and the
Matryoshka variant, several seeds. Prints what dropout adds to the mean score at each dimension (paired by seed, 95%
t intervals over the seeds) and what it costs: seconds and peak memory of a training, ratios of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
DROPOUT: dict[str, float | None] = {"dropout_none": 0.0, "dropout_own": None}
TRAINED = ["fixed", "matryoshka"]


def overlay(study: str, seeds: int) -> dict[str, Any]:
    """What the study changes in config.yaml: of its models the trained ones alone, as float32 prefixes."""
    variants = yaml.safe_load((ROOT / "config.yaml").read_text())["variants"]
    return {
        "study": study,
        "training": {"dropout": DROPOUT[study]},
        "variants": {name: None for name in variants if name not in TRAINED},
        "seeds": list(range(seeds)),
        "codecs": {"transforms": ["prefix"], "precisions": ["float32"]},
        "search": {"shortlist": []},
        "intervals": {"resamples": 100},  # the report of each study is not what is asked here
    }


def run_study(study: str, seeds: int, cores: int) -> Path:
    """The results' folder of a finished study."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(overlay(study, seeds), file)
        file.flush()
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", "config.yaml", file.name]
        subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "results" / study


def mean_scores(results: Path, variant: str) -> pl.DataFrame:
    """`seed`, `dim`, `score`: the mean over the tasks of the prefix's main score."""
    files = sorted((results / "scores" / variant).glob("s*/*.parquet"))
    tables = [pl.read_parquet(f) for f in files if f.name.count(".") == 1]
    return pl.concat(tables).group_by("seed", "dim").agg(pl.col("score").mean()).sort("dim", "seed")


def costs(results: Path, variant: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text())["cost"] for file in (results / "models" / variant).glob("s*/model.json")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures there, by name")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds: at least 2, for an interval")
    none, own = (run_study(study, arguments.seeds, arguments.cores) for study in DROPOUT)
    figures: dict[str, float] = {}
    print("| variant | dimension | score without | with dropout | dropout adds (95%) |\n|---|---|---|---|---|")
    for variant in TRAINED:
        both = mean_scores(none, variant).join(mean_scores(own, variant), on=["seed", "dim"], suffix="_own")
        for (dim,), rows in both.group_by("dim", maintain_order=True):
            added = (rows["score_own"] - rows["score"]).to_numpy()
            half = float(stats.t.ppf(0.975, len(added) - 1) * stats.sem(added))
            low, high = added.mean() - half, added.mean() + half
            print(
                f"| {variant} | {dim} | {np.mean(rows['score'].to_numpy()):.4f} | "
                f"{np.mean(rows['score_own'].to_numpy()):.4f} | {added.mean():+.4f} ({low:+.4f} to {high:+.4f}) |"
            )
            figures[f"{variant}_{dim}_adds"] = float(added.mean())
    for key, name in (("seconds", "training's seconds"), ("peak_memory_bytes", "peak memory")):
        with_own, without = ([c[key] for v in TRAINED for c in costs(r, v)] for r in (own, none))
        figures[f"{key}_ratio"] = statistics.median(with_own) / statistics.median(without)
        print(f"dropout multiplies a {name} by {figures[f'{key}_ratio']:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
