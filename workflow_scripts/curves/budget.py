"""What training buys beside what needs none: within some numbers of bytes, and at each number of dimensions in float32.

Takes the groups with their samples; leaves the rows of budget.parquet and of domains.parquet. budget_figures.py and the report draw
both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from workflow_scripts.curves import winner
from workflow_scripts.curves.comparisons import verdict_columns
from workflow_scripts.curves.frontier import Candidate, Shares, candidates_of
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.indexes import ANY
from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.kinds import kinds, lines, steps_of
from workflow_scripts.curves.schemas import MEAN, MEAN_INSIDE, MEAN_OUTSIDE, REFERENCE, number
from workflow_scripts.curves.summary import ModelEntry
from workflow_scripts.study.sections.intervals import Intervals

DIFFERENCE = ("difference", "low", "high")
# A panel each: the full width's bytes divided by these. All coordinates at 1 bit are a 32nd of them, at 4 bits an 8th.
SHARES_OF_BYTES = (192, 32, 8)


def frontiers_of_models(frontier: pl.DataFrame) -> pl.DataFrame:
    """The frontiers by bytes in memory without re-scoring, as shares of the reference's full width."""
    return frontier.filter((pl.col("of") == REFERENCE) & (pl.col("engine") == ANY) & (pl.col("resource") == "memory"))


class Panel(NamedTuple):
    """What all models choose from at one size: a number of bytes, or of dimensions."""

    size: float
    candidates: list[Candidate]


class Panels(NamedTuple):
    """The panels of one table: the column of their sizes, and the score that its differences are shares of (1: they are scores)."""

    column: str
    over: float
    panels: list[Panel]


def byte_panels(group: Group, reference: str) -> Panels:
    """Of budget.parquet: all that takes at most some numbers of bytes."""
    codecs = candidates_of(group, list(group.cells), ANY, "memory")
    full, score = _full_width(group, reference)
    sizes = [group.codecs[full].bytes / part for part in SHARES_OF_BYTES]
    return Panels("bytes", score, [Panel(size, [codec for codec in codecs if codec.size <= size]) for size in sizes])


def dimension_panels(group: Group, reference: str) -> Panels:
    """Of domains.parquet: each number of first coordinates in float32."""
    curves = {name: group.curve(name) for name in group.cells}
    panels = [
        Panel(dim, [Candidate(name, curve[dim], dim) for name, curve in curves.items() if dim in curve])
        for dim in curves[reference]
    ]
    return Panels("dim", 1.0, panels)


def _full_width(group: Group, reference: str) -> tuple[str, float]:
    """The codec of the reference's full width, and its score."""
    full = group.full_width(reference)
    assert full is not None, f"{reference}: no full width"
    return full, float(group.pick(reference, [full]).score.mean())


def rows_beside_the_free(
    group: Group,
    shares: Shares,
    reference: str,
    models: list[ModelEntry],
    trained: Collection[str],
    intervals: Intervals,
    table: Panels,
) -> list[dict[str, Any]]:
    """A row for each panel and model: its best choice, as a share of the reference's full width; and of models made from the reference
    with training, by how much more than the best of those without, paired. Verdicts are corrected for all rows together. `trained`:
    the models of which another seed, or draw of pairs, would be another model."""
    steps, line_of = steps_of(models), lines(models)
    _, full_score = _full_width(group, reference)
    of_reference = [name for name in group.cells if line_of[name][0].name == reference and group.full_width(name)]
    free = [name for name in of_reference if name not in trained]
    rows: list[dict[str, Any]] = []
    found: list[Estimate] = []
    compared: list[dict[str, Any]] = []
    larger: list[float] = []
    of_kind = kinds(models)
    for panel in table.panels:
        beside = shares.best([c for c in panel.candidates if c.model in free], reference)
        for kind, members in of_kind.items():
            for name in [member.name for member in members if group.full_width(member.name)]:
                best = shares.best([c for c in panel.candidates if c.model == name], reference)
                if best is None:
                    continue
                chosen, point = best
                row: dict[str, Any] = {
                    "task_type": group.task_type,
                    "task": group.task,
                    table.column: panel.size,
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
                larger.append(full_score * max(point.value, other.value))
    if compared:
        joined = Estimate(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        for row, columns in zip(compared, verdict_columns(joined, np.array(larger), intervals), strict=True):
            row |= columns
            row |= {name: number(columns[name] / table.over) for name in DIFFERENCE if columns[name] is not None}
    return rows


def sides_of(table: pl.DataFrame) -> pl.DataFrame:
    """Of domains.parquet the rows in domain and out of it where a task type has both, else those over all of its tasks."""
    split = table.filter(pl.col("task").is_in([MEAN_INSIDE, MEAN_OUTSIDE]))["task_type"].unique()
    return table.filter((pl.col("task") != MEAN) | ~pl.col("task_type").is_in(split.implode()))
