"""Agreement with the ranking at full width: the measure, beside nDCG and in place of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from testing.real_tasks import hashed, own_retrieval_task, retrieval_task, saved, store_of
from workflow_scripts import search_grid
from workflow_scripts.codecs import Codec, grid
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.mteb_tasks import rows_of_part
from workflow_scripts.evaluation.own_tasks import OVERLAP, Described, own_task
from workflow_scripts.scores import agreement, retrieval
from workflow_scripts.scores.by_task_type import score_all, score_task
from workflow_scripts.scores.scored import Scored, SearchScored
from workflow_scripts.scores.tables import write_tables
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.search import Search

WIDTH = 32
CODECS = Codecs(transforms=["prefix", "random"], precisions=["float32", "int8"], random_draws=1)


def without_judgements(task: Any) -> Any:
    """The same queries and documents, with nothing said of which belong together."""
    own: Any = own_task(Described(name="Own", type="Retrieval", dataset="d", revision="r", judged=False))
    own.dataset = {"default": {"test": rows_of_part(task, "default", "test") | {"relevant_docs": {}}}}
    own.data_loaded = True
    return own


def scores_of(task: Any, folder: Path) -> dict[str, Scored]:
    store = store_of(task, folder, hashed)
    fitted = Fitted(WIDTH, np.array(store.vectors), 2.5, unit=True)
    return {one.codec.name: one for one in score_all(saved(task), store, fitted, grid(CODECS, [4, 16, WIDTH], WIDTH))}


def test_agreement_is_that_of_the_rankings_written_out(shared_data: Path, tmp_path: Path) -> None:
    task = retrieval_task(shared_data / "retrieval" / "legal_summarization")
    scored = scores_of(task, tmp_path)
    store = store_of(task, tmp_path / "again", hashed)
    (split,) = retrieval.gather(saved(task), store)

    def ranking(dim: int) -> np.ndarray[Any, Any]:
        queries, documents = (
            np.array(store.vectors[rows], np.float64)[:, :dim] for rows in (split.queries, split.documents)
        )
        documents /= np.maximum(np.linalg.norm(documents, axis=1, keepdims=True), 1e-12)
        return np.argsort(-(queries @ documents.T), axis=1, kind="stable")

    full, short = ranking(WIDTH), ranking(16)
    assert set(scored["prefix-16-float32"].agreement) == set(agreement.METRICS)
    for depth in (10, 100):
        expected = [len(set(a[:depth]) & set(b[:depth])) / depth for a, b in zip(full, short, strict=True)]
        (found,) = scored["prefix-16-float32"].agreement[f"overlap_at_{depth}"].values()
        assert list(found) == split.query_ids
        # equal similarities, which double and single precision order in their own ways, are few
        assert np.mean(np.array(list(found.values())) == np.array(expected)) > 0.95
    (first,) = scored["prefix-16-float32"].agreement["same_first_hit"].values()
    assert np.mean(np.array(list(first.values())) == (full[:, 0] == short[:, 0])) > 0.98
    for metric in agreement.METRICS:
        (whole,) = scored[f"prefix-{WIDTH}-float32"].agreement[metric].values()
        assert set(whole.values()) == {1.0}


def test_a_task_without_judgements_scores_overlap_as_the_judged_one_has_beside_its_ndcg(
    shared_data: Path, tmp_path: Path
) -> None:
    task = retrieval_task(shared_data / "retrieval" / "legal_summarization")
    judged = scores_of(task, tmp_path / "judged")
    alone = scores_of(without_judgements(task), tmp_path / "alone")
    assert judged.keys() == alone.keys()
    for name, one in alone.items():
        (expected,) = judged[name].agreement[OVERLAP].values()
        (values,) = one.values.values()
        assert values == expected
        assert one.score == pytest.approx(np.mean(list(values.values())))
        assert one.result is None
        assert set(one.agreement) == {"overlap_at_100", "same_first_hit"}
    assert alone[f"prefix-{WIDTH}-float32"].score == 1
    assert alone["prefix-4-float32"].score < alone["prefix-16-float32"].score < 1


def test_full_width_is_the_reference_where_no_prefix_is_measured(shared_data: Path, tmp_path: Path) -> None:
    task = without_judgements(retrieval_task(shared_data / "retrieval" / "legal_summarization"))
    store = store_of(task, tmp_path, hashed)
    fitted = Fitted(WIDTH, np.array(store.vectors), 2.5, unit=True)
    codecs = grid(Codecs(transforms=["pca"], precisions=["float32"]), [WIDTH], WIDTH)
    assert [one.score > 0.99 for one in score_all(saved(task), store, fitted, codecs)] == [True] * len(codecs)
    section = Search(shortlist=["prefix-8-binary"], candidates=[50], rescore=["prefix-full-float32"])
    of_searches = score_task(saved(task), store, fitted, [], search_grid.grid(section, WIDTH))
    found = {one.search.name: one.score for one in of_searches if isinstance(one, SearchScored)}
    assert found["prefix-32-float32"] == 1
    assert found["prefix-8-binary"] < found["prefix-8-binary@50>prefix-32-float32"] < 1


def test_a_document_with_the_querys_own_id_counts_in_neither_ranking(tmp_path: Path) -> None:
    texts = ["red apple", "red pear", "green apple", "blue sky", "blue sea"]
    corpus = {"id": ["q", "b", "c", "d", "e"], "text": texts}
    task = own_retrieval_task("T", corpus, {"id": ["q"], "text": ["red apple"]}, {"q": {"b": 1}}, ignore_same=True)
    for one in scores_of(task, tmp_path).values():
        (values,) = one.agreement["overlap_at_10"].values()
        assert list(values.values()) == [1.0], "all four other documents are among the best ten"
    split = retrieval.gather(saved(task), store_of(task, tmp_path / "again", hashed))[0]
    documents, reference = np.array([[0, 1, 2, 3, 4]]), np.array([[1, 0, 3, 2, 4]])
    assert agreement.agreement(split, documents, reference)["same_first_hit"].tolist() == [1.0]


def test_a_lossless_rotation_agrees_wholly_where_more_documents_are_equal_than_are_kept(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    distinct = draw.standard_normal((40, WIDTH)).astype(np.float32)
    of_text = {f"text{i}": distinct[kind] for i, kind in enumerate(draw.permutation(np.repeat(np.arange(30), 150)))}
    of_query = {f"query{i}": distinct[30 + i] for i in range(10)}
    corpus = {"id": [f"d{i}" for i in range(len(of_text))], "text": list(of_text)}
    queries = {"id": list(of_query), "text": list(of_query)}
    task = without_judgements(own_retrieval_task("Equal", corpus, queries, {}))
    store = store_of(task, tmp_path, lambda texts: np.stack([(of_text | of_query)[text] for text in texts]))
    fitted = Fitted(WIDTH, np.array(store.vectors), 1.0, unit=True)
    (one,) = score_all(saved(task), store, fitted, [Codec("random_rotation", WIDTH)])
    assert one.score == 1
    assert [set(values.values()) for of_metric in one.agreement.values() for values in of_metric.values()] == [
        {1.0}
    ] * 2


def test_a_ranking_by_similarities_that_are_not_numbers_agrees_with_nothing(tmp_path: Path) -> None:
    texts = [f"word{i} word{i % 7} word{i % 3}" for i in range(9)]
    corpus = {"id": [f"d{i}" for i in range(9)], "text": texts}
    task = without_judgements(own_retrieval_task("Few", corpus, {"id": ["q"], "text": ["word5 word2"]}, {}))
    store = store_of(task, tmp_path, hashed)
    codec = Codec("prefix", WIDTH, "mteb_int8", queries="coded")  # NaN for a single query
    (one,) = score_all(saved(task), store, Fitted(store.width), [codec])
    assert one.score == 0


def test_values_of_each_metric_stand_under_its_name(shared_data: Path, tmp_path: Path) -> None:
    scored = scores_of(retrieval_task(shared_data / "retrieval" / "legal_summarization"), tmp_path)
    described = {"study": "s", "variant": "v", "seed": 0, "task": "T", "task_type": "Retrieval", "metric": "ndcg_at_10"}
    write_tables(list(scored.values()), [], described, tmp_path / "T.parquet")
    values = pl.read_parquet(tmp_path / "T.values.parquet").filter(pl.col("codec") == "prefix-16-int8")
    means = dict(values.group_by("metric").agg(pl.col("value").mean()).iter_rows())
    assert means["ndcg_at_10"] == pytest.approx(scored["prefix-16-int8"].score, abs=1e-5)
    (overlap,) = scored["prefix-16-int8"].agreement[OVERLAP].values()
    assert means[OVERLAP] == pytest.approx(np.mean(list(overlap.values())))
    assert set(means) == {"ndcg_at_10", *agreement.METRICS}
