"""Whether mteb scores a task by the protocol of its base classes alone, which scoring does faster, and what it must know for that.

Takes a loaded mteb task; leaves facts that stand in its folder, so that scoring needs no mteb; None where a task has ways
of its own, and mteb itself scores it.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow.compute as pc

from workflow_scripts.evaluation.mteb_tasks import column, parts, rows_of_part
from workflow_scripts.evaluation.own_tasks import is_judged
from workflow_scripts.evaluation.plain_tasks import DEPTH

OF_RETRIEVAL = ("evaluate", "_evaluate_subset", "task_specific_scores")  # what a task may do otherwise
OF_CLASSIFICATION = ("evaluate", "_evaluate_subset", "_run_experiment", "_calculate_scores", "_calculate_avg_scores")


def facts_of_protocol(task: Any) -> dict[str, Any] | None:
    """The facts that `plain_tasks` reads, as JSON has them."""
    of_type = _of_retrieval(task) or _of_classification(task)
    if of_type is None:
        return None
    return {
        "type": task.metadata.type,
        "main_score": task.metadata.main_score,
        "languages": task.metadata.hf_subsets_to_langscripts,
        "revision": task.metadata.revision,
        **of_type,
    }


def _of_retrieval(task: Any) -> dict[str, Any] | None:
    """Where mteb would search all documents."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    if not isinstance(task, AbsTaskRetrieval) or task.metadata.type != "Retrieval":
        return None
    if any(getattr(type(task), name) is not getattr(AbsTaskRetrieval, name) for name in OF_RETRIEVAL):
        return None
    if task.skip_first_result or max(task.k_values) != DEPTH or task._top_k != DEPTH:
        return None
    for part in parts(task):
        rows = rows_of_part(task, part.subset, part.split)
        if rows["top_ranked"] is not None:
            return None
        for texts in (rows["corpus"], rows["queries"]):
            ids = texts.select_columns(["id"]).with_format("arrow")[:].column("id")
            if pc.count_distinct(ids, mode="all").as_py() != len(texts):
                return None
    return {
        "cut_offs": list(task.k_values),
        "judged": is_judged(task),
        "ignore_identical_ids": bool(task.ignore_identical_ids),
    }


def _of_classification(task: Any) -> dict[str, Any] | None:
    """Where mteb would fit scikit-learn's logistic regression to draws of one column's texts."""
    from mteb._evaluators.sklearn_evaluator import SklearnEvaluator
    from mteb.abstasks.classification import AbsTaskClassification
    from sklearn.linear_model import LogisticRegression

    if not isinstance(task, AbsTaskClassification) or task.metadata.type != "Classification":
        return None
    if any(getattr(type(task), name) is not getattr(AbsTaskClassification, name) for name in OF_CLASSIFICATION):
        return None
    if task.is_cross_validation or not isinstance(task.input_column_name, str):
        return None
    if task.evaluator is not SklearnEvaluator or type(task.evaluator_model) is not LogisticRegression:
        return None
    for part in parts(task):
        for split in (task.train_split, part.split):
            rows = rows_of_part(task, part.subset, split)
            first = rows.select(range(min(1, len(rows))))
            if not all(isinstance(label, int) for label in column(first, task.label_column_name)):
                return None
    defaults = LogisticRegression().get_params()
    changed = {key: value for key, value in task.evaluator_model.get_params().items() if value != defaults[key]}
    classifier = changed | {"random_state": task.seed}
    if json.loads(json.dumps(classifier, default=str)) != classifier:
        return None
    return {
        "text": task.input_column_name,
        "label": task.label_column_name,
        "train_split": task.train_split,
        "classifier": classifier,
    }
