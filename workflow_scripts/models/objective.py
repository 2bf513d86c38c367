"""The objective: in-batch contrastive loss with hard negatives, at one dimension or at many together.

Takes the embeddings of a batch's distinct texts and which of them are query, positive and negative of each row;
leaves the loss and its value per dimension. Two objectives, both cross-entropies over cosine / temperature:

- `instructor` (Su et al. 2022, arXiv 2212.09741, and its train.py): q_i to {p_i, all n_j}, plus p_i to {q_i, all
  other q_j};
- `mnr`: MultipleNegativesRanking (Henderson et al. 2017, arXiv 1705.00652) with hard negatives: q_i to {all p_j,
  all n_j}.

Nested (Kusupati et al. 2022, arXiv 2205.13147): the weighted sum of the loss at each prefix of the coordinates,
renormalised. Dot products and squared norms grow block by block, so the whole list costs one pass over the widest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ObjectiveName = Literal["instructor", "mnr"]


@dataclass(frozen=True)
class Objective:
    """What a training minimises.

    `nesting`: the dimensions trained together, rising; `weights`: one each. With `distillation` above 0, each prefix is
    also pulled to the full width: weight x KL(full width's softmax, held fixed, || the prefix's), over the same candidates.
    With `spread_out` above 0, each prefix adds weight x how far the cosines of unrelated texts are from those of random
    directions (the global orthogonal regulariser: Zhang et al. 2017, arXiv 1708.06320, equation 5).
    """

    name: ObjectiveName
    nesting: tuple[int, ...]
    weights: tuple[float, ...]
    temperature: float
    distillation: float = 0.0
    spread_out: float = 0.0


@dataclass(frozen=True)
class Rows:
    """Which texts a batch's rows are made of, and the false-negative masks.

    query, positive, negative: `(rows,)` int64, places in the batch's distinct texts.
    query_false_negatives: `(rows, 2 rows)` bool over [all positives, all negatives], or None where nothing is masked.
    positive_false_negatives: `(rows, rows)` bool over all queries, or None.
    """

    query: Tensor
    positive: Tensor
    negative: Tensor
    query_false_negatives: Tensor | None = None
    positive_false_negatives: Tensor | None = None


def prefix_cosines(left: Tensor, right: Tensor, nesting: Sequence[int]) -> list[Tensor]:
    """Cosines `(n, m)` of the prefixes of `left (n, width)` and `right (m, width)`, for each dimension of `nesting`.

    `nesting` rises. Each block of coordinates is multiplied once; its products and squares are added to those of
    the narrower prefix.
    """
    cosines = []
    dots = left.new_zeros(len(left), len(right))
    left_squares, right_squares = left.new_zeros(len(left)), right.new_zeros(len(right))
    start = 0
    for dimension in nesting:
        a, b = left[:, start:dimension], right[:, start:dimension]
        dots = dots + a @ b.T
        left_squares = left_squares + a.square().sum(1)
        right_squares = right_squares + b.square().sum(1)
        norms = left_squares.clamp_min(1e-24).sqrt()[:, None] * right_squares.clamp_min(1e-24).sqrt()
        cosines.append(dots / norms)
        start = dimension
    return cosines


def contrastive_loss(embeddings: Tensor, rows: Rows, objective: Objective) -> tuple[Tensor, Tensor]:
    """The loss of a batch, and `(len(nesting),)` its contrastive part per dimension, before weights.

    `embeddings` is `(texts, width)`, not normalised.
    """
    queries, positives, negatives = (embeddings[i] for i in (rows.query, rows.positive, rows.negative))
    cosines = prefix_cosines(queries, torch.cat([positives, negatives]), objective.nesting)
    per_dimension = []
    total = embeddings.new_zeros(())
    full = [logits.detach() for logits in _logits(cosines[-1] / objective.temperature, rows, objective.name)[0]]
    for place, (cosine, weight) in enumerate(zip(cosines, objective.weights, strict=True)):
        logits, targets = _logits(cosine / objective.temperature, rows, objective.name)
        loss = torch.stack([functional.cross_entropy(x, t) for x, t in zip(logits, targets, strict=True)]).sum()
        per_dimension.append(loss.detach())
        total = total + weight * loss
        if objective.distillation > 0 and place < len(cosines) - 1:
            pulled = torch.stack([_divergence(f, x) for f, x in zip(full, logits, strict=True)]).sum()
            total = total + objective.distillation * weight * pulled
        if objective.spread_out > 0:
            total = total + objective.spread_out * weight * _spread(cosine, objective.nesting[place], rows)
    return total, torch.stack(per_dimension)


def _logits(scores: Tensor, rows: Rows, name: ObjectiveName) -> tuple[list[Tensor], list[Tensor]]:
    """The softmaxes of an objective, as logits and the place of the right answer in each.

    `scores (rows, 2 rows)`: each query against [all positives, all negatives]. A row's own positive is never masked.
    """
    count = scores.shape[0]
    own = torch.arange(count, device=scores.device)
    candidates = (
        scores if rows.query_false_negatives is None else scores.masked_fill(rows.query_false_negatives, float("-inf"))
    )
    if name == "mnr":
        return [candidates], [own]
    to_query = scores[:, :count].T
    forward = torch.cat([to_query.diagonal()[:, None], candidates[:, count:]], dim=1)
    backward = (
        to_query
        if rows.positive_false_negatives is None
        else to_query.masked_fill(rows.positive_false_negatives, float("-inf"))
    )
    return [forward, backward], [torch.zeros_like(own), own]


def _spread(cosines: Tensor, dimension: int, rows: Rows) -> Tensor:
    """Of the cosines `(rows, 2 rows)` of queries with other rows' positives and negatives: their mean, squared, and the mean of
    their squares above 1 / dimension, which random directions have. 0 where all of these are related."""
    count = len(cosines)
    related = torch.eye(count, dtype=torch.bool, device=cosines.device).repeat(1, 2)
    if rows.query_false_negatives is not None:
        related = related | rows.query_false_negatives
    unrelated = cosines[~related]
    if not len(unrelated):  # whose mean is no number
        return cosines.new_zeros(())
    return unrelated.mean().square() + (unrelated.square().mean() - 1 / dimension).clamp_min(0)


def _divergence(full: Tensor, prefix: Tensor) -> Tensor:
    """KL(softmax(full) || softmax(prefix)), mean over rows; masked candidates (-inf in both) add nothing."""
    target = functional.softmax(full, dim=1)
    difference = functional.log_softmax(full, dim=1) - functional.log_softmax(prefix, dim=1)
    return torch.where(target > 0, target * difference, torch.zeros_like(target)).sum(1).mean()
