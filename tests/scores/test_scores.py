"""The scores are mteb's own, at every dimension; what is not mteb's (searches, codecs) is what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from sentence_transformers import SentenceTransformer
from threadpoolctl import threadpool_limits

from testing.real_tasks import (
    classification_task,
    described,
    hashed,
    own_classification_task,
    own_retrieval_task,
    retrieval_task,
    saved,
    store_of,
)
from tests.scores.against_mteb import DIMENSIONS, all_differences, differences, wide
from tests.scores.conftest import prefix_scores, smaller_retrieval
from workflow_scripts import search_grid
from workflow_scripts.codecs import Codec, prefixes
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.command_line import InputError
from workflow_scripts.encoder.encoding import encode
from workflow_scripts.encoder.loading import load_encoder
from workflow_scripts.evaluation.mteb_tasks import rows_of_part
from workflow_scripts.evaluation.plain_tasks import ClassificationTask
from workflow_scripts.scores import codec_search, rankings, retrieval, searches
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.search_grid import Search
from workflow_scripts.study.sections.search import Search as SearchSection
from workflow_scripts.tasks.prepare import load

CLASSIFICATION = [
    "ag_news",
    "amazon_counterfactual",
    "banking77",
    "clinc150",
    "massive_intent",
    "mtop_domain",
    "mtop_intent",
    "sst2",
    "trec_coarse",
    "tweet_sentiment_extraction",
]


@pytest.mark.usefixtures("labels_decoded_once")
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_scores_are_mtebs_own_at_every_dimension(name: str, shared_data: Path, tmp_path: Path) -> None:
    task = classification_task(shared_data / "mteb_cls" / name)
    assert isinstance(saved(task), ClassificationTask)
    assert all_differences(task, store_of(task, tmp_path, wide), DIMENSIONS) == {}


@pytest.mark.usefixtures("labels_decoded_once")
@pytest.mark.parametrize("name", ["WordNetLexicographerFiles", "WordNetExamples", "mtop_domain", "vaswani"])
def test_scores_are_those_of_stock_sentence_transformers_cut_short(
    name: str, minilm: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    task: Any
    if name.startswith("WordNet"):
        task = load(name)
        task = smaller_retrieval(task, 60, 300) if name == "WordNetExamples" else smaller_classification(task)
    elif name == "vaswani":
        task = smaller_retrieval(retrieval_task(request.getfixturevalue("shared_data") / "retrieval" / name), 6, 60)
    else:
        folder = request.getfixturevalue("shared_data") / "mteb_cls" / name
        # on 100 test rows, two of the thousand predictions that rounding moves are a difference of 0.002 (seen)
        task = classification_task(folder, trains=400, tests=600)
    model = load_encoder(minilm, "cpu")
    store = store_of(task, tmp_path, lambda texts: encode(model, texts).vectors)
    for one in prefix_scores(task, store, [8, 64, 384]):  # its encoding anew at each is most of the time
        stock = SentenceTransformer(str(minilm), device="cpu", truncate_dim=one.codec.dim)
        expected = mteb.evaluate(stock, task, cache=None, co2_tracker=False, show_progress_bar=False)
        assert one.score == pytest.approx(expected.task_results[0].get_score(), abs=0.001)
        assert differences(task, store, one) == {}


@pytest.mark.usefixtures("labels_decoded_once")
@pytest.mark.parametrize("name", ["amazon_counterfactual", "banking77"])
def test_classification_scores_are_those_of_mteb_with_all_its_threads(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    task = classification_task(shared_data / "mteb_cls" / name, trains=2000, tests=600)
    task.n_experiments = 3  # mteb's threads wait for each other: ten take most of a minute
    store = store_of(task, tmp_path, wide)
    ours = prefix_scores(task, store, [8, 384])
    with threadpool_limits(4, user_api="blas"):
        assert [differences(task, store, one) for one in ours] == [{}, {}]


def smaller_classification(task: Any) -> Any:
    """Six classes, so that encoding anew at each dimension takes seconds."""
    for split in ("train", "test"):
        rows = task.dataset[split]
        task.dataset[split] = rows.select([i for i, label in enumerate(rows[:]["label"]) if label < 6])
    return task


@pytest.mark.parametrize("threads", [1, 3])  # with three, the queries are in parts
def test_one_pass_for_all_dimensions_finds_what_a_search_at_each_finds(
    threads: int, shared_data: Path, tmp_path: Path
) -> None:
    task = retrieval_task(shared_data / "retrieval" / "vaswani")
    store = store_of(task, tmp_path, wide)
    split = retrieval.gather(saved(task), store)[0]
    assert len(split.documents) > 2 * codec_search.BLOCK
    queries, documents = (torch.from_numpy(np.array(store.vectors[rows])) for rows in (split.queries, split.documents))
    wanted = [(codec, 50) for codec in prefixes(DIMENSIONS)]
    torch.set_num_threads(threads)
    try:
        found = codec_search.search(split, store, Fitted(store.width, unit=True), [*wanted, *wanted])
    finally:
        torch.set_num_threads(1)
    for codec, _ in wanted:
        assert found[codec.name, 50].shape == (len(split.queries), 50)
        expected = torch.topk(rankings.cosines(queries, documents, codec.dim), 50, dim=1).indices.numpy()
        alike = [len(np.intersect1d(a, b)) / 50 for a, b in zip(found[codec.name, 50], expected, strict=True)]
        assert np.mean(alike) > 0.995, codec.name


# ---- searches


def test_candidates_that_are_all_documents_give_the_score_of_the_codec_that_ranks_them(
    shared_data: Path, tmp_path: Path
) -> None:
    task = retrieval_task(shared_data / "retrieval" / "cacm")
    store = store_of(task, tmp_path, hashed)
    plain = saved(task)
    split = retrieval.gather(plain, store)[0]
    everything = len(split.documents)
    coarse, fine = Codec("prefix", 4, "binary"), Codec("prefix", 32)
    wanted = [Search((), fine), Search(((coarse, everything),), fine), Search(((coarse, 20),), fine)]
    fitted = Fitted(store.width, unit=True)
    first = codec_search.search(split, store, fitted, searches.first_stages(plain, wanted))
    ranked = {name: best for (name, _), best in first.items()}
    (full, per_query), (rescored, _), (short, _) = searches.measure(plain, split, store, fitted, wanted, ranked)
    expected = prefix_scores(task, store, [32])[0]
    assert full == pytest.approx(expected.score, abs=1e-4)
    assert per_query == pytest.approx(list(next(iter(expected.values.values())).values()), abs=1e-4)
    assert rescored == pytest.approx(full, abs=1e-4)
    assert short < full


def test_the_grid_costs_what_its_stages_read() -> None:
    section = {"shortlist": ["prefix-8-float32", "prefix-32-float32"], "candidates": [100, 500]}
    made = search_grid.grid(SearchSection(**section, rescore=["prefix-full-float32", "prefix-full-int8"]), 64)
    by_name = {one.name: one for one in made}
    assert len(by_name) == len(made)
    assert by_name["prefix-64-float32"].bytes_read(10_000) == 10_000 * 256
    two = by_name["prefix-8-float32@500>prefix-64-float32"]
    assert (two.bytes_read(10_000), two.multiply_adds(10_000, 64)) == (320_000 + 500 * 256, 80_000 + 500 * 64)
    three = by_name["prefix-8-float32@500>prefix-32-float32@100>prefix-64-float32"]
    assert three.bytes_read(10_000) == 320_000 + 500 * 128 + 100 * 256
    assert three.bytes_in_memory == 32
    assert "prefix-32-float32@100>prefix-64-int8" not in by_name, "64 bytes are not finer than 128"


def test_codecs_that_coincide_at_a_models_width_are_searched_once() -> None:
    section = {"shortlist": ["prefix-64-binary", "prefix-full-binary"], "candidates": [20]}
    made = search_grid.grid(SearchSection(**section, rescore=["prefix-64-int8", "prefix-full-int8"]), 64)
    once = ["prefix-64-binary", "prefix-64-int8", "prefix-64-binary@20>prefix-64-int8"]
    assert [one.name for one in made] == once


# ---- odd input


def test_a_class_of_one_row_a_missing_judgement_and_an_empty_document_score_as_mteb_scores_them(tmp_path: Path) -> None:
    rows = [(f"word{i % 5} text{i}", i % 3) for i in range(30)]
    lonely = own_classification_task("Lonely", [*rows, ("alone word1", 3)], [*rows[::2], ("word2 alone", 3)])
    assert all_differences(lonely, store_of(lonely, tmp_path / "a", hashed), [4, 32]) == {}
    corpus = {"id": ["a", "b", "c"], "title": ["", "", "Red"], "text": ["", "a green leaf", "fish "]}
    queries = {"id": ["1", "2", "3"], "text": ["red fish", "green", "nobody judged this"]}
    odd = own_retrieval_task("Odd", corpus, queries, {"1": {"c": 1}, "2": {"b": 1, "gone": 1}, "3": {}})
    store = store_of(odd, tmp_path / "b", hashed)
    assert all_differences(odd, store, [4, 32]) == {}
    assert next(iter(prefix_scores(odd, store, [32])[0].values.values())).keys() == {"1", "2"}


@pytest.mark.parametrize(("taught", "tested"), [((0, 4), (0, 4)), ((4, 5), (4, 5)), ((0, 1, 2), (0, 2))])
def test_two_test_labels_without_a_1_have_accuracy_and_no_average_precision(
    taught: tuple[int, ...], tested: tuple[int, ...], tmp_path: Path
) -> None:
    train = [(f"word{i % 5} text{i}", taught[i % len(taught)]) for i in range(60)]
    test = [(f"word{i % 5} other{i}", tested[i % 2]) for i in range(40)]
    task = own_classification_task("Numbers", train, test)
    store = store_of(task, tmp_path / "a", hashed)
    codecs = [Codec("prefix", 32), Codec("prefix", 8, "mteb_int8", queries="coded"), Codec("prefix", 8, "binary")]
    scored = list(score_all(saved(task), store, Fitted(store.width), codecs))
    assert all(0.2 < one.score <= 1 for one in scored)
    of_mteb = [found for one in scored if one.result for found in one.result.of_parts.values()]
    assert [np.isnan(found[key]) for found in of_mteb for key in ("ap", "ap_weighted")] == [True] * 4
    assert all(found["f1"] > 0 for found in of_mteb)
    # the same rows under labels that have a 1
    named = {label: 2 * place + 1 for place, label in enumerate(taught)}
    other = own_classification_task("Others", *([(text, named[y]) for text, y in rows] for rows in (train, test)))
    expected = score_all(saved(other), store, Fitted(store.width), codecs)
    assert [one.score for one in scored] == [one.score for one in expected]


LANGUAGES = {"eval_langs": {"en": ["eng-Latn"], "de": ["deu-Latn"]}, "eval_splits": ["validation", "test"]}


def test_a_classification_task_of_several_subsets_and_splits_scores_as_mteb_scores_it(tmp_path: Path) -> None:
    class Task(AbsTaskClassification):
        metadata = described("Languages", "Classification", "accuracy", **LANGUAGES)
        samples_per_label = 4

    def rows(start: int, count: int) -> Dataset:
        numbers = range(start, start + count)
        return Dataset.from_dict(
            {"text": [f"word{i % 5} text{i} a{i % 7}" for i in numbers], "label": [10 * (i % 3) + 7 for i in numbers]}
        )

    task: Any = Task()
    task.dataset = {
        subset: DatasetDict({"train": rows(at, 40), "validation": rows(at + 40, 20), "test": rows(at + 60, 33)})
        for subset, at in (("en", 0), ("de", 1000))
    }
    task.data_loaded = True
    check_parts(task, tmp_path)


def test_a_retrieval_task_of_several_subsets_and_splits_scores_as_mteb_scores_it(tmp_path: Path) -> None:
    class Task(AbsTaskRetrieval):
        metadata = described("Languages", "Retrieval", "ndcg_at_10", **LANGUAGES)

    def part(start: int, asked: int) -> Any:
        numbers = range(start, start + 50)
        judged = {f"q{i}": {f"d{i + 7 * n}": n % 3 for n in range(5)} for i in range(start, start + asked)}
        return {
            "corpus": Dataset.from_dict(
                {"id": [f"d{i}" for i in numbers], "text": [f"word{i % 5} text{i} a{i % 7}" for i in numbers]}
            ),
            "queries": Dataset.from_dict({"id": list(judged), "text": [f"a{i % 7} word{i % 5}" for i in range(asked)]}),
            "relevant_docs": judged,
            "top_ranked": None,
        }

    task: Any = Task()
    task.dataset = {
        subset: {"validation": part(at, 5), "test": part(at + 50, 9)} for subset, at in (("en", 0), ("de", 1000))
    }
    task.data_loaded = True
    check_parts(task, tmp_path)


def check_parts(task: Any, folder: Path) -> None:
    """Each subset and split scores as mteb scores it, and by itself."""
    store = store_of(task, folder, hashed)
    assert all_differences(task, store, [4, 32]) == {}
    (one,) = prefix_scores(task, store, [32])
    assert [(part.split, part.subset) for part in one.values] == [
        ("validation", "en"),
        ("validation", "de"),
        ("test", "en"),
        ("test", "de"),
    ]
    assert len({json.dumps(values) for values in one.values.values()}) == 4


def test_a_task_without_any_judgement_or_with_one_class_is_refused(tmp_path: Path) -> None:
    corpus, queries = {"id": ["a"], "text": ["leaf"]}, {"id": ["1"], "text": ["leaf"]}
    unjudged = own_retrieval_task("Unjudged", corpus, queries, {"1": {"a": 1}})
    store = store_of(unjudged, tmp_path / "a", hashed)
    rows_of_part(unjudged, "default", "test")["relevant_docs"] = {"1": {}}
    with pytest.raises(InputError, match="no query of 'default' 'test' has a judged document"):
        prefix_scores(unjudged, store, [32])
    single = own_classification_task("Single", [("a b", 1), ("c d", 1)], [("a c", 1)])
    with pytest.raises(InputError, match="has one class; expected at least two"):
        prefix_scores(single, store_of(single, tmp_path / "b", hashed), [32])
