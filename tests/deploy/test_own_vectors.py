"""`snakemake deploy` of a study of own vectors and an adaptor of them: bundles without a model, whose index finds what the
report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import polars as pl
import pytest
import yaml

from testing.project import copy_project, snakemake
from testing.small_study import logs
from testing.vector_files import table, write_parquet
from workflow_scripts.artefact import read_json
from workflow_scripts.coding import state
from workflow_scripts.deploy.check import overlap
from workflow_scripts.deploy.choice import stages_of
from workflow_scripts.encoder.dense import last_dense
from workflow_scripts.evaluation.held_out import hold_out, load_for_own_vectors
from workflow_scripts.evaluation.plain_tasks import RetrievalTask
from workflow_scripts.scores import retrieval
from workflow_scripts.store import open_store

WIDTH = 32
SCORED, LEARNED = 60, 200  # queries, two documents answer each


def write_vectors(folder: Path) -> None:
    """Documents about queries, each judged, or a pair, with the two that it is nearest to by their making: in half of the
    coordinates, which are not those of the largest variance."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scale = np.linspace(2, 0.1, WIDTH)
    noise = np.where(np.arange(WIDTH) % 2, 0.3, 1.5) * scale
    queries = rng.standard_normal((SCORED + LEARNED, WIDTH)) * scale
    answers = np.repeat(queries, 2, axis=0) + rng.standard_normal((2 * len(queries), WIDTH)) * noise
    documents = np.concatenate([answers, rng.standard_normal((1000 - len(answers), WIDTH)) * scale])
    np.save(folder / "documents.npy", documents.astype(np.float32))
    write_parquet(folder / "queries.parquet", table(queries.astype(np.float32), [str(i) for i in range(len(queries))]))
    rows = [f"{i // 2}\t{i}\t1\n" for i in range(len(answers))]
    for name, part in (("judgements.tsv", rows[: 2 * SCORED]), ("pairs.tsv", rows[2 * SCORED :])):
        (folder / name).write_text("query-id\tcorpus-id\tscore\n" + "".join(part))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_vectors(folder / "own")
    project = copy_project(folder / "project")
    study = {
        "study": "mine",
        "variants": {
            "ours": {"vectors": str(folder / "own"), "declared_width": WIDTH},
            "ours_adapted": {"parent": "ours", "adaptor": "linear", "objective": "mnr"},
        },
        "adaptor": {"batch": 64, "steps": 80, "learning_rate": 0.01},
        "dimensions": [16, 32],
        "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32", "int8"]},
        "tasks": [{"name": "Own", "path": str(folder / "own")}],
        "deploy": {
            "bundles": {
                "half": {"choice": "pca-16-int8", "model": "ours"},
                "adapted": {"choice": "prefix-16-int8", "model": "ours_adapted"},
                "adapted_pca": {"choice": "pca-16-int8", "model": "ours_adapted"},
            }
        },
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(study))
    result = snakemake(project, "all", "deploy", "--cores", "2", "--configfile", "mine.yaml")
    assert result.returncode == 0, result.stderr + logs(project)
    return project


@pytest.fixture(autouse=True)
def _in_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store names the copy of the parquet file from here."""
    monkeypatch.chdir(project)


@pytest.mark.parametrize("name", ["half", "adapted", "adapted_pca"])
def test_a_bundle_of_own_vectors_finds_in_faiss_what_was_measured(project: Path, name: str) -> None:
    results = project / "results" / "mine"
    about = read_json(results / "deploy" / name / "codec.json")
    assert about["model"]["folder"] is None
    assert about["model"]["reference"] == "documents.npy, queries.parquet"
    page = (results / "deploy" / name / "README.md").read_text()
    assert "no model is here" in page
    assert "Fitted on 250 vectors of Own, none of which is scored" in page
    assert str(project.parent) not in (results / "deploy" / name / "codec.json").read_text()

    task = hold_out(load_for_own_vectors(results / "tasks" / "Own"), 6000, 0).task  # without what the study fits on
    assert isinstance(task, RetrievalTask)
    store = open_store(results / "embeddings" / "ours" / "s0" / "Own")
    (split,) = retrieval.gather(task, store)
    assert len(split.queries) == SCORED, "queries of pairs have no judgements, and are not scored"
    index = faiss.read_index(str(results / "deploy" / name / "index.faiss"))
    index.add(np.asarray(store.vectors[split.documents]))
    found = index.search(np.asarray(store.vectors[split.queries]), 10)[1]
    scores, _ = retrieval.score(task, split, retrieval.ranks_in(split, found), ["ndcg_at_10"])
    assert scores["ndcg_at_10"] == pytest.approx(about["measured"]["score"], abs=1e-3)
    share = scores["ndcg_at_10"] / about["measured"]["full_width"]
    assert about["expected"]["low"] <= share <= about["expected"]["high"]
    assert 0.3 < share < 1


def test_an_adaptor_of_own_vectors_is_learned_from_the_pairs_and_multiplies_what_is_stored(project: Path) -> None:
    results = project / "results" / "mine"
    folder = results / "models" / "ours_adapted" / "s0"
    recipe = read_json(folder / "model.json")["recipe"]
    assert (recipe["pairs_used"], recipe["held_out"], recipe["fell_back_to_rotation"]) == (2 * LEARNED, True, False)
    assert not (results / "corpus").exists(), "no training texts"
    matrix, _ = last_dense(folder)
    ours, made = (open_store(results / "embeddings" / name / "s0" / "Own") for name in ("ours", "ours_adapted"))
    np.testing.assert_allclose(made.vectors, np.asarray(ours.vectors[:]) @ matrix.T, atol=1e-5)

    def score(model: str, codec: str) -> float:
        rows = pl.read_parquet(results / "scores" / model / "s0" / "Own.parquet").filter(pl.col("codec") == codec)
        return float(rows["score"][0])

    assert score("ours_adapted", "prefix-16-float32") > 1.05 * score("ours", "pca-16-float32")


def test_the_report_tells_of_the_pairs_and_of_the_answers_that_they_name(project: Path) -> None:
    page = (project / "results" / "mine" / "curves" / "report.html").read_text()
    assert "its vectors times a matrix learned on pairs of their rows" in page
    assert "own/pairs.tsv" in page
    assert "None were needed, or none are there" not in page
    assert "evaluation texts, encoded" not in page, "nothing was encoded"
    assert "have an answer that an adaptor" not in page, "these pairs name no answer to what is scored"
    assert (project / "results" / "mine" / "first" / "report.html").exists()


def test_the_lines_of_a_readme_multiply_with_the_adaptor_and_give_the_codes_that_were_measured(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = project / "results" / "mine"
    ours, made = (open_store(results / "embeddings" / name / "s0" / "Own") for name in ("ours", "ours_adapted"))
    for name in ("adapted", "adapted_pca"):
        bundle = results / "deploy" / name
        page = (bundle / "README.md").read_text()
        assert f"learned on {2 * LEARNED} pairs" in page
        lines = page.split("```python\n")[1].split("```")[0]
        stages, codec = stages_of(read_json(bundle / "codec.json")["choice"], WIDTH)
        assert not stages
        fitted, _ = state.load(results / "scores" / "ours_adapted" / "s0" / "Own.fitted.safetensors", [codec])
        monkeypatch.chdir(bundle)
        functions: dict[str, Any] = {}
        exec(lines, functions)  # noqa: S102  # as a reader runs them
        monkeypatch.chdir(project)
        codes = functions["encode"](np.asarray(ours.vectors[:], dtype=np.float32))
        vectors = np.asarray(made.vectors[:], dtype=np.float32)
        measured = fitted.precision(codec).encode(fitted.kept(codec, fitted.full_width(codec, vectors)))
        assert (codes == measured).mean() > 0.9999, "but for an edge between two codes"
        assert (functions["encode"](functions["a"]["check"]) == functions["a"]["check_codes"]).all()


def test_a_bundle_of_an_adaptor_is_checked_against_adapted_vectors(project: Path) -> None:
    documents = np.load(project.parent / "own" / "documents.npy")
    found = overlap(project / "results" / "mine" / "deploy" / "adapted", documents, documents[:50])
    assert 0.5 < found[:, 0].mean() < 1
    assert found[:, 1].mean() > 0.9, "a document is its own nearest"
