"""Classification with every codec: mteb's protocol, vectorised.

Takes a classification task, the store of its texts and the fitted codecs; leaves a `Scored` per codec, the same scores as
`mteb.evaluate` on the decoded vectors. mteb decodes the labels from its lazy column again for every row of every
experiment and draws the training rows again at each dimension; here labels are plain arrays, the ten draws were made
when the task was prepared, and each codec costs ten logistic regressions and their predictions.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController

from workflow_scripts.axes import Matrix
from workflow_scripts.codecs import Codec
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.command_line import InputError
from workflow_scripts.evaluation.plain_tasks import TRAIN, ClassificationTask, Labelled, Part
from workflow_scripts.scores import logistic
from workflow_scripts.scores.compression import OUTPUT_DTYPES, check_finite, compress, is_of_mteb
from workflow_scripts.scores.scored import MtebScores, Outcomes, Scored, Values
from workflow_scripts.store import Store

Labels = np.ndarray[Any, np.dtype[np.int64]]


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


def score_codecs(task: ClassificationTask, store: Store, fitted: Fitted, codecs: Sequence[Codec]) -> Iterator[Scored]:
    """The score of each codec, those that mteb has a number for first. Raises StoreError and InputError."""
    splits = gather(task, store)
    yield from (_score_as_mteb(task, splits, fitted, codec) for codec in codecs if is_of_mteb(codec))
    by_transform: dict[tuple[str, int], list[Codec]] = {}
    for codec in codecs:
        if not is_of_mteb(codec):
            by_transform.setdefault((codec.transform, codec.draw), []).append(codec)
    for group in by_transform.values():
        transformed = [
            [fitted.full_width(group[0], vectors) for vectors in (split.train, split.test)] for split in splits
        ]
        for codec in group:
            precision = fitted.precision(codec)
            values: Values = {}
            outcomes: dict[Part, Outcomes] = {}
            for split, pair in zip(splits, transformed, strict=True):
                train, test = (
                    np.ascontiguousarray(precision.round_trip(fitted.kept(codec, vectors))) for vectors in pair
                )
                of_split, outcomes[split.part] = main_scores(task, split, train, test)
                values[split.part] = {str(n): value for n, value in enumerate(of_split)}
            score = float(np.mean([np.mean(list(of_split.values())) for of_split in values.values()]))
            yield Scored(codec, score, values, outcomes=outcomes if task.main_score == "accuracy" else {})


def _score_as_mteb(task: ClassificationTask, splits: Sequence[Split], fitted: Fitted, codec: Codec) -> Scored:
    """All of mteb's metrics of a codec."""
    started = time.monotonic()
    scores: dict[Part, dict[str, Any]] = {}
    values: Values = {}
    outcomes: dict[Part, Outcomes] = {}
    for split in splits:
        train, test = (_seen(task, fitted, codec, vectors) for vectors in (split.train, split.test))
        scores[split.part], outcomes[split.part] = score(task, split, train, test)
        experiments = scores[split.part]["scores_per_experiment"]
        values[split.part] = {str(n): one[task.main_score] for n, one in enumerate(experiments)}
    result = MtebScores(scores, time.monotonic() - started)
    return Scored(codec, result.main_score(), values, result, outcomes if task.main_score == "accuracy" else {})


def _seen(task: ClassificationTask, fitted: Fitted, codec: Codec, vectors: Matrix) -> np.ndarray[Any, Any]:
    """The vectors as a classifier sees them. mteb's compressed numbers are a torch tensor, which scikit-learn takes as float64.
    Raises InputError for such numbers that are not finite."""
    if codec.precision not in OUTPUT_DTYPES:
        return np.ascontiguousarray(fitted.stored(codec, vectors))
    import torch

    compressed = compress(codec.precision, torch.from_numpy(vectors[:, : codec.dim]))
    check_finite(task.name, codec, compressed)
    return np.ascontiguousarray(compressed.double().numpy())


def gather(task: ClassificationTask, store: Store) -> list[Split]:
    """Every vector that the task needs, looked up once. Raises StoreError."""
    return [_split(labelled, store) for labelled in task.parts]


def _split(labelled: Labelled, store: Store) -> Split:
    labels, test_labels, draws = labelled.train_labels(), labelled.test_labels(), labelled.draws
    union = sorted(set().union(*draws))
    place = {row: i for i, row in enumerate(union)}
    classes = np.unique(np.array([*labels, *test_labels], dtype=np.int64))
    return Split(
        part=labelled.part,
        train=_vectors(store, labelled.train_texts(np.array(union))),
        train_labels=np.searchsorted(classes, [labels[row] for row in union]),
        test=_vectors(store, labelled.test_texts()),
        test_labels=np.searchsorted(classes, test_labels),
        draws=[[place[row] for row in rows] for rows in draws],
        binary=len(set(test_labels)) == 2 and 1 in test_labels,
        classes=classes,
        overlap=_overlap(labels, [labels[row] for row in draws[0]]),
    )


def _overlap(pool: list[Any], drawn: list[Any]) -> float:
    """The share of one draw that another is expected to hold, as each takes n of the N examples of a class: the mean
    of n / N over the examples of a draw."""
    of_pool, of_draw = Counter(pool), Counter(drawn)
    return sum(count * count / of_pool[label] for label, count in of_draw.items()) / len(drawn)


def _vectors(store: Store, texts: Sequence[str]) -> Matrix:
    return np.asarray(store.vectors[store.rows_of(texts, TRAIN)], dtype=np.float32)


def score(
    task: ClassificationTask, split: Split, train: np.ndarray[Any, Any], test: np.ndarray[Any, Any]
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
        model = LogisticRegression(**task.classifier)
        # The products are small: BLAS threads wait for each other longer than they work (a hundredfold, seen).
        with _threads().limit(limits=1, user_api="blas"):
            predicted = model.fit(train[rows], labels).predict(test)
        experiments.append(_metrics(split, predicted))
        right.append(predicted == split.test_labels)
    scores: dict[str, Any] = {"scores_per_experiment": experiments}
    for key in experiments[0]:
        values = [value for e in experiments if (value := e[key]) is not None]
        scores[key] = float(np.mean(values)) if values else np.nan
    scores["main_score"] = scores[task.main_score]
    return scores, Outcomes(np.packbits(right, axis=1), len(split.test_labels), split.overlap)


def main_scores(task: ClassificationTask, split: Split, train: Matrix, test: Matrix) -> tuple[list[float], Outcomes]:
    """The main score of each experiment and each test text's outcome, where mteb has no number to be equal to.

    `train` `(drawn, dim)` and `test` `(tests, dim)` as in `score`. Raises InputError as it does.
    """
    metric = task.main_score
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


def _classes_of(task: ClassificationTask, split: Split, rows: list[int]) -> tuple[Labels, Labels]:
    """The classes that an experiment's rows have, and each row's place among them. Raises InputError where it is one."""
    classes, labels = np.unique(split.train_labels[rows], return_inverse=True)
    if len(classes) == 1:
        raise InputError(
            f"{task.name}: the training split of {split.part.subset!r} has one class; expected at least two"
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
        from sklearn.metrics import average_precision_score

        labels = split.classes[truth], split.classes[predicted]
        found["ap"] = average_precision_score(*labels, average="macro")
        found["ap_weighted"] = average_precision_score(*labels, average="weighted")
    return found


def _share(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """part / whole, 0 where the whole is 0, as scikit-learn has it."""
    shares: np.ndarray[Any, Any] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares
