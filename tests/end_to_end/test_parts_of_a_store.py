"""A study whose tasks are encoded in parts, and whose embeddings leave the disk when they are scored."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from testing.small_study import logs, write_study
from tests.conftest import copy_project, snakemake
from tests.end_to_end.test_incremental import planned

STUDY = {
    "study": "small",
    "variants": {"turned": {"parent": "base", "rotate": "pca", "objective": "none"}},
    "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32"]},
    "search": {"shortlist": []},
}
IN_PARTS = {"encoding": {"rows_per_job": 2000, "keep": "scores"}}
IN_ONE = {"encoding": {"keep": "scores"}}
PARTS = 2 + 3  # of 2,564 and 4,100 texts
AFTER_SCORES = {"curves", "speed", "figures", "report", "card"}


@pytest.fixture(scope="module")
def scored(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study up to its scores."""
    project = copy_project(tmp_path_factory.mktemp("parts"))
    write_study(project / "study.yaml", small_model, **STUDY, **IN_PARTS)
    result = snakemake(project, "--cores", "2", "--until", "score", "--configfile", "study.yaml")
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
    assert set(planned(scored)) == AFTER_SCORES


def test_a_score_that_is_deleted_encodes_its_own_task_alone(scored: Path) -> None:
    deleted = scored / "results/small/scores/base/s0/WordNetLexicographerFiles.parquet"
    before = deleted.read_bytes()
    deleted.unlink()
    jobs = planned(scored)
    deleted.write_bytes(before)
    assert (jobs["embed"], jobs["embed_part"]) == (1, 2)
    assert not set(jobs) & {"train", "fetch", "transform", "task", "pairs", "embed_training_texts"}


def test_scores_are_those_of_stores_made_by_one_job(scored: Path, small_model: Path) -> None:
    """A task whose number of jobs changes is encoded again; the scores that read its embeddings are made again to the same
    numbers."""
    before = {path: pl.read_parquet(path) for path in (scored / "results/small/scores").rglob("*s0/*.parquet")}
    write_study(scored / "whole.yaml", small_model, **STUDY, **IN_ONE)
    result = snakemake(scored, "--cores", "2", "--until", "score", "--configfile", "whole.yaml")
    assert result.returncode == 0, result.stderr + logs(scored)
    made = re.findall(r"^(?:local)?rule (embed\w*|score):", result.stdout + result.stderr, re.MULTILINE)
    assert Counter(made) == Counter(embed=2, embed_by_matrix=2, score=4)
    assert len(before) == 4 * 3
    assert all(pl.read_parquet(path).equals(table) for path, table in before.items())
    assert set(planned(scored, "whole.yaml")) == AFTER_SCORES
