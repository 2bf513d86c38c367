"""What is kept of classification: each test text, right or wrong in each experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from testing.real_tasks import classification_task, hashed, saved, store_of
from workflow_scripts.codecs import prefixes
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.tables import write_tables


def test_outcomes_are_a_bit_each_and_their_mean_is_the_score(shared_data: Path, tmp_path: Path) -> None:
    task = classification_task(shared_data / "mteb_cls" / "trec_coarse")
    store = store_of(task, tmp_path, hashed)
    scored = list(score_all(saved(task), store, Fitted(store.width), prefixes([8, store.width])))
    described = {
        "study": "s",
        "variant": "m",
        "seed": 0,
        "task": "T",
        "task_type": "Classification",
        "metric": "accuracy",
    }
    write_tables(scored, [], described, tmp_path / "T.parquet")
    values = pl.read_parquet(tmp_path / "T.values.parquet")
    assert values.height == 2 * 10
    texts = values["texts"].unique().item()
    for row in values.iter_rows(named=True):
        assert len(row["outcomes"]) == -(-texts // 8)
        right = np.unpackbits(np.frombuffer(row["outcomes"], np.uint8), count=texts)
        assert right.mean() == pytest.approx(row["value"], abs=1e-12)


def test_the_overlap_of_draws_is_the_share_of_its_class_that_a_draw_takes(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "mteb_cls" / "trec_coarse"
    task = classification_task(folder)
    store = store_of(task, tmp_path, hashed)
    (one,) = score_all(saved(task), store, Fitted(store.width), prefixes([8]))
    (found,) = one.outcomes.values()
    counts = pl.read_parquet(folder / "train.parquet")["label"].value_counts()["count"].to_numpy()
    drawn = np.minimum(task.samples_per_label, counts)
    assert found.overlap == pytest.approx((drawn**2 / counts).sum() / drawn.sum())
