"""What the benchmarks compare is the same work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testing.real_tasks import hashed, saved, store_of
from tests.scores.test_codecs import small_classification, small_retrieval
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.plain_tasks import RetrievalTask
from workflow_scripts.scores import retrieval
from workflow_scripts.scores.by_task_type import score_all


@pytest.mark.parametrize("make", [small_retrieval, small_classification])
def test_decoded_vectors_are_scored_alone_as_in_the_grid_by_the_main_metric(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "1")  # which the import sets for good
    from benchmarks import frontier

    task = make()
    asked: list[Any] = []
    store = store_of(task, tmp_path, hashed)
    vectors = np.asarray(store.vectors, dtype=np.float32)
    plain = saved(task)
    fitted, codec = Fitted(store.width, vectors, unit=isinstance(plain, RetrievalTask)), Codec("pca", 16, "float32")
    (one,) = score_all(plain, store, fitted, [codec])
    score = retrieval.score

    def recorded(*given: Any) -> Any:
        asked.append(given[3:])
        return score(*given)

    monkeypatch.setattr(retrieval, "score", recorded)
    alone = frontier.score_alone(plain, frontier.Decoded(store, fitted.stored(codec, vectors)))
    assert alone == pytest.approx(one.score, abs=1e-9)
    assert all(only == (["ndcg_at_10"],) for only in asked)
