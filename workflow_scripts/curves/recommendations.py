"""The smallest dimension that keeps a share of the full width, per model and mean over tasks.

Takes the points of the curves; leaves the summary's recommendations, each with what it keeps. Dimensions are tried from the
largest down to the first that fails, so their number needs no correction (see `winner.fewest`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from workflow_scripts.curves.schemas import MEANS, is_prefix
from workflow_scripts.curves.summary import Recommendation

SHARES = (0.99, 0.98, 0.95, 0.90)


def recommendations(curves: pl.DataFrame) -> list[Recommendation]:
    """The smallest prefix dimension that keeps each share: with confidence, by the estimate, and with confidence once
    the score of guessing is taken off (None where that is not known)."""
    rows = []
    points = curves.filter(pl.col("task").is_in(MEANS) & is_prefix())
    for (model, task_type, task), part in points.group_by(["variant", "task_type", "task"], maintain_order=True):
        dims = part["dim"].to_list()
        width = max(dims)
        points_of = {row["dim"]: row for row in part.iter_rows(named=True)}
        low, value, above = (
            part[column].fill_null(float("nan")).to_numpy()
            for column in ("share_low", "share", "share_above_chance_low")
        )
        for wanted in SHARES:
            dim = smallest_dimension(dims, low, wanted)
            kept = {} if dim is None else points_of[dim]
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
                    bytes=kept.get("bytes"),
                    full_bytes=points_of[width]["bytes"],
                    kept=kept.get("share"),
                    kept_low=kept.get("share_low"),
                    kept_high=kept.get("share_high"),
                )
            )
    return rows


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
