"""How a linear adaptor is learned on frozen embeddings of training pairs, and how its penalty is chosen.

Takes frozen pairs and an objective; leaves a matrix. It starts at the principal axes and minimises the nested contrastive loss
of models (objective.py) under a penalty. How many steps and which penalty is chosen on training tasks that are held out
whole; where none of them gains on the rotation, the rotation is what is left. After Matryoshka-Adaptor (Yoon et al. 2024,
arXiv 2407.20243), supervised and linear.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workflow_scripts import artefact
from workflow_scripts.models.batches import account
from workflow_scripts.models.frozen import FrozenPairs
from workflow_scripts.models.objective import Objective, Rows, contrastive_loss, prefix_cosines
from workflow_scripts.models.parameters import learning_rate
from workflow_scripts.study.sections.adaptor import Adaptor

FOLDS = 3  # parts of the training tasks, each held out once
HELD_OUT_ROWS = 2048  # of a held-out task; with 512 the choice depends on the seed
QUERIES_AT_ONCE = 256  # ranked together: their cosines stay in the processor's cache
LOOKS = 4  # points of a training at which the held-out tasks are looked at
FULL_WIDTH_LOSS = 0.01  # share of the reciprocal rank at full width that a choice may lose
NEAR_BEST = 0.95  # share of the best gain that makes a more careful choice as good


@dataclass(frozen=True)
class Penalty:
    """What keeps the matrix W near a rotation, per row of it.

    `distance` x the squared distance to where it started; `orthogonality` x the squared deviation of W W' from the identity.
    """

    distance: float = 0.0
    orthogonality: float = 0.0


# From careful to free: of choices that gain nearly as much, the first is taken.
PENALTIES = (Penalty(distance=50.0), Penalty(orthogonality=100.0), Penalty(orthogonality=30.0), Penalty())
FIXED = Penalty(orthogonality=30.0)  # where there is a single task, so that none can be held out


@dataclass(frozen=True)
class Choice:
    """A penalty and the step at which to stop, with what held-out tasks said: mean reciprocal rank less the rotation's,
    over all prefixes and at full width."""

    penalty: Penalty
    steps: int
    gain: float
    gain_at_full_width: float


@dataclass(frozen=True)
class Learned:
    """A matrix `(width, width)` and how it came about: the choices compared (none where a single task left nothing to hold
    out), the one chosen (None: the matrix is the rotation), the loss per dimension of each step, and what all of it took."""

    matrix: Tensor
    tasks: list[str]
    choices: list[Choice]
    chosen: Choice | None
    losses: list[list[float]]
    steps: int
    flops: float


def learn(frozen: FrozenPairs, objective: Objective, recipe: Adaptor, seed: int) -> Learned:
    """Choose penalty and steps on held-out tasks, then learn the matrix on all of them."""
    accounting = account(frozen.rows_by_task, recipe.batch)
    tasks = [name for name in frozen.rows_by_task if name not in accounting.left_out]
    start = uncentred_axes(frozen.vectors)
    learner = Learner(frozen, objective, recipe, seed, start)
    choices: list[Choice] = []
    chosen: Choice | None = Choice(FIXED, recipe.steps, 0.0, 0.0)
    if len(tasks) > 1:
        choices = compared(learner, tasks)
        chosen = choose(choices, float(learner.reciprocal_ranks(start, tasks)[:, -1].mean()))
    matrix, losses = start, []
    if chosen is not None:
        for _, learned, per_dimension in itertools.islice(learner.train(tasks, chosen.penalty), chosen.steps):
            matrix = learned
            losses.append([float(value) for value in per_dimension])
    return Learned(matrix, tasks, choices, chosen, losses, learner.steps, learner.flops)


class Learner:
    """Learns matrices on one set of frozen pairs; counts the steps and floating-point operations of all of them."""

    def __init__(self, frozen: FrozenPairs, objective: Objective, recipe: Adaptor, seed: int, start: Tensor) -> None:
        self.frozen, self.objective, self.recipe, self.seed, self.start = frozen, objective, recipe, seed, start
        self.steps, self.flops = 0, 0.0

    def train(self, tasks: list[str], penalty: Penalty) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(step, the matrix `(width, width)` after it, the loss per dimension) of each step, on these tasks' pairs."""
        matrix = self.start.clone().requires_grad_()
        identity = torch.eye(len(matrix), device=matrix.device)
        optimizer = torch.optim.Adam([matrix], lr=self.recipe.learning_rate)
        batches = self.frozen.batches(tasks, self.recipe.batch, self.seed)
        for step, (vectors, rows) in enumerate(itertools.islice(batches, self.recipe.steps), start=1):
            loss, per_dimension = contrastive_loss(vectors @ matrix.T, rows, self.objective)
            if penalty.distance:
                loss = loss + penalty.distance * (matrix - self.start).square().sum() / len(matrix)
            if penalty.orthogonality:
                deviation = (matrix @ matrix.T - identity).square().sum() / len(matrix)
                loss = loss + penalty.orthogonality * deviation
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, self.recipe.steps, self.recipe.learning_rate, warmup=0.0)
            optimizer.step()
            self.steps += 1
            self.flops += step_flops(len(vectors), len(rows.query), len(matrix))
            yield step, matrix.detach(), per_dimension

    @torch.no_grad()
    def reciprocal_ranks(self, matrix: Tensor, tasks: list[str]) -> np.ndarray:
        """`(rows, len(nesting))`: 1 / the rank of each query's positive among the task's positives and hard negatives."""
        found = []
        for name in tasks:
            rows = np.random.default_rng(0).permutation(self.frozen.rows_by_task[name])[:HELD_OUT_ROWS]
            vectors, places = self.frozen.batch(rows)
            found.append(_reciprocal_ranks(vectors @ matrix.T, places, self.objective.nesting))
        return np.concatenate(found)


def _reciprocal_ranks(embeddings: Tensor, rows: Rows, nesting: tuple[int, ...]) -> np.ndarray:
    candidates = torch.cat([embeddings[rows.positive], embeddings[rows.negative]])
    place = torch.arange(len(rows.query), device=embeddings.device)[:, None]  # of a query's own positive
    ranks = []
    for first in range(0, len(rows.query), QUERIES_AT_ONCE):
        some = slice(first, first + QUERIES_AT_ONCE)
        by_prefix = []
        for cosines in prefix_cosines(embeddings[rows.query[some]], candidates, nesting):
            own = cosines.gather(1, place[some])
            masked = rows.query_false_negatives
            scores = cosines if masked is None else cosines.masked_fill(masked[some], -2)
            # Not `scores > own`: by it, a matrix whose similarities are no numbers would rank every positive first.
            by_prefix.append(1 / (1 + (~(scores <= own)).sum(1)))
        ranks.append(torch.stack(by_prefix, dim=1))
    return torch.cat(ranks).cpu().numpy()


def uncentred_axes(vectors: Tensor) -> Tensor:
    """The principal axes `(width, width)` of `(texts, width)` embeddings about the origin, largest first: of all
    rotations, the one whose prefixes keep most of all inner products."""
    normalised = torch.nn.functional.normalize(vectors)
    _, axes = np.linalg.eigh((normalised.T @ normalised).double().cpu().numpy() / len(vectors))
    ordered = axes.T[::-1]
    largest = ordered[np.arange(len(ordered)), np.abs(ordered).argmax(axis=1)]
    return torch.from_numpy((ordered * np.sign(largest)[:, None]).astype(np.float32)).to(vectors.device)


def folds_of(tasks: list[str], sizes: dict[str, int]) -> list[list[str]]:
    """The tasks in at most `FOLDS` parts of about as many rows each."""
    folds: list[list[str]] = [[] for _ in range(min(FOLDS, len(tasks)))]
    for name in sorted(tasks, key=lambda task: (-sizes[task], task)):
        min(folds, key=lambda fold: sum(sizes[task] for task in fold)).append(name)
    return folds


def compared(learner: Learner, tasks: list[str]) -> list[Choice]:
    """Every penalty at every look, by the mean over folds of what the held-out tasks gain."""
    sizes = {name: len(rows) for name, rows in learner.frozen.rows_by_task.items()}
    folds = folds_of(tasks, sizes)
    looks = sorted({max(1, learner.recipe.steps * look // LOOKS) for look in range(1, LOOKS + 1)})
    gains: dict[tuple[Penalty, int], list[np.ndarray]] = {}
    with artefact.Progress("choose the penalty", len(folds) * len(PENALTIES), "trainings") as progress:
        for held_out in folds:
            rotation = learner.reciprocal_ranks(learner.start, held_out).mean(0)
            others = [name for name in tasks if name not in held_out]
            for penalty in PENALTIES:
                for step, matrix, _ in learner.train(others, penalty):
                    if step in looks:
                        gain = learner.reciprocal_ranks(matrix, held_out).mean(0) - rotation
                        gains.setdefault((penalty, step), []).append(gain)
                progress.add(1)
    means = {key: np.mean(values, axis=0) for key, values in gains.items()}
    return [
        Choice(penalty, step, float(mean.mean()), float(mean[-1]))
        for penalty in PENALTIES
        for step in reversed(looks)  # an early stop leaves the rate high, so it must gain clearly more
        for mean in [means[penalty, step]]
    ]


def choose(choices: list[Choice], at_full_width: float) -> Choice | None:
    """The most careful of the choices that gain nearly as much as the best; None where none gains.

    A choice that loses more than a hundredth of the reciprocal rank `at_full_width` does not count.
    """
    allowed = [c for c in choices if c.gain_at_full_width >= -FULL_WIDTH_LOSS * at_full_width]
    best = max((choice.gain for choice in allowed), default=0.0)
    if best <= 0:
        return None
    return next(choice for choice in allowed if choice.gain >= NEAR_BEST * best)


def step_flops(texts: int, rows: int, width: int) -> float:
    """Floating-point operations of a step's products: forward and twice that backward; the penalties' are in it."""
    return 3.0 * (2.0 * texts * width**2 + 4.0 * rows**2 * width) + 6.0 * width**3
