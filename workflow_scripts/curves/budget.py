"""What training buys: the share kept against the training budget, and the difference to a rotation in and out of domain.

Takes frontier.parquet, differences.parquet and summary.json; leaves two tables, which budget_figures.py and the report draw.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from workflow_scripts.curves.indexes import ANY
from workflow_scripts.curves.kinds import kinds, steps_of
from workflow_scripts.curves.schemas import MEAN, MEAN_INSIDE, MEAN_OUTSIDE, REFERENCE, rising
from workflow_scripts.curves.summary import Answer

SHARES_OF_BYTES = (48, 24, 12)  # a panel each: the full width's bytes divided by these
BUDGET_SCHEMA: dict[str, Any] = {
    "task_type": pl.String,
    "bytes": pl.Float64,
    "kind": pl.String,
    "variant": pl.String,
    "steps": pl.Int64,
    "seeds": pl.Int64,
    "choice": pl.String,
    "share": pl.Float64,
    "share_low": pl.Float64,
    "share_high": pl.Float64,
}


def frontiers_of_models(frontier: pl.DataFrame) -> pl.DataFrame:
    """The frontiers by bytes in memory without re-scoring, as shares of the reference's full width."""
    return frontier.filter((pl.col("of") == REFERENCE) & (pl.col("engine") == ANY) & (pl.col("resource") == "memory"))


def budget_table(frontier: pl.DataFrame, answer: Answer) -> pl.DataFrame:
    """BUDGET_SCHEMA: for some numbers of bytes, the best that each model keeps within them, as a share of the reference's full width,
    by the training steps of the model and its ancestors."""
    steps = steps_of(answer.models)
    rows: list[dict[str, Any]] = []
    shown = frontiers_of_models(frontier)
    for task_type, reference in answer.reference.items():
        of_type = shown.filter(pl.col("task_type") == task_type)
        full = next(iter(of_type.filter(pl.col("scope") == reference)["full_bytes"]), 0.0)
        for part in SHARES_OF_BYTES:
            for kind, members in kinds(answer.models).items():
                for model in members:
                    points = rising(of_type.filter((pl.col("scope") == model.name) & (pl.col("bytes") <= full / part)))
                    if points.is_empty():
                        continue
                    best = points.row(-1, named=True)
                    rows.append(
                        {
                            "task_type": task_type,
                            "bytes": full / part,
                            "kind": kind,
                            "variant": model.name,
                            "steps": steps[model.name],
                            "seeds": answer.seeds.get(model.name),
                            **{name: best[name] for name in ("choice", "share", "share_low", "share_high")},
                        }
                    )
    return pl.DataFrame(rows, schema=BUDGET_SCHEMA)


def domains_table(differences: pl.DataFrame, answer: Answer) -> pl.DataFrame:
    """Paired differences, in float32, of each model to a rotation of the reference, with the training steps of its line; in domain
    and out of it where a task type has both, else over all of its tasks."""
    kind_of = {model.name: kind for kind, members in kinds(answer.models).items() for model in members}
    steps = steps_of(answer.models)
    rotations = {m.name: m.parent for m in answer.models if m.rotated and not m.trained}
    parts = []
    for task_type, reference in answer.reference.items():
        against = [name for name, parent in rotations.items() if parent == reference]
        shown = differences.filter(
            (pl.col("task_type") == task_type) & pl.col("first").is_in(list(kind_of)) & pl.col("second").is_in(against)
        )
        sides = shown.filter(pl.col("task").is_in([MEAN_INSIDE, MEAN_OUTSIDE]))
        parts.append(shown.filter(pl.col("task") == MEAN) if sides.is_empty() else sides)
    table = pl.concat(parts) if parts else differences.clear()
    first = pl.col("first")
    return table.select(
        "task_type",
        "task",
        first.replace_strict(kind_of, default=None, return_dtype=pl.String).alias("kind"),
        first.alias("variant"),
        first.replace_strict(steps, default=None, return_dtype=pl.Int64).alias("steps"),
        first.replace_strict(answer.seeds, default=None, return_dtype=pl.Int64).alias("seeds"),
        pl.col("second").alias("against"),
        *("dim", "difference", "low", "high", "verdict"),
    )
