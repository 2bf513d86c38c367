"""mteb's rankings: every metric of a retrieval task is mteb's own, in blocks of queries and chunks of documents too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mteb.models.search_wrappers import SearchEncoderWrapper

from testing.real_tasks import hashed, own_retrieval_task, retrieval_task, saved, store_of
from tests.scores.against_mteb import DIMENSIONS, all_differences, signs, wide
from workflow_scripts.evaluation.plain_tasks import RetrievalTask
from workflow_scripts.scores import rankings

RETRIEVAL = ["cacm", "cranfield", "legal_summarization", "nfcorpus_processed", "scifact", "vaswani"]


@pytest.mark.parametrize("name", RETRIEVAL)
def test_retrieval_scores_are_mtebs_own_at_every_dimension(name: str, shared_data: Path, tmp_path: Path) -> None:
    task = retrieval_task(shared_data / "retrieval" / name)
    assert isinstance(saved(task), RetrievalTask)
    assert all_differences(task, store_of(task, tmp_path, wide), DIMENSIONS) == {}


def test_many_equal_similarities_are_ranked_as_mteb_ranks_them(shared_data: Path, tmp_path: Path) -> None:
    task = retrieval_task(shared_data / "retrieval" / "cacm")
    assert all_differences(task, store_of(task, tmp_path, signs), [6]) == {}


def test_a_document_with_the_querys_own_id_is_left_out_where_mteb_leaves_it_out(tmp_path: Path) -> None:
    texts = [f"word{i} word{i % 7} word{i % 3}" for i in range(60)]
    identifiers = [f"d{i}" for i in range(60)]
    judged = {f"d{i}": {f"d{(i + 7) % 60}": 1, f"d{i}": 1, f"d{(i + 3) % 60}": 2} for i in range(0, 60, 4)}
    task = own_retrieval_task(
        "Same",
        {"id": identifiers, "text": texts},
        {"id": identifiers[::4], "text": [text + " extra" for text in texts[::4]]},
        judged,
        ignore_same=True,
    )
    assert all_differences(task, store_of(task, tmp_path, hashed), [4, 32]) == {}


@pytest.mark.parametrize("encode_as", [wide, signs])
@pytest.mark.parametrize("ignore_same", [False, True])
def test_a_corpus_searched_in_chunks_scores_as_mtebs_search_in_chunks(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignore_same: bool, encode_as: Any
) -> None:
    task = retrieval_task(shared_data / "retrieval" / "vaswani", ignore_same)
    store = store_of(task, tmp_path, encode_as)
    monkeypatch.setattr(rankings, "CHUNK", 2500)
    monkeypatch.setattr(SearchEncoderWrapper.__init__, "__defaults__", (2500, None))
    assert all_differences(task, store, [8, 384]) == {}


def test_chunks_smaller_than_the_depth_are_searched_as_mteb_searches_them(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = retrieval_task(shared_data / "retrieval" / "cranfield")
    monkeypatch.setattr(rankings, "CHUNK", 300)
    monkeypatch.setattr(rankings, "QUERIES", 100)  # of 225, which mteb ranks at once
    monkeypatch.setattr(SearchEncoderWrapper.__init__, "__defaults__", (300, None))
    assert all_differences(task, store_of(task, tmp_path, wide), DIMENSIONS) == {}


def test_a_single_query_scores_as_in_mteb(tmp_path: Path) -> None:
    texts = [f"word{i} word{i % 7} word{i % 3}" for i in range(400)]
    corpus = {"id": [f"d{i}" for i in range(400)], "text": texts}
    task = own_retrieval_task("One", corpus, {"id": ["q"], "text": ["word5 word2"]}, {"q": {"d5": 2, "d9": 1}})
    assert all_differences(task, store_of(task, tmp_path, hashed), [4, 32]) == {}


def test_judgements_below_zero_count_as_in_mteb(tmp_path: Path) -> None:
    texts = [f"word{i} word{i % 7} word{i % 3}" for i in range(60)]
    judged = {f"q{i}": {f"d{i}": -1, f"d{i + 1}": 2, f"d{i + 9}": -2, f"d{i + 4}": 1, f"d{i + 5}": 0} for i in range(9)}
    task = own_retrieval_task(
        "Below",
        {"id": [f"d{i}" for i in range(60)], "text": texts},
        {"id": list(judged), "text": [text + " extra" for text in texts[:9]]},
        judged,
    )
    assert isinstance(saved(task), RetrievalTask)
    assert all_differences(task, store_of(task, tmp_path, hashed), [2, 4, 32]) == {}


def test_a_task_with_two_queries_of_one_id_goes_through_mteb_itself(tmp_path: Path) -> None:
    corpus = {"id": ["a", "b"], "text": ["red fish", "green leaf"]}
    queries = {"id": ["1", "1", "2"], "text": ["fish", "leaf", "green"]}
    task = own_retrieval_task("Twice", corpus, queries, {"1": {"a": 1}, "2": {"b": 1}})
    assert saved(task) is task
    assert all_differences(task, store_of(task, tmp_path, hashed), [4, 32]) == {}


@pytest.mark.parametrize("documents", [1, 2, 7, 1001])
def test_greater_ones_are_counted_with_and_without_equals(documents: int) -> None:
    draw = np.random.default_rng(documents)
    best = np.sort(draw.integers(0, 50, (6, documents)).astype(np.float32), axis=1)[:, ::-1]
    query = draw.integers(0, 6, 300)
    value = draw.integers(-2, 53, 300).astype(np.float32)
    expected = (best[query] > value[:, None]).sum(axis=1)
    np.testing.assert_array_equal(rankings._greater(best, query, value), expected)
