"""Logistic regression as scikit-learn fits it for mteb, in float32 and without its fixed costs.

Takes the training vectors of one experiment; leaves the coefficients. It is what
`LogisticRegression(max_iter=100)` does: the same loss, the same L-BFGS from zero (Nocedal and Wright 2006, equation 7.24),
the same line search (scipy's own) and the same two tests of convergence, so it stops after the same number of steps. That
matters, for ten steps from zero are far from the minimum. Only the arithmetic is float32, where scikit-learn's is
float64: a prediction in some ten thousand differs. mteb has no number for the codecs that are scored so; those that it has
one for go through scikit-learn.

The minimiser is written out because `scipy.optimize.minimize`, which finds the same coefficients in as many steps, works in
float64: over dimensions 8 to 384 it takes 1.3 times as long for 77 or 45 classes (two thirds of scikit-learn's time, where
this takes half), as long for 11, and 0.75 for two. The line search is a private class of scipy's, for its public ones
take other steps; a test compares the number of steps with scikit-learn's, so that a change of either is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.linalg.lapack import dtrtrs
from scipy.optimize._dcsrch import DCSRCH

from workflow_scripts.axes import Matrix

Vector = np.ndarray[Any, np.dtype[np.float32]]
Labels = np.ndarray[Any, np.dtype[np.int64]]
Objective = Callable[[Vector], tuple[float, Vector]]

ROWS = 4096  # classified at once
PAIRS = 10  # steps that L-BFGS remembers
STEPS = 100  # mteb's max_iter
GRADIENT = 1e-4  # scikit-learn's tol: no coordinate of the gradient is greater
DECREASE = 64 * np.finfo(float).eps  # and its ftol: the loss falls by no more
SEARCH = (1e-3, 0.9, 0.1, 0.0, 1e10)  # scipy's L-BFGS-B: sufficient decrease, curvature, width, least and greatest step
EVALUATIONS = 50  # of one line search


def fit(vectors: Matrix, labels: Labels, classes: int) -> Matrix:
    """Coefficients `(dim + 1, classes)`, the intercepts last, for vectors `(n, dim)` of the classes 0 to `classes` - 1;
    of two classes one column, positive for the second."""
    columns = classes if classes > 2 else 1
    objective = _softmax(vectors, labels, classes) if classes > 2 else _sigmoid(vectors, labels)
    return minimise(objective, (vectors.shape[1] + 1) * columns).reshape(-1, columns)


def predict(vectors: Matrix, coefficients: Sequence[Matrix]) -> Iterator[Labels]:
    """For each of several fits the class `(n,)` of each vector `(n, dim)`; all have the same number of classes."""
    together = np.hstack(coefficients)
    places = []
    for start in range(0, len(vectors), ROWS):
        scores = vectors[start : start + ROWS] @ together[:-1]
        scores += together[-1]
        by_fit = scores.reshape(len(scores), len(coefficients), -1)
        places.append(by_fit.argmax(axis=2) if by_fit.shape[2] > 1 else (by_fit[:, :, 0] > 0).astype(np.int64))
    found: Labels = np.concatenate(places)
    return iter(found.T)


def _softmax(vectors: Matrix, labels: Labels, classes: int) -> Objective:
    """Mean cross-entropy over the classes, and half the squared coefficients over n."""
    n, dim = vectors.shape
    scores = np.empty((n, classes), dtype=np.float32)
    flat = scores.reshape(-1)
    true = np.arange(n) * classes + labels

    def objective(parameters: Vector) -> tuple[float, Vector]:
        coefficients = parameters.reshape(dim + 1, classes)
        np.matmul(vectors, coefficients[:-1], out=scores)
        np.add(scores, coefficients[-1], out=scores)
        np.subtract(scores, scores.max(axis=1, keepdims=True), out=scores)
        of_true = flat[true]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        loss = float(np.sum(np.log(total) - of_true, dtype=np.float64)) / n
        np.divide(scores, (total * np.float32(n))[:, None], out=scores)
        flat[true] -= np.float32(1 / n)
        return _penalised(loss, vectors, scores, coefficients)

    return objective


def _sigmoid(vectors: Matrix, labels: Labels) -> Objective:
    """The same of two classes, with one column of coefficients."""
    n = len(vectors)
    truth = labels.astype(np.float32)

    def objective(parameters: Vector) -> tuple[float, Vector]:
        coefficients = parameters[:, None]
        scores = vectors @ parameters[:-1] + parameters[-1]
        loss = float(np.sum(np.logaddexp(np.float32(0), scores) - truth * scores, dtype=np.float64)) / n
        residuals = (0.5 * (1 + np.tanh(scores / 2)) - truth) / np.float32(n)
        return _penalised(loss, vectors, residuals[:, None], coefficients)

    return objective


def _penalised(loss: float, vectors: Matrix, residuals: Matrix, coefficients: Matrix) -> tuple[float, Vector]:
    """The objective and its gradient, from the mean loss and its derivative `(n, columns)` by each score."""
    n = len(vectors)
    gradient = np.empty_like(coefficients)
    np.matmul(vectors.T, residuals, out=gradient[:-1])
    gradient[-1] = residuals.sum(axis=0)
    weights = coefficients[:-1].reshape(-1)
    gradient[:-1] += coefficients[:-1] / np.float32(n)
    return loss + 0.5 / n * float(weights @ weights), gradient.reshape(-1)


def minimise(objective: Objective, size: int) -> Vector:
    """The point `(size,)` at which L-BFGS from zero stops."""
    point = np.zeros(size, dtype=np.float32)
    value, gradient = objective(point)
    history = _History(size)
    for step in range(STEPS):
        if np.abs(gradient).max() <= GRADIENT:
            break
        direction = history.direction(gradient)
        found = _search(objective, point, direction, value, gradient, first=step == 0)
        if found is None and history.order:  # as scipy does: forget the pairs, and go down the gradient
            history = _History(size)
            direction = -gradient
            found = _search(objective, point, direction, value, gradient, first=False)
        if found is None:
            break
        length, new_value, new_gradient = found
        moved, change = np.float32(length) * direction, new_gradient - gradient
        if float(moved @ change) > np.finfo(float).eps * -float(gradient @ moved):
            history.add(moved, change)
        fell = value - new_value
        enough = DECREASE * max(abs(value), abs(new_value), 1.0)
        point, value, gradient = point + moved, new_value, new_gradient
        if fell <= enough:
            break
    return point


def _search(
    objective: Objective, point: Vector, direction: Vector, value: float, gradient: Vector, first: bool
) -> tuple[float, float, Vector] | None:
    """The step along `direction`, the value and the gradient there; None where none goes down."""
    slope = float(gradient @ direction)
    length = 1 / float(np.linalg.norm(direction)) if first else 1.0
    search = DCSRCH(None, None, *SEARCH)
    length, *_, task = search._iterate(length, value, slope, b"START")
    for _ in range(EVALUATIONS):
        if task[:2] != b"FG":
            return None
        new_value, new_gradient = objective(point + np.float32(length) * direction)
        length, *_, task = search._iterate(length, new_value, float(new_gradient @ direction), task)
        if task[:4] in (b"CONV", b"WARN"):
            return length, new_value, new_gradient
    return None


class _History:
    """The last steps taken and the changes of the gradient over them, a row each; `order`: rows, oldest first."""

    def __init__(self, size: int) -> None:
        self.steps = np.zeros((PAIRS, size), dtype=np.float32)
        self.changes = np.zeros((PAIRS, size), dtype=np.float32)
        self.step_change = np.zeros((PAIRS, PAIRS))
        self.change_change = np.zeros((PAIRS, PAIRS))
        self.order: list[int] = []

    def add(self, step: Vector, change: Vector) -> None:
        row = len(self.order) if len(self.order) < PAIRS else self.order.pop(0)
        self.order.append(row)
        self.steps[row], self.changes[row] = step, change
        known = len(self.order)
        self.step_change[:known, row] = self.steps[:known] @ change
        self.change_change[:known, row] = self.change_change[row, :known] = self.changes[:known] @ change

    def direction(self, gradient: Vector) -> Vector:
        """Minus the inverse Hessian, as the pairs have it, times the gradient."""
        if not self.order:
            return -gradient
        known, newest = len(self.order), self.order[-1]
        rows = np.array(self.order)
        ordered = rows[:, None], rows  # oldest first; of `upper` nobody reads what is below the diagonal
        upper = self.step_change[ordered]
        squares = self.change_change[ordered]
        scale = float(self.step_change[newest, newest] / self.change_change[newest, newest])
        along, across = (self.steps[:known] @ gradient)[self.order], (self.changes[:known] @ gradient)[self.order]
        inner, singular = dtrtrs(upper, along)
        if singular:
            return -gradient
        outer = upper.diagonal() * inner + scale * (squares @ inner - across)
        of_steps, of_changes = np.zeros(known, dtype=np.float32), np.zeros(known, dtype=np.float32)
        of_steps[self.order] = dtrtrs(upper, outer, trans=1)[0]
        of_changes[self.order] = -scale * inner
        found: Vector = -np.float32(scale) * gradient
        found -= of_steps @ self.steps[:known]
        found -= of_changes @ self.changes[:known]
        return found
