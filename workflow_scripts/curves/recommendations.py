"""The smallest dimension that keeps a share of the full width, per model and mean over tasks.

Takes the points of the curves and the samples that they are made from; leaves the summary's recommendations, each with
what it keeps once its choice is accounted for (winner.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from workflow_scripts.curves import winner
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.schemas import MEANS, is_prefix, number
from workflow_scripts.curves.summary import Recommendation

SHARES = (0.99, 0.98, 0.95, 0.90)


def recommendations(curves: pl.DataFrame, means: list[Group], confidence: float) -> list[Recommendation]:
    """The smallest prefix dimension that keeps each share: with confidence, by the estimate, and with confidence once
    the score of guessing is taken off (None where that is not known). `means`: the groups that `curves` has means of."""
    rows = []
    groups = {(group.task_type, group.task): group for group in means}
    points = curves.filter(pl.col("task").is_in(MEANS) & is_prefix())
    for (model, task_type, task), part in points.group_by(["variant", "task_type", "task"], maintain_order=True):
        dims = part["dim"].to_list()
        width = max(dims)
        candidates = prefixes(groups[str(task_type), str(task)], str(model), confidence)
        bytes_of = dict(zip(dims, part["bytes"], strict=True))
        low, value, above = (
            part[column].fill_null(float("nan")).to_numpy()
            for column in ("share_low", "share", "share_above_chance_low")
        )
        for wanted in SHARES:
            dim = smallest_dimension(dims, low, wanted)
            kept = winner.smallest(candidates, wanted)
            rows.append(
                Recommendation(
                    variant=str(model),
                    task_type=str(task_type),
                    task=str(task),
                    share=wanted,
                    dim=dim,
                    dim_by_estimate=smallest_dimension(dims, value, wanted),
                    dim_above_chance=smallest_dimension(dims, above, wanted),
                    full_width=width,
                    bytes=None if dim is None else bytes_of[dim],
                    full_bytes=bytes_of[width],
                    kept=None if kept is None else number(kept.corrected),
                    kept_low=None if kept is None else number(kept.low),
                    kept_high=None if kept is None else number(kept.high),
                )
            )
    return rows


def prefixes(group: Group, model: str, confidence: float) -> winner.Candidates:
    """The shares that a model's prefixes keep, in rising dimension."""
    sample = group.pick(model, list(group.curve(model).values()))
    full = group.pick(model, [cell for cell in [group.full_width(model)] if cell is not None])
    return winner.of_share(sample, full, 0.0, confidence)


def smallest_dimension(dims: Sequence[int], kept: npt.NDArray[np.float64], wanted: float) -> int | None:
    """The smallest dimension from which on every larger one also keeps at least `wanted`; None where none does.

    `kept`: (dimensions,); nan keeps nothing.
    """
    answer = None
    for dim, value in sorted(zip(dims, kept, strict=True), reverse=True):
        if not value >= wanted:
            break
        answer = dim
    return answer
