"""A study whose tasks are encoded in parts, and whose embeddings leave the disk when they are scored."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from testing.small_study import SMALL, logs, write_study
from tests.conftest import copy_project, snakemake
from tests.end_to_end.test_incremental import planned

STUDY = {
    "study": "small",
    "variants": {"turned": {"parent": "base", "rotate": "pca", "objective": "none"}},
    "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32"]},
    "search": {"shortlist": []},
    "encoding": {"rows_per_job": 2000, "keep": "scores"},
}
PARTS = 2 + 3  # of 2,564 and 4,100 texts


@pytest.fixture(scope="module")
def scored(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("parts"))
    write_study(project / "study.yaml", small_model, **STUDY)
    result = snakemake(project, "--cores", "2", "--configfile", "study.yaml")
    assert result.returncode == 0, result.stderr + logs(project)
    assert len(re.findall(r"^(?:local)?rule embed_part:", result.stdout + result.stderr, re.MULTILINE)) == PARTS
    return project


def test_embeddings_are_gone_and_nothing_is_encoded_again(scored: Path) -> None:
    folder = scored / "results/small/embeddings"
    left = {store.parent.name for store in folder.rglob("embeddings.arrow")}
    assert left == {"training_texts"}
    assert not list(folder.rglob("shards"))
    assert not list(folder.rglob("*-of-*.json"))
    assert len(list(folder.rglob("embeddings.json"))) == 2 * 3
    assert planned(scored) == Counter()


def test_scores_are_those_of_stores_made_by_one_job_and_kept(scored: Path, finished: Path) -> None:
    for task in SMALL["tasks"]:
        name = f"results/small/scores/base/s0/{task}.parquet"
        here = pl.read_parquet(scored / name).filter(transform="prefix").select("codec", "score")
        there = pl.read_parquet(finished / name).select("codec", "score")
        assert here.sort("codec").equals(there.sort("codec"))


def test_a_score_that_is_deleted_encodes_its_own_task_alone(scored: Path) -> None:
    """The scores that read the same embeddings are made again too, to the same numbers: their digest is written anew."""
    scores = scored / "results/small/scores"
    deleted = scores / "base/s0/WordNetLexicographerFiles.parquet"
    before = {path: pl.read_parquet(path) for path in scores.rglob("*s0/*.parquet")}
    deleted.unlink()
    jobs = planned(scored)
    assert (jobs["embed"], jobs["embed_part"]) == (1, 2)
    assert not set(jobs) & {"train", "fetch", "transform", "task", "pairs", "embed_training_texts"}
    result = snakemake(scored, "--cores", "2", "--configfile", "study.yaml")
    assert result.returncode == 0, result.stderr + logs(scored)
    assert all(pl.read_parquet(path).equals(table) for path, table in before.items())
    assert planned(scored) == Counter()
