"""The objective equals sentence-transformers' own and a float64 reference written from the formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from torch import Tensor, nn

from workflow_scripts.models.batches import false_negative_masks
from workflow_scripts.models.objective import Objective, Rows, contrastive_loss

COUNT, WIDTH, NESTING, WEIGHTS = 7, 24, [3, 8, 24], [1.0, 0.5, 2.0]


def draw() -> Tensor:
    """Embeddings of 7 queries, 7 positives, 7 negatives, all distinct: `(21, 24)`."""
    return torch.randn(3 * COUNT, WIDTH, generator=torch.Generator().manual_seed(3))


def distinct_rows() -> Rows:
    places = torch.arange(3 * COUNT).reshape(3, COUNT)
    return Rows(places[0], places[1], places[2])


def objective(
    name: Any, nesting: list[int], weights: list[float], temperature: float = 0.05, **options: Any
) -> Objective:
    return Objective(name, tuple(nesting), tuple(weights), temperature, **options)


def loss_and_gradient(embeddings: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    embeddings = embeddings.clone().requires_grad_()
    loss, _ = contrastive_loss(embeddings, distinct_rows(), objective(**options))
    (gradient,) = torch.autograd.grad(loss, embeddings)
    return loss.detach(), gradient


def reference(embeddings: Tensor, name: str, nesting: list[int], weights: list[float]) -> Tensor:
    """The formula, row by row, with python sums over float64 scalars."""
    q, p, n = embeddings.double().reshape(3, COUNT, WIDTH)

    def similarity(a: Tensor, b: Tensor, d: int) -> Tensor:
        scaled: Tensor = (a[:d] @ b[:d]) / (a[:d].norm() * b[:d].norm()) / 0.05
        return scaled

    total = torch.zeros((), dtype=torch.float64)
    for d, weight in zip(nesting, weights, strict=True):
        for i in range(COUNT):
            right = similarity(q[i], p[i], d)
            negatives = [similarity(q[i], n[j], d) for j in range(COUNT)]
            others = [similarity(q[i], p[j], d) for j in range(COUNT) if j != i]
            if name == "mnr":
                candidates = [right, *others, *negatives]
                total = total - weight / COUNT * (right - torch.stack(candidates).logsumexp(0))
            else:
                back = [similarity(p[i], q[j], d) for j in range(COUNT) if j != i]
                for candidates in ([right, *negatives], [right, *back]):
                    total = total - weight / COUNT * (right - torch.stack(candidates).logsumexp(0))
    return total


@pytest.mark.parametrize("name", ["instructor", "mnr"])
@pytest.mark.parametrize(("nesting", "weights"), [([WIDTH], [1.0]), (NESTING, WEIGHTS)], ids=["fixed", "nested"])
def test_loss_and_gradients_equal_the_formula_in_float64(name: Any, nesting: list[int], weights: list[float]) -> None:
    embeddings = draw()
    loss, gradient = loss_and_gradient(embeddings, name=name, nesting=nesting, weights=weights)
    exact = embeddings.double().requires_grad_()
    expected = reference(exact, name, nesting, weights)
    (expected_gradient,) = torch.autograd.grad(expected, exact)
    assert math.isclose(loss.item(), expected.item(), rel_tol=1e-5)
    assert float((gradient - expected_gradient).norm() / expected_gradient.norm()) < 1e-5


class Lookup(nn.Module):
    """Stands where sentence-transformers' losses expect a model: gives back the embeddings that it is handed."""

    def get_embedding_dimension(self) -> int:
        return WIDTH

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["sentence_embedding"]}


@pytest.mark.parametrize("name", ["instructor", "mnr"])
def test_nested_loss_and_gradients_equal_sentence_transformers(name: Any) -> None:
    embeddings = draw()
    loss, gradient = loss_and_gradient(embeddings, name=name, nesting=NESTING, weights=WEIGHTS)
    columns = embeddings.clone().requires_grad_()
    query, positive, negative = columns.reshape(3, COUNT, WIDTH)

    def theirs(*texts: Tensor, **options: Any) -> Tensor:
        model: Any = Lookup()
        inner = MultipleNegativesRankingLoss(model, scale=20.0, **options)
        nested = MatryoshkaLoss(model, inner, matryoshka_dims=NESTING, matryoshka_weights=WEIGHTS)
        result: Tensor = nested([{"sentence_embedding": text} for text in texts], torch.empty(0))
        return result

    if name == "mnr":
        expected = theirs(query, positive, negative)
    else:
        # p_i against q_i and all other q_j, as their own loss with the roles exchanged; q_i against p_i and the
        # negatives alone cannot be asked of theirs: it is what remains of the formula, compared above.
        expected = theirs(positive, query)
        loss, gradient = backward_half(embeddings)
    (expected_gradient,) = torch.autograd.grad(expected, columns)
    assert math.isclose(loss.item(), expected.item(), rel_tol=1e-5)
    assert float((gradient - expected_gradient).norm() / expected_gradient.norm()) < 1e-5


def backward_half(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The instructor objective less its q_i -> {p_i, n_j} half, whose candidates are all masked."""
    places = distinct_rows()
    mask = torch.ones(COUNT, 2 * COUNT, dtype=torch.bool)
    rows = Rows(places.query, places.positive, places.negative, query_false_negatives=mask)
    columns = embeddings.clone().requires_grad_()
    loss, _ = contrastive_loss(columns, rows, objective("instructor", NESTING, WEIGHTS))
    (gradient,) = torch.autograd.grad(loss, columns)
    return loss.detach(), gradient


def test_each_dimension_of_the_log_is_the_loss_at_that_dimension_alone() -> None:
    embeddings = draw()
    options: Any = {"name": "mnr"}
    _, logged = contrastive_loss(embeddings, distinct_rows(), objective(nesting=NESTING, weights=WEIGHTS, **options))
    for d, value in zip(NESTING, logged.tolist(), strict=True):
        alone, _ = contrastive_loss(
            embeddings[:, :d], distinct_rows(), objective(nesting=[d], weights=[1.0], **options)
        )
        assert math.isclose(value, float(alone), rel_tol=1e-5)


def test_a_text_that_answers_the_same_query_in_another_row_is_no_negative() -> None:
    # rows 0 and 1 ask the same question and have different answers; row 2's negative answers row 0's question
    query, positive, negative = np.array([0, 0, 1]), np.array([2, 3, 4]), np.array([5, 6, 2])
    for_query, for_positive = false_negative_masks(query, positive, negative)
    assert for_query is not None
    assert for_positive is not None
    assert for_query.tolist() == [
        [False, True, False, False, False, True],
        [True, False, False, False, False, True],
        [False] * 6,
    ]
    assert for_positive.tolist() == [[False, True, False], [True, False, False], [False] * 3]
    embeddings = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    places = [torch.from_numpy(a) for a in (query, positive, negative)]
    rows = Rows(places[0], places[1], places[2], torch.from_numpy(for_query), torch.from_numpy(for_positive))
    loss, _ = contrastive_loss(embeddings, rows, objective("mnr", [8], [1.0]))
    unit = nn.functional.normalize(embeddings)
    expected = 0.0
    for i, candidates in enumerate([[2, 4, 5, 6], [3, 4, 5, 6], [4, 2, 3, 5, 6, 2]]):
        scores = unit[candidates] @ unit[query[i]] / 0.05
        expected += float(scores.logsumexp(0) - scores[0]) / 3
    assert math.isclose(float(loss), expected, rel_tol=1e-5)


def test_distillation_is_nothing_for_equal_similarities_and_positive_otherwise() -> None:
    options: Any = {"name": "instructor", "nesting": [4, 8], "weights": [1.0, 1.0]}
    half = torch.randn(3 * COUNT, 4, generator=torch.Generator().manual_seed(1))
    same = torch.cat([half, half], dim=1)  # every prefix gives the full width's cosines
    for embeddings, pulls in ((same, False), (draw()[:, :8], True)):
        plain, _ = contrastive_loss(embeddings, distinct_rows(), objective(**options))
        distilled, _ = contrastive_loss(embeddings, distinct_rows(), objective(distillation=1.0, **options))
        assert (float(distilled - plain) > 1e-3) == pulls


def test_distillation_has_finite_gradients_where_candidates_are_masked() -> None:
    places = distinct_rows()
    mask = torch.zeros(COUNT, 2 * COUNT, dtype=torch.bool)
    mask[0, 3] = mask[2, 9] = True
    rows = Rows(places.query, places.positive, places.negative, mask)
    embeddings = draw().requires_grad_()
    loss, _ = contrastive_loss(embeddings, rows, objective("mnr", NESTING, WEIGHTS, distillation=0.5))
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert bool(gradient.isfinite().all())


def test_the_spread_out_regulariser_is_the_formula_on_unrelated_texts_alone() -> None:
    """Mean, squared, and second moment above 1/d, of a query's cosines with other rows' texts (Zhang et al. 2017)."""
    embeddings = draw()
    plain, _ = contrastive_loss(embeddings, distinct_rows(), objective("mnr", [WIDTH], [2.0]))
    spread, _ = contrastive_loss(embeddings, distinct_rows(), objective("mnr", [WIDTH], [2.0], spread_out=3.0))
    q, p, n = nn.functional.normalize(embeddings.double()).reshape(3, COUNT, WIDTH)
    cosines = [float(q[i] @ other[j]) for i in range(COUNT) for j in range(COUNT) if i != j for other in (p, n)]
    expected = np.mean(cosines) ** 2 + max(0.0, float(np.mean(np.square(cosines))) - 1 / WIDTH)
    assert float(spread - plain) == pytest.approx(2.0 * 3.0 * expected, rel=1e-4)


def test_directions_at_random_are_hardly_regularised_and_a_shared_direction_is() -> None:
    rows = Rows(*torch.arange(600).reshape(3, 200))
    random = torch.randn(600, 64, generator=torch.Generator().manual_seed(0))

    def added(embeddings: Tensor) -> float:
        losses = [
            contrastive_loss(embeddings, rows, objective("mnr", [64], [1.0], spread_out=weight))[0]
            for weight in (0.0, 1.0)
        ]
        return float(losses[1] - losses[0])

    assert added(random) < 0.001
    assert added(random + 2.0) > 0.1


@pytest.mark.parametrize(
    ("query", "positive", "negative"), [([0, 0], [1, 2], [2, 1]), ([0], [1], [2])], ids=["all related", "one row"]
)
@pytest.mark.parametrize("name", ["instructor", "mnr"])
def test_a_batch_without_unrelated_texts_is_not_regularised(
    name: Any, query: list[int], positive: list[int], negative: list[int]
) -> None:
    places = [np.array(column) for column in (query, positive, negative)]
    masks = [None if mask is None else torch.from_numpy(mask) for mask in false_negative_masks(*places)]
    rows = Rows(*map(torch.from_numpy, places), *masks)
    embeddings = draw()[:3].requires_grad_()
    found = []
    for weight in (0.0, 1.0):
        loss, _ = contrastive_loss(embeddings, rows, objective(name, NESTING, WEIGHTS, spread_out=weight))
        (gradient,) = torch.autograd.grad(loss, embeddings)
        assert bool(gradient.isfinite().all())
        found.append((loss.item(), gradient))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
