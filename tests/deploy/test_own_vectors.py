"""`snakemake deploy` of a study of own vectors: a bundle without a model, whose index finds what the report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import yaml

from testing.project import copy_project, snakemake
from testing.small_study import logs
from testing.vector_files import table, write_parquet
from workflow_scripts.artefact import read_json
from workflow_scripts.evaluation.task_files import load_task
from workflow_scripts.scores import retrieval
from workflow_scripts.scores.held_out import hold_out
from workflow_scripts.store import open_store

WIDTH = 32


def write_vectors(folder: Path) -> None:
    """Documents about queries, each judged to need the two that it is nearest to by their making."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scale = np.linspace(2, 0.1, WIDTH)
    queries = rng.standard_normal((60, WIDTH)) * scale
    answers = np.repeat(queries, 2, axis=0) + 0.9 * rng.standard_normal((120, WIDTH)) * scale
    documents = np.concatenate([answers, rng.standard_normal((880, WIDTH)) * scale])
    np.save(folder / "documents.npy", documents.astype(np.float32))
    write_parquet(folder / "queries.parquet", table(queries.astype(np.float32), [str(i) for i in range(60)]))
    rows = "".join(f"{i // 2}\t{i}\t1\n" for i in range(120))
    (folder / "judgements.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)


def test_a_bundle_of_own_vectors_finds_in_faiss_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vectors(tmp_path / "own")
    project = copy_project(tmp_path / "project")
    study = {
        "study": "mine",
        "variants": {"ours": {"vectors": str(tmp_path / "own"), "declared_width": WIDTH}},
        "dimensions": [16, 32],
        "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32", "int8"]},
        "tasks": [{"name": "Own", "path": str(tmp_path / "own")}],
        "deploy": {"bundles": {"half": {"choice": "pca-16-int8", "model": "ours"}}},
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(study))
    result = snakemake(project, "deploy", "--cores", "2", "--configfile", "mine.yaml")
    assert result.returncode == 0, result.stderr + logs(project)
    results = project / "results" / "mine"
    about = read_json(results / "deploy" / "half" / "codec.json")
    assert (about["model"]["name"], about["model"]["folder"]) == ("ours", None)
    assert about["model"]["reference"] == "documents.npy, queries.parquet"
    page = (results / "deploy" / "half" / "README.md").read_text()
    assert "no model is here" in page
    assert "Fitted on 250 vectors of Own, none of which is scored" in page
    assert str(tmp_path) not in (results / "deploy" / "half" / "codec.json").read_text()

    monkeypatch.chdir(project)  # the store names the copy of the parquet file from here
    task: Any = load_task(results / "tasks" / "Own")
    hold_out(task, 6000, 0)  # what the study fits on leaves the search
    store = open_store(results / "embeddings" / "ours" / "s0" / "Own")
    (split,) = retrieval.gather(task, store)
    index = faiss.read_index(str(results / "deploy" / "half" / "index.faiss"))
    index.add(np.asarray(store.vectors[split.documents]))
    found = index.search(np.asarray(store.vectors[split.queries]), 10)[1]
    scores, _ = retrieval.score(task, split, retrieval.ranks_in(split, found), ["ndcg_at_10"])
    assert scores["ndcg_at_10"] == pytest.approx(about["measured"]["score"], abs=1e-3)
    share = scores["ndcg_at_10"] / about["measured"]["full_width"]
    assert about["expected"]["low"] <= share <= about["expected"]["high"]
    assert 0.3 < share < 1
