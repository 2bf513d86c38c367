"""What training buys: the best within some numbers of bytes, by training budget, beside what needs no training.

Takes the groups with their samples; leaves the rows of budget.parquet. Takes differences.parquet and the summary; leaves the
differences to a rotation in float32, in and out of domain. budget_figures.py and the report draw both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.curves import winner
from workflow_scripts.curves.comparisons import verdict_columns
from workflow_scripts.curves.frontier import Shares, candidates_of
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.indexes import ANY
from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.kinds import kinds, lines, steps_of
from workflow_scripts.curves.schemas import MEAN, MEAN_INSIDE, MEAN_OUTSIDE, REFERENCE, number
from workflow_scripts.curves.summary import Answer, ModelEntry
from workflow_scripts.study.sections.intervals import Intervals

# A panel each: the full width's bytes divided by these. All coordinates at 1 bit are a 32nd of them, at 4 bits an 8th.
SHARES_OF_BYTES = (192, 32, 8)


def frontiers_of_models(frontier: pl.DataFrame) -> pl.DataFrame:
    """The frontiers by bytes in memory without re-scoring, as shares of the reference's full width."""
    return frontier.filter((pl.col("of") == REFERENCE) & (pl.col("engine") == ANY) & (pl.col("resource") == "memory"))


def budget_rows(
    group: Group,
    shares: Shares,
    reference: str,
    models: list[ModelEntry],
    trained: Collection[str],
    intervals: Intervals,
) -> list[dict[str, Any]]:
    """BUDGET_SCHEMA: for some numbers of bytes, the best that each model keeps within them, as a share of the reference's full width;
    and, of models made from the reference with training, by how much more than the best of those without. `trained`: the
    models of which another seed, or draw of pairs, would be another model."""
    steps, line_of = steps_of(models), lines(models)
    full = group.full_width(reference)
    assert full is not None, f"{reference}: no full width"
    full_bytes, full_score = group.codecs[full].bytes, float(group.pick(reference, [full]).score.mean())
    of_reference = [name for name in group.cells if line_of[name][0].name == reference and group.full_width(name)]
    free = candidates_of(group, [name for name in of_reference if name not in trained], ANY, "memory")
    rows: list[dict[str, Any]] = []
    found: list[Estimate] = []
    compared: list[dict[str, Any]] = []
    larger: list[float] = []
    of_kind = kinds(models)
    for size in (full_bytes / part for part in SHARES_OF_BYTES):
        beside = shares.within(free, reference, size)
        for kind, members in of_kind.items():
            for name in [member.name for member in members if group.full_width(member.name)]:
                best = shares.within(candidates_of(group, [name], ANY, "memory"), reference, size)
                if best is None:
                    continue
                chosen, point = best
                row: dict[str, Any] = {
                    "task_type": group.task_type,
                    "task": group.task,
                    "bytes": size,
                    "kind": kind,
                    "variant": name,
                    "steps": steps[name],
                    "seeds": len(group.seeds[name]) if name in trained else None,
                    "choice": chosen.cell,
                    "share": number(point.corrected),
                    "share_low": number(point.low),
                    "share_high": number(point.high),
                }
                rows.append(row)
                if name not in trained or name not in of_reference or beside is None:
                    continue
                untrained, other = beside
                samples = group.pick(name, [chosen.cell]), group.pick(untrained.model, [untrained.cell])
                found.append(winner.difference(point, other, samples, full_score, intervals.confidence))
                row |= {"free": untrained.model, "free_choice": untrained.cell}
                compared.append(row)
                larger.append(max(point.value, other.value))
    if compared:
        joined = Estimate(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        for row, columns in zip(compared, verdict_columns(joined, np.array(larger), intervals), strict=True):
            row |= columns
    return rows


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
        *("dim", "difference", "low", "high", "p_corrected", "verdict"),
    )
