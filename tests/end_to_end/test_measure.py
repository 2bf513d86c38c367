"""studies/measure.yaml: existing models scored as they are, with nothing trained."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import yaml

from testing.small_study import logs
from tests.conftest import copy_project, snakemake


def test_existing_models_are_measured_without_training(small_model: Path, finished: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    hub = dict.fromkeys(("minilm_l6", "mpnet_base", "gte_base"))
    own = {"mine": {"parent": str(small_model), "objective": "none"}}
    overlay = {"variants": hub | own, "dimensions": [8, 64, 384], "tasks": ["WordNetExamples"]}
    overlay |= {"codecs": {"transforms": ["prefix"], "precisions": ["float32"]}, "search": {"shortlist": []}}
    (project / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    study = ("--cores", "2", "--configfile", "studies/measure.yaml", "overlay.yaml")
    plan = snakemake(project, *study, "-n")
    jobs = set(re.findall(r"^(?:local)?rule (\w+):", plan.stdout + plan.stderr, re.MULTILINE))
    assert {"fetch", "embed", "score", "curves", "report"} <= jobs
    assert not jobs & {"train", "pairs", "tokens"}
    wanted = "results/measure/scores/mine/s0/WordNetExamples.parquet"
    done = snakemake(project, *study, "--", wanted)
    assert done.returncode == 0, done.stderr + logs(project)
    # The same model is the base of the finished study: its scores do not hang on which study asks.
    columns = ["dim", "score"]
    here = pl.read_parquet(project / wanted).select(columns).sort(columns)
    there = pl.read_parquet(finished / "results" / "small" / "scores" / "base" / "s0" / "WordNetExamples.parquet")
    there = there.filter(pl.col("codec").str.ends_with("-float32"), transform="prefix").select(columns).sort(columns)
    assert here.height == 3
    assert here.equals(there)
