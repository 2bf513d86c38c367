"""Classification with every codec: mteb's protocol, vectorised.

Takes a loaded classification task and the store of its texts; leaves, per codec, the same scores as
`mteb.evaluate` on the decoded vectors. mteb decodes the labels from its lazy column again for every row of every
experiment and draws the training rows again at each dimension; here labels are plain arrays, the ten draws are made
once, and each codec costs ten logistic regressions and their predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from mteb._evaluators.sklearn_evaluator import SklearnEvaluator
from mteb.abstasks.classification import AbsTaskClassification
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from threadpoolctl import ThreadpoolController

from workflow_scripts.axes import Matrix
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.task_files import TRAIN, Part, column, parts, rows_of_part, undersampled_rows
from workflow_scripts.scores import logistic
from workflow_scripts.store import Store

Labels = np.ndarray[Any, np.dtype[np.int64]]
OVERRIDABLE = ("evaluate", "_evaluate_subset", "_run_experiment", "_calculate_scores", "_calculate_avg_scores")


@dataclass(frozen=True)
class Split:
    """One subset and split: vectors of the drawn training rows `(drawn, width)` and of the test rows
    `(tests, width)`, their labels as class numbers, and each experiment's rows of the former."""

    part: Part
    train: Matrix
    train_labels: Labels
    test: Matrix
    test_labels: Labels
    draws: list[list[int]]
    binary: bool  # two classes in the test split, one of them 1, which average precision takes as the positive
    classes: Labels  # the label that each class number stands for, where labels are numbers
    overlap: float  # the share of its pool that a draw takes: what two draws are expected to have in common


class Outcomes(NamedTuple):
    """Right or wrong, a bit each: `bits` `(experiments, bytes)`, as numpy.packbits packs the `texts` test texts; `overlap`
    as in the split."""

    bits: np.ndarray[Any, np.dtype[np.uint8]]
    texts: int
    overlap: float


def is_plain(task: Any) -> bool:
    """Whether mteb would score the task by the base class's own protocol, which is the one done here."""
    if not isinstance(task, AbsTaskClassification) or task.metadata.type != "Classification":
        return False
    kind = type(task)
    if any(getattr(kind, name) is not getattr(AbsTaskClassification, name) for name in OVERRIDABLE):
        return False
    if (
        task.is_cross_validation
        or not isinstance(task.input_column_name, str)
        or task.evaluator is not SklearnEvaluator
    ):
        return False
    if type(task.evaluator_model) is not LogisticRegression:
        return False
    return all(isinstance(label, int) for part in parts(task) for label in _labels(task, part.subset, part.split)[:1])


def _labels(task: Any, subset: str, split: str) -> list[Any]:
    return column(rows_of_part(task, subset, split), task.label_column_name)


def gather(task: Any, store: Store) -> list[Split]:
    """Look up every vector that the task needs, once, and draw the training rows, once. Raises StoreError."""
    splits = []
    for part in parts(task):
        train, test = (rows_of_part(task, part.subset, split) for split in (task.train_split, part.split))
        labels = column(train, task.label_column_name)
        test_labels = column(test, task.label_column_name)
        drawn = undersampled_rows(task, labels)
        union = sorted(set().union(*drawn))
        place = {row: i for i, row in enumerate(union)}
        texts = column(train, task.input_column_name)
        classes = np.unique(np.array([*labels, *test_labels], dtype=np.int64))
        splits.append(
            Split(
                part=part,
                train=_vectors(store, [texts[row] for row in union]),
                train_labels=np.searchsorted(classes, [labels[row] for row in union]),
                test=_vectors(store, column(test, task.input_column_name)),
                test_labels=np.searchsorted(classes, test_labels),
                draws=[[place[row] for row in rows] for rows in drawn],
                binary=len(set(test_labels)) == 2 and 1 in test_labels,
                classes=classes,
                overlap=_overlap(labels, [labels[row] for row in drawn[0]]),
            )
        )
    return splits


def _overlap(pool: list[Any], drawn: list[Any]) -> float:
    """The share of one draw that another is expected to hold, as each takes n of the N examples of a class: the mean
    of n / N over the examples of a draw."""
    of_pool, of_draw = Counter(pool), Counter(drawn)
    return sum(count * count / of_pool[label] for label, count in of_draw.items()) / len(drawn)


def _vectors(store: Store, texts: Sequence[str]) -> Matrix:
    return np.asarray(store.vectors[store.rows_of(texts, TRAIN)], dtype=np.float32)


def score(
    task: Any, split: Split, train: np.ndarray[Any, Any], test: np.ndarray[Any, Any]
) -> tuple[dict[str, Any], Outcomes]:
    """mteb's scores of one split, with those of each experiment, and each test text's outcome, where `train` `(drawn, dim)` and `test` `(tests, dim)`
    are its vectors as the classifier sees them.

    Raises InputError where an experiment has a single class to learn from.
    """
    experiments: list[dict[str, float | None]] = []
    right = []
    for rows in split.draws:
        _classes_of(task, split, rows)
        labels = split.train_labels[rows]
        model = clone(task.evaluator_model).set_params(random_state=task.seed)
        # The products are small: BLAS threads wait for each other longer than they work (a hundredfold, seen).
        with _threads().limit(limits=1, user_api="blas"):
            predicted = model.fit(train[rows], labels).predict(test)
        experiments.append(_metrics(split, predicted))
        right.append(predicted == split.test_labels)
    scores: dict[str, Any] = {"scores_per_experiment": experiments}
    for key in experiments[0]:
        values = [value for e in experiments if (value := e[key]) is not None]
        scores[key] = float(np.mean(values)) if values else np.nan
    scores["main_score"] = scores[task.metadata.main_score]
    return scores, Outcomes(np.packbits(right, axis=1), len(split.test_labels), split.overlap)


def main_scores(task: Any, split: Split, train: Matrix, test: Matrix) -> tuple[list[float], Outcomes]:
    """The main score of each experiment and each test text's outcome, where mteb has no number to be equal to.

    `train` `(drawn, dim)` and `test` `(tests, dim)` as in `score`. Raises InputError as it does.
    """
    metric = task.metadata.main_score
    found = [_classes_of(task, split, rows) for rows in split.draws]
    with _threads().limit(limits=1, user_api="blas"):
        fits = [
            logistic.fit(train[rows], labels, len(classes))
            for rows, (classes, labels) in zip(split.draws, found, strict=True)
        ]
        predicted = [classes[places] for (classes, _), places in zip(found, logistic.predict(test, fits), strict=True)]
    values = [_metrics(split, one, precision_curve=metric.startswith("ap"))[metric] for one in predicted]
    right = [one == split.test_labels for one in predicted]
    return values, Outcomes(np.packbits(right, axis=1), len(split.test_labels), split.overlap)


def _classes_of(task: Any, split: Split, rows: list[int]) -> tuple[Labels, Labels]:
    """The classes that an experiment's rows have, and each row's place among them. Raises InputError where it is one."""
    classes, labels = np.unique(split.train_labels[rows], return_inverse=True)
    if len(classes) == 1:
        raise InputError(
            f"{task.metadata.name}: the training split of {split.part.subset!r} has one class; expected at least two"
        )
    return classes, labels


@cache
def _threads() -> ThreadpoolController:
    """The loaded BLAS libraries. Finding them takes longer than a small task's logistic regression, so it is done once."""
    return ThreadpoolController()


def _metrics(split: Split, predicted: Labels, precision_curve: bool = True) -> dict[str, Any]:
    """mteb's nine metrics of one experiment, from one confusion table (scikit-learn makes one per metric); without
    `precision_curve` the two that are areas under it stay None."""
    truth, count = split.test_labels, len(split.classes)
    right = np.bincount(truth[truth == predicted], minlength=count).astype(np.float64)
    in_truth, in_predicted = np.bincount(truth, minlength=count), np.bincount(predicted, minlength=count)
    there = (in_truth + in_predicted) > 0
    right, in_truth, in_predicted = right[there], in_truth[there], in_predicted[there]
    precision, recall = _share(right, in_predicted), _share(right, in_truth)
    f1 = _share(2.0 * right, 1.0 * in_truth + in_predicted)
    found: dict[str, Any] = {
        "accuracy": float(np.average(truth == predicted)),
        "f1": float(np.average(f1)),
        "f1_weighted": float(np.average(f1, weights=in_truth)),
        "precision": float(np.average(precision)),
        "precision_weighted": float(np.average(precision, weights=in_truth)),
        "recall": float(np.average(recall)),
        "recall_weighted": float(np.average(recall, weights=in_truth)),
        "ap": None,
        "ap_weighted": None,
    }
    if split.binary and precision_curve:
        labels = split.classes[truth], split.classes[predicted]
        found["ap"] = average_precision_score(*labels, average="macro")
        found["ap_weighted"] = average_precision_score(*labels, average="weighted")
    return found


def _share(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """part / whole, 0 where the whole is 0, as scikit-learn has it."""
    shares: np.ndarray[Any, Any] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares
