"""Task types that go through mteb itself on vectors looked up: their scores are those of an encoder run cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks.clustering import AbsTaskClustering
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.text.summarization import AbsTaskSummarization
from mteb.models.abs_encoder import AbsEncoder

from testing.real_tasks import described, hashed, own_retrieval_task, saved, store_of
from workflow_scripts.codecs import Codec, prefixes
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.mteb_tasks import fresh_state
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.stock import model_meta, scores_by_part

TOPICS = ["moon rocket orbit crater", "bread oven flour yeast", "goal referee pitch league"]
TEXTS = [f"{TOPICS[i % 3]} note{i} word{i % 7} word{i % 11}" for i in range(60)]


class CutEncoder(AbsEncoder):
    """Encodes every text anew, as sentence-transformers does with `truncate_dim`."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.mteb_model_meta = model_meta("tests/hashed", "none", dim)

    def encode(self, inputs: Any, **_: Any) -> Any:
        return hashed([text for batch in inputs for text in batch["text"]])[:, : self.dim].copy()


def loaded(task: Any, rows: dict[str, Any]) -> Any:
    task.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
    task.data_loaded = True
    return task


def similarity_task() -> Any:
    class Task(AbsTaskSTS):
        metadata = described("SmallSTS", "STS", "cosine_spearman")

    grades = [float((i * 7) % 6) for i in range(30)]
    return loaded(Task(), {"sentence1": TEXTS[:30], "sentence2": TEXTS[30:], "score": grades})


def pair_task() -> Any:
    class Task(AbsTaskPairClassification):
        metadata = described("SmallPairs", "PairClassification", "max_ap")

    pairs = {"sentence1": TEXTS[:30], "sentence2": TEXTS[29:59], "labels": [int(i % 4 == 1) for i in range(30)]}
    return loaded(Task(), pairs)


def clustering_task() -> Any:
    class Task(AbsTaskClustering):
        metadata = described("SmallClusters", "Clustering", "v_measure")
        max_fraction_of_documents_to_embed = 0.5
        max_documents_per_cluster = 20

    return loaded(Task(), {"sentences": TEXTS, "labels": [i % 3 for i in range(60)]})


def legacy_clustering_task() -> Any:
    class Task(AbsTaskClusteringLegacy):
        metadata = described("SmallOldClusters", "Clustering", "v_measure")

    halves = [TEXTS[:30], TEXTS[30:]]
    return loaded(Task(), {"sentences": halves, "labels": [[i % 3 for i in range(30)]] * 2})


def reranking_task() -> Any:
    corpus = {"id": [f"d{i}" for i in range(60)], "text": TEXTS}
    queries = {"id": ["q0", "q1", "q2"], "text": TOPICS}
    judged = {f"q{i}": {f"d{i + 3 * n}": 1 for n in range(4)} for i in range(3)}
    task: Any = own_retrieval_task("SmallReranking", corpus, queries, judged)
    task.metadata.type = "Reranking"
    task.dataset["default"]["test"]["top_ranked"] = {f"q{i}": [f"d{n}" for n in range(i, 40)] for i in range(3)}
    return task


def summarization_task() -> Any:
    class Task(AbsTaskSummarization):
        metadata = described("SmallSummaries", "Summarization", "cosine_spearman")
        min_score, max_score = 0, 5

    numbers = range(12)
    rows = {
        "text": TEXTS[:12],
        "human_summaries": [TEXTS[i + 12 : i + 15] for i in numbers],
        "machine_summaries": [TEXTS[i + 27 : i + 32] for i in numbers],
        "relevance": [[float((i * 3 + n * 2) % 6) for n in range(5)] for i in numbers],
    }
    return loaded(Task(), rows)


MAKERS = [
    similarity_task,
    pair_task,
    clustering_task,
    legacy_clustering_task,
    reranking_task,
    summarization_task,
]


@pytest.mark.parametrize("make", MAKERS)
def test_scores_from_the_store_are_those_of_encoding_at_each_dimension(make: Any, tmp_path: Path) -> None:
    task = make()
    store = store_of(task, tmp_path, hashed)
    found = set()
    for one in score_all(saved(task), store, Fitted(store.width), prefixes([2, 8, 32])):
        fresh_state(task)
        encoder: Any = CutEncoder(one.codec.dim)
        theirs = mteb.evaluate(encoder, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
        assert one.result is not None
        assert one.result.of_parts == scores_by_part(task, theirs)
        assert np.isfinite(one.score)
        assert one.values
        found.add(one.score)
    assert len(found) > 1, "the dimension is not looked at"


@pytest.mark.parametrize("make", MAKERS)
def test_compressed_vectors_that_are_not_finite_are_one_line(make: Any, tmp_path: Path) -> None:
    task = make()
    store = store_of(task, tmp_path, lambda texts: hashed(texts) * (np.arange(32) != 5))
    codec = Codec("prefix", 8, "mteb_int8", queries="coded")
    with pytest.raises(InputError, match=r"prefix-8-mteb_int8-coded has numbers that are not finite: coordinate 5 is"):
        list(score_all(saved(task), store, Fitted(store.width), [codec]))
