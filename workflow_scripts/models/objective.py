"""The objective: in-batch contrastive loss with hard negatives, at one dimension or at many together.

Takes the embeddings of a batch's distinct texts and which of them are query, positive and negative of each row;
leaves the loss and its value per dimension. Two forms, both cross-entropies over cosine / temperature:

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

Form = Literal["instructor", "mnr"]


@dataclass(frozen=True)
class Rows:
    """Which texts a batch's rows are made of, and which candidates must not count against a row.

    query, positive, negative: `(rows,)` int64, places in the batch's distinct texts.
    not_for_query: `(rows, 2 rows)` bool over [all positives, all negatives], or None where nothing is masked.
    not_for_positive: `(rows, rows)` bool over all queries, or None.
    """

    query: Tensor
    positive: Tensor
    negative: Tensor
    not_for_query: Tensor | None = None
    not_for_positive: Tensor | None = None


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


def contrastive_loss(
    embeddings: Tensor,
    rows: Rows,
    *,
    form: Form,
    nesting: Sequence[int],
    weights: Sequence[float],
    temperature: float,
    distillation: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, and `(len(nesting),)` its contrastive part per dimension, before weights.

    `embeddings` is `(texts, width)`, not normalised. With `distillation` above 0, each prefix is also pulled to the
    full width: weight x KL(full width's softmax, held fixed, || the prefix's), over the same candidates.
    """
    queries, positives, negatives = (embeddings[i] for i in (rows.query, rows.positive, rows.negative))
    cosines = prefix_cosines(queries, torch.cat([positives, negatives]), nesting)
    per_dimension = []
    total = embeddings.new_zeros(())
    full = [logits.detach() for logits in _logits(cosines[-1] / temperature, rows, form)[0]]
    for place, (cosine, weight) in enumerate(zip(cosines, weights, strict=True)):
        logits, targets = _logits(cosine / temperature, rows, form)
        loss = torch.stack([functional.cross_entropy(x, t) for x, t in zip(logits, targets, strict=True)]).sum()
        per_dimension.append(loss.detach())
        total = total + weight * loss
        if distillation > 0 and place < len(cosines) - 1:
            pulled = torch.stack([_divergence(f, x) for f, x in zip(full, logits, strict=True)]).sum()
            total = total + distillation * weight * pulled
    return total, torch.stack(per_dimension)


def _logits(scores: Tensor, rows: Rows, form: Form) -> tuple[list[Tensor], list[Tensor]]:
    """The softmaxes of a form, as logits and the place of the right answer in each.

    `scores (rows, 2 rows)`: each query against [all positives, all negatives]. A row's own positive is never masked.
    """
    count = scores.shape[0]
    own = torch.arange(count, device=scores.device)
    candidates = scores if rows.not_for_query is None else scores.masked_fill(rows.not_for_query, float("-inf"))
    if form == "mnr":
        return [candidates], [own]
    to_query = scores[:, :count].T
    forward = torch.cat([to_query.diagonal()[:, None], candidates[:, count:]], dim=1)
    backward = to_query if rows.not_for_positive is None else to_query.masked_fill(rows.not_for_positive, float("-inf"))
    return [forward, backward], [torch.zeros_like(own), own]


def _divergence(full: Tensor, prefix: Tensor) -> Tensor:
    """KL(softmax(full) || softmax(prefix)), mean over rows; masked candidates (-inf in both) add nothing."""
    target = functional.softmax(full, dim=1)
    difference = functional.log_softmax(full, dim=1) - functional.log_softmax(prefix, dim=1)
    return torch.where(target > 0, target * difference, torch.zeros_like(target)).sum(1).mean()
