"""What a user's own vectors are fitted on is not searched, and nothing that is searched is fitted on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from testing.real_tasks import own_classification_task, own_retrieval_task, saved
from testing.vector_files import write_npy
from workflow_scripts.artefact import read_json
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.command_line import InputError
from workflow_scripts.embeddings.own.make_store import OwnSettings, make_store
from workflow_scripts.evaluation.held_out import hold_out, leave_out_queries, load_for_own_vectors
from workflow_scripts.evaluation.mteb_tasks import column, rows_of_part
from workflow_scripts.evaluation.plain_tasks import RetrievalTask
from workflow_scripts.evaluation.task_files import as_mteb
from workflow_scripts.scores.score import Settings, score
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.own_task import OwnTask
from workflow_scripts.study.sections.search import Search
from workflow_scripts.tasks.prepare import prepare

DOCUMENTS, QUERIES, WIDTH = 120, 10, 16
FITTED = Codecs(transforms=["prefix", "pca"], precisions=["float32", "int8"])


def test_held_out_documents_leave_the_corpus_and_answer_no_query() -> None:
    ids = [f"d{i}" for i in range(40)]
    judged = {"q": {"d3": 1, "d4": 2, "d5": 0}}
    task = own_retrieval_task("Own", {"id": ids, "text": ids}, {"id": ["q"], "text": ["q"]}, judged)
    held = hold_out(saved(task), 1000, seed=0)
    assert isinstance(held.task, RetrievalTask)
    left = held.task.parts[0].document_ids()
    assert [text for texts in held.task.parts[0].document_texts() for text in texts] == left
    assert len(held.texts) == 10, "at most a quarter"
    assert sorted([*held.texts, *left]) == sorted(ids)
    assert {"d3", "d4"} <= set(left)


def test_mtebs_object_of_a_part_of_a_task_has_the_same_documents_and_queries() -> None:
    ids = [f"d{i}" for i in range(40)]
    judged = {"q": {"d3": 1}, "r": {"d4": 1}}
    task = saved(own_retrieval_task("Own", {"id": ids, "text": ids}, {"id": ["q", "r"], "text": ["x", "y"]}, judged))
    held = hold_out(task, 5, seed=0).task
    assert isinstance(held, RetrievalTask)
    again = replace(held, parts=(hold_out(held, 5, seed=1).task.parts[0].with_queries([1]),))  # type: ignore[union-attr]
    rows = rows_of_part(as_mteb(again), "default", "test")
    assert len(rows["corpus"]) == 30
    assert (column(rows["corpus"], "id"), column(rows["queries"], "id")) == (again.parts[0].document_ids(), ["r"])


def test_the_same_seed_holds_out_the_same_documents_of_every_model() -> None:
    ids = [f"d{i}" for i in range(40)]
    tasks = [
        own_retrieval_task("Own", {"id": ids, "text": ids}, {"id": ["q"], "text": ["q"]}, {"q": {"d0": 1}})
        for _ in "ab"
    ]
    assert hold_out(saved(tasks[0]), 5, seed=1)[1:] == hold_out(saved(tasks[1]), 5, seed=1)[1:]


def test_a_corpus_of_answers_alone_is_refused() -> None:
    ids = ["a", "b", "c", "d", "e", "f", "g", "h"]
    task = own_retrieval_task(
        "Own", {"id": ids, "text": ids}, {"id": ["q"], "text": ["q"]}, {"q": dict.fromkeys(ids, 1)}
    )
    with pytest.raises(InputError, match="Own: 0 of 8 documents can be held out to fit on"):
        hold_out(saved(task), 5, seed=0)


def test_of_labelled_rows_the_training_split_is_fitted_on() -> None:
    train = [(f"t{i}", i % 2) for i in range(20)]
    task = own_classification_task("Own", train, [("x", 0), ("y", 1)])
    assert set(hold_out(saved(task), 8, seed=0).texts) < {text for text, _ in train}


def test_queries_of_pairs_leave_the_searches_and_their_documents_stay(tmp_path: Path) -> None:
    ids = [f"d{i}" for i in range(5)]
    task = own_retrieval_task("Own", {"id": ids, "text": ids}, {"id": ["a", "b", "c"], "text": ["x", "y", "z"]}, {})
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("query-id\tcorpus-id\nb\td1\nb\td2\n")
    left, words = leave_out_queries(saved(task), [pairs])
    assert words == "1 of 3 queries are in pairs, and not searched"
    (collection,) = left.parts
    assert (collection.query_ids, collection.query_texts, collection.document_ids()) == (["a", "c"], ["x", "z"], ids)
    pairs.write_text("query-id\tcorpus-id\na\td1\nc\td2\n")
    with pytest.raises(InputError, match=r"pairs.tsv: an adaptor learns from all 2 queries, so none is left to score"):
        leave_out_queries(left, [pairs])


def test_without_judgements_scores_are_over_the_queries_of_no_pair(tmp_path: Path) -> None:
    all_queries = own_study(tmp_path / "all", first_documents(), judged=False)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("query-id\tcorpus-id\n" + "".join(f"{query}\t5\n" for query in range(0, QUERIES, 2)))
    own_study(tmp_path / "some", first_documents(), judged=False, learned_from=(str(pairs),))
    values = [
        pl.read_parquet(tmp_path / name / "scores" / "ours" / "s0" / "Own.values.parquet").filter(
            (pl.col("codec") == "prefix-4-float32") & (pl.col("metric") == "overlap_at_10")
        )
        for name in ("all", "some")
    ]
    assert values[1]["unit"].to_list() == [str(query) for query in range(1, QUERIES, 2)]
    assert values[1].equals(values[0].filter(pl.col("unit").is_in(values[1]["unit"].implode())))
    assert len(all_queries)


def own_study(
    folder: Path, documents: np.ndarray, judged: bool, learned_from: tuple[str, ...] = (), held_out: int = 1000
) -> pl.DataFrame:
    """The scores of own vectors through the rooms' own steps: a task without texts, its store, its scores."""
    rng = np.random.default_rng(1)
    data = folder / "own"
    data.mkdir(parents=True, exist_ok=True)
    write_npy(data / "documents.npy", documents)
    near = rng.permutation(DOCUMENTS)[:QUERIES]
    queries = write_npy(
        data / "queries.npy", first_documents()[near] + 0.3 * rng.standard_normal((QUERIES, WIDTH), np.float32)
    )
    if judged:
        lines = [f"{query}\t{document}\t1" for query, document in enumerate(near)]
        (data / "judgements.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    task, store = folder / "tasks" / "Own", folder / "embeddings"
    prepare("Own", task, OwnTask(name="Own", path=str(data)), with_texts=False)
    files = {"documents": str(data / "documents.npy"), "queries": str(queries)}
    make_store(
        OwnSettings(task="Own", model="ours", files=files, width=WIDTH), task / "task.sha256", store / "embeddings.json"
    )
    output = folder / "scores" / "ours" / "s0" / "Own.parquet"
    output.parent.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        study="s",
        model="ours",
        seed=0,
        task="Own",
        dimensions=[4, WIDTH],
        codecs=FITTED if held_out else Codecs(transforms=["prefix"], precisions=["float32"]),
        search=Search(shortlist=["prefix-full-binary"], candidates=[20]),
        held_out=held_out,
        fit_on_held_out=bool(held_out),
        learned_from=learned_from,
    )
    score(settings, task, store, None, output)
    return pl.read_parquet(output)


def first_documents() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((DOCUMENTS, WIDTH)).astype(np.float32)


def test_own_vectors_without_any_text_are_scored_as_a_search_of_them_by_hand(tmp_path: Path) -> None:
    documents = first_documents()
    scores = own_study(tmp_path, documents, judged=True)
    queries = np.load(tmp_path / "own" / "queries.npy")
    judged = pl.read_csv(tmp_path / "own" / "judgements.tsv", separator="\t")["corpus-id"].to_numpy()
    corpus = rows_of_corpus(tmp_path)
    similar = unit(queries) @ unit(documents[corpus]).T
    own = similar[np.arange(QUERIES), [int(np.flatnonzero(corpus == document)[0]) for document in judged]]
    rank = (similar > own[:, None]).sum(axis=1)
    expected = np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean()
    found = scores.filter(pl.col("codec") == f"prefix-{WIDTH}-float32")["score"][0]
    assert found == pytest.approx(expected, abs=1e-4)
    assert scores["metric"].unique().to_list() == ["ndcg_at_10"]
    of_mteb = read_json(tmp_path / "scores" / "ours" / "s0" / "Own.mteb.json")
    assert of_mteb["results"] == [], "a score of a part of a task is not mteb's"


def rows_of_corpus(folder: Path) -> np.ndarray:
    """The documents that are searched: those that `hold_out` leaves, by the rule alone."""
    held = hold_out(load_for_own_vectors(folder / "tasks" / "Own"), 1000, seed=0)
    assert isinstance(held.task, RetrievalTask)
    return np.array(held.task.parts[0].document_ids(), dtype=np.int64)


def unit(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths)


def test_without_judgements_the_full_width_agrees_with_itself(tmp_path: Path) -> None:
    scores = own_study(tmp_path, first_documents(), judged=False)
    by_codec = dict(scores.select("codec", "score").iter_rows())
    assert scores["metric"].unique().to_list() == ["overlap_at_10"]
    assert by_codec[f"prefix-{WIDTH}-float32"] == 1
    assert 0.8 < by_codec[f"prefix-{WIDTH}-int8"] < 1, "ranges of thirty documents clip some of the others"
    assert by_codec["prefix-4-float32"] < 0.8
    assert by_codec[f"pca-{WIDTH}-float32"] == pytest.approx(1, abs=0.02), "a rotation keeps every cosine"


def test_codecs_are_fitted_on_the_documents_that_are_not_searched_and_on_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[np.ndarray] = []

    def fitted(width: int, training: np.ndarray, *rest: Any, **named: Any) -> Fitted:
        given.append(training)
        return Fitted(width, training, *rest, **named)

    monkeypatch.setattr("workflow_scripts.scores.score.Fitted", fitted)
    documents = first_documents()
    own_study(tmp_path, documents, judged=True)
    held = np.setdiff1d(np.arange(DOCUMENTS), rows_of_corpus(tmp_path))
    assert len(held) == DOCUMENTS // 4
    np.testing.assert_array_equal(given[0], documents[held])


def test_the_manifest_of_the_task_says_what_it_is(tmp_path: Path) -> None:
    own_study(tmp_path, first_documents(), judged=False)
    described = json.loads((tmp_path / "tasks" / "Own" / "task.json").read_text())
    assert (described["type"], described["metric"]) == ("Retrieval", "overlap_at_10")
    assert described["texts"] == DOCUMENTS + QUERIES
