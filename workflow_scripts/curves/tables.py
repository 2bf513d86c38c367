"""The room's tables: a row per point of a curve, per paired difference, per area under a curve.

Takes groups with their samples; leaves rows for curves.parquet and differences.parquet, and the summary's areas.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workflow_scripts.curves import population, power, resampling
from workflow_scripts.curves.comparisons import Pair, verdict_columns
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.intervals import (
    Estimate,
    Variance,
    difference,
    level,
    seeds_counted,
    share,
    variance_of_difference,
)
from workflow_scripts.curves.schemas import MEANS, number
from workflow_scripts.curves.summary import Area
from workflow_scripts.study.sections.intervals import Intervals


def curve_rows(group: Group, confidence: float) -> list[dict[str, Any]]:
    """Score and share of full width of every model and codec of the group."""
    rows = []
    for model, cells in group.cells.items():
        sample = group.samples[model]
        score = level(sample, confidence)
        nothing = np.full(len(cells), np.nan)
        kept = above = Estimate(*[nothing] * len(Estimate._fields))
        if (widest := group.full_width(model)) is not None:
            full = group.pick(model, [widest])
            kept = share(sample, full, 0.0, confidence)
            if group.chance is not None:
                above = share(sample, full, group.chance, confidence)
        for i, cell in enumerate(cells):
            if (codec := group.codecs.get(cell)) is None:
                continue  # a search, whose points are on the frontier
            row: dict[str, Any] = {
                "variant": model,
                "task": group.task,
                "task_type": group.task_type,
                "codec": codec.name,
                "transform": codec.transform,
                "dim": codec.dim,
                "precision": codec.precision,
                "queries": codec.queries,
                "bytes": codec.bytes,
                "metric": group.metric,
                "seeds": len(group.seeds[model]),
                "tasks": len(group.members),
                "units": group.units,
            }
            row["few_units"] = bool(population.few_units(kept)[i])
            for name, estimate in (("score", score), ("share", kept), ("share_above_chance", above)):
                for suffix, part in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
                    row[name + suffix] = number(part[i])
            rows.append(row)
    return rows


def difference_rows(group: Group, pairs: list[Pair], intervals: Intervals) -> list[dict[str, Any]]:
    """Paired differences at every prefix dimension both models have, corrected together for their number."""
    rows: list[dict[str, Any]] = []
    estimates: list[Estimate] = []
    larger: list[np.ndarray] = []
    variances: list[Variance] = []
    seeds: list[np.ndarray] = []
    caveats: list[list[str]] = []
    for pair in pairs:
        curve, other = group.curve(pair.first), group.curve(pair.second)
        shared = [dim for dim in curve if dim in other]
        if not shared:
            continue
        cells = [curve[dim] for dim in shared]
        first, second = group.pick(pair.first, cells), group.pick(pair.second, cells)
        estimates.append(difference(first, second, intervals.confidence))
        trained = [len(side.seeds) for side in (first, second) if side.trained]
        caveats += population.of_difference(estimates[-1], group.task_type, group.outcomes, trained)
        larger.append(np.fmax(first.score.mean(1), second.score.mean(1)))
        if group.task in MEANS:  # solved for one by one, and sentences speak of means alone
            variances.append(variance_of_difference(first, second, intervals.confidence))
            seeds.append(np.full(len(shared), seeds_counted(first, second)))
        rows += [
            {
                "question": pair.question,
                "first": pair.first,
                "second": pair.second,
                "task": group.task,
                "task_type": group.task_type,
                "dim": dim,
            }
            for dim in shared
        ]
    if not rows:
        return []
    joined = Estimate(*(np.concatenate(parts) for parts in zip(*estimates, strict=True)))
    decided = verdict_columns(joined, np.concatenate(larger), intervals)
    detectable, units_needed, seeds_needed = (np.full(len(rows), np.nan) for _ in range(3))
    if variances:
        places = [i for i, columns in enumerate(decided) if columns["verdict"] == "unclear"]
        some = Estimate(*(part[places] for part in joined))
        comparisons = max(1, sum(columns["p"] is not None for columns in decided))
        detectable[places] = power.smallest_effect(some, intervals.confidence, comparisons)
        variance = Variance(*(np.concatenate(parts)[places] for parts in zip(*variances, strict=True)))
        counts = (group.units, np.concatenate(seeds)[places])
        asked = power.needed(intervals.margin, variance, *counts, intervals.confidence, comparisons)
        units_needed[places], seeds_needed[places] = asked.units, asked.seeds
    for i, row in enumerate(rows):
        row |= decided[i] | {
            "detectable": number(detectable[i]),
            "units_needed": number(units_needed[i]),
            "seeds_needed": number(seeds_needed[i]),
            "caveats": caveats[i],
        }
    return rows


def area_rows(group: Group, confidence: float) -> list[Area]:
    """Area under score over log2(dimension), per model and family of codecs, divided by the curve's range."""
    rows = []
    for model in group.cells:
        for family in group.families(model):
            curve = group.curve(model, family)
            dims = list(curve)
            sample = group.pick(model, list(curve.values()))
            estimate = level(resampling.area(sample, dims), confidence)
            rows.append(
                Area(
                    variant=model,
                    task=group.task,
                    task_type=group.task_type,
                    transform=family.transform,
                    precision=family.precision,
                    queries=family.queries,
                    from_dim=dims[0],
                    to_dim=dims[-1],
                    area=number(estimate.value[0]),
                    low=number(estimate.low[0]),
                    high=number(estimate.high[0]),
                )
            )
    return rows
