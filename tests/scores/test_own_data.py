"""Own data scored from its files: what `mteb.evaluate` gives for an encoder and the same rows in a task made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mteb
import pytest

from testing.real_tasks import classification_task, hashed, retrieval_task, saved, store_of
from tests.scores.test_other_tasks import CutEncoder, similarity_task
from tests.tasks.test_own_data import as_beir, write_csv
from workflow_scripts.codecs import prefixes
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.evaluation.task_files import load_task
from workflow_scripts.scores import rankings
from workflow_scripts.scores.by_task_type import score_all
from workflow_scripts.scores.stock import scores_by_part
from workflow_scripts.study.sections.own_task import OwnTask
from workflow_scripts.tasks.prepare import prepare

DIMENSIONS = [4, 32]


def retrieval_files(shared: Path, folder: Path) -> tuple[Path, Any]:
    collection = shared / "retrieval" / "cranfield"  # two of its documents are empty
    return as_beir(collection, folder), retrieval_task(collection)


def classification_files(shared: Path, folder: Path) -> tuple[Path, Any]:
    by_hand: Any = classification_task(shared / "mteb_cls" / "trec_coarse", trains=500, tests=200)
    for split, rows in by_hand.dataset.items():
        write_csv(folder / f"{split}.csv", ["text", "label"], list(zip(rows["text"], rows["label"], strict=True)))
    return folder, by_hand


def similarity_files(_: Path, folder: Path) -> tuple[Path, Any]:
    by_hand = similarity_task()
    rows = by_hand.dataset["test"]
    names = ["sentence1", "sentence2", "score"]
    return write_csv(folder / "pairs.tsv", names, list(zip(*(rows[name] for name in names), strict=True))), by_hand


@pytest.mark.parametrize("files", [retrieval_files, classification_files, similarity_files])
def test_own_data_has_the_scores_of_mtebs_evaluation_of_the_same_rows(
    files: Any, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rankings, "QUERIES", 100)  # of 225, which mteb ranks at once
    path, by_hand = files(shared_data, tmp_path / "files")
    prepare("Own", tmp_path / "task", OwnTask(path=str(path), name="Own"))
    task: Any = load_task(tmp_path / "task")
    store = store_of(task, tmp_path / "store", hashed)
    scored = list(score_all(saved(task), store, Fitted(store.width), prefixes(DIMENSIONS)))
    assert [one.codec.dim for one in scored] == DIMENSIONS
    for one in scored:
        encoder: Any = CutEncoder(one.codec.dim)
        theirs = mteb.evaluate(encoder, by_hand, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
        assert one.result is not None
        # nan (an undefined metric) equals nan as JSON
        ours, expected = (
            json.dumps([*found.values()], sort_keys=True)
            for found in (one.result.of_parts, scores_by_part(task, theirs))
        )
        assert ours == expected
        assert one.score == theirs.get_score()
    assert scored[0].score < scored[1].score
