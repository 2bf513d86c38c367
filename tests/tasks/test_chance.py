"""The score of guessing."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from workflow_scripts.evaluation.mteb_tasks import new_task
from workflow_scripts.tasks.prepare import chance


def test_guessing_is_among_the_classes_that_the_classifier_learns_from() -> None:
    task: Any = new_task("AmazonCounterfactualClassification")
    train = Dataset.from_dict({"text": list("abcd"), "label": [0, 1, 2, 3]})
    test = Dataset.from_dict({"text": list("ab"), "label": [0, 1]})
    task.dataset = {"en": DatasetDict({"train": train, "test": test})}
    task.filter_eval_splits(["test"])
    assert chance(task) == pytest.approx(1 / 4)
