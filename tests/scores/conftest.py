"""What these tests share. One processor thread for all: their tensors are small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from datasets import Dataset

from testing.real_tasks import saved
from workflow_scripts.codecs import prefixes
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.mteb_tasks import rows_of_part
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.scored import Scored
from workflow_scripts.store import Store


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def labels_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set's column is a list. mteb decodes a label anew each time it looks at it, tens of times each; on whole
    tasks that takes many minutes, and changes no score. The other tests leave mteb as it comes."""
    lazily = Dataset.__getitem__

    def at_once(rows: Dataset, key: Any) -> Any:
        return lazily(rows, key)[:] if isinstance(key, str) else lazily(rows, key)

    monkeypatch.setattr(Dataset, "__getitem__", at_once)


def prefix_scores(task: Any, store: Store, dimensions: Sequence[int]) -> list[Scored]:
    return list(score_all(saved(task), store, Fitted(store.width), prefixes(dimensions)))


def smaller_retrieval(task: Any, queries: int, documents: int) -> Any:
    part = rows_of_part(task, "default", "test")
    part["queries"] = part["queries"].select(range(queries))
    wanted = {d for query in part["queries"][:]["id"] for d in part["relevant_docs"][query]}
    identifiers = part["corpus"][:]["id"]
    part["corpus"] = part["corpus"].select([i for i, d in enumerate(identifiers) if d in wanted or i < documents])
    part["relevant_docs"] = {query: part["relevant_docs"][query] for query in part["queries"][:]["id"]}
    return task
