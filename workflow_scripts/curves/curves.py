"""The answer: degradation curves with intervals, paired differences, recommendations.

Takes all scores of a study and what every model cost; leaves curves.parquet, curves.csv, differences.parquet and
summary.json. The same files leave the same bytes: nothing is timed here, and costs are as the manifests give them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from workflow_scripts.artefact import atomic_write, log, read_json, write_json
from workflow_scripts.command_line import start_log
from workflow_scripts.curves import compare, statistics
from workflow_scripts.curves.collect import Model, TaskScores, graph_of, missing_scores, read_task
from workflow_scripts.curves.domain import domains_of
from workflow_scripts.curves.statistics import Estimate, Sample
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError
from workflow_scripts.study.sections.intervals import Intervals

BITS = {"float32": 32, "int8": 8, "binary": 1}
COSTS = ("steps", "tokens", "seconds", "flops")
# What stands for a task in a row about several: all of a type, those like the training pairs, the others.
MEAN, MEAN_INSIDE, MEAN_OUTSIDE = "mean", "mean in domain", "mean out of domain"
# Task types whose score is a mean over experiments, each with other training examples; the others': over queries.
EXPERIMENTS = ("Classification", "MultilabelClassification")

CURVES_SCHEMA: dict[str, Any] = {
    "variant": pl.String,
    "task": pl.String,
    "task_type": pl.String,
    "reduction": pl.String,
    "dim": pl.Int64,
    "metric": pl.String,
    "seeds": pl.Int64,
    "tasks": pl.Int64,
    "units": pl.Int64,
    "bytes_per_vector": pl.Float64,
    "score": pl.Float64,
    "score_low": pl.Float64,
    "score_high": pl.Float64,
    "share": pl.Float64,
    "share_low": pl.Float64,
    "share_high": pl.Float64,
    "share_above_chance": pl.Float64,
    "share_above_chance_low": pl.Float64,
    "share_above_chance_high": pl.Float64,
}
DIFFERENCES_SCHEMA: dict[str, Any] = {
    "question": pl.String,
    "first": pl.String,
    "second": pl.String,
    "task": pl.String,
    "task_type": pl.String,
    "dim": pl.Int64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_corrected": pl.Float64,
    "verdict": pl.String,
}


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    study: dict[str, Any]


class Group:
    """What is drawn as one curve per model: a task, or the mean over a type's tasks.

    `samples[model]` holds the model's cells in the order of `cells[model]`.
    """

    def __init__(
        self, task: str, task_type: str, metric: str, chance: float | None, units: int, members: list[str]
    ) -> None:
        self.task, self.task_type, self.metric, self.chance = task, task_type, metric, chance
        self.units, self.members = units, members
        self.cells: dict[str, list[tuple[str, int]]] = {}
        self.seeds: dict[str, list[int]] = {}
        self.samples: dict[str, Sample] = {}

    def pick(self, model: str, cells: list[tuple[str, int]]) -> Sample:
        """The model's sample at these cells, in this order."""
        where = {cell: i for i, cell in enumerate(self.cells[model])}
        return statistics.take(self.samples[model], cells=[where[cell] for cell in cells])

    def dimensions(self, model: str, reduction: str) -> list[int]:
        return sorted(dim for name, dim in self.cells.get(model, []) if name == reduction)


def bytes_per_vector(reduction: str, dimension: int) -> float:
    """Bytes that one stored vector takes: `<cut>` in float32, `<cut>:int8`, `<cut>:binary`."""
    _, _, precision = reduction.partition(":")
    return float(np.ceil(dimension * BITS.get(precision or "float32", 32) / 8))


def group_of_task(scores: TaskScores, intervals: Intervals, place: int) -> Group:
    group = Group(scores.task, scores.task_type, scores.metric, scores.chance, scores.units, [scores.task])
    for model, cells in scores.cells.items():
        values = scores.values[model]
        if values is None:
            values = np.empty((*scores.score[model].shape, 0), np.float32)
        group.cells[model], group.seeds[model] = cells, scores.seeds[model]
        # The seed names the task's place in the study, so that tasks are independent and models are not.
        group.samples[model] = statistics.resample_parts(
            values, scores.score[model], scores.parts, intervals.resamples, [intervals.seed, place]
        )
    return group


def group_of_tasks(name: str, task_type: str, groups: list[Group]) -> Group | None:
    """The mean over tasks; each model under the seeds that have them all.

    Where scores are missing: over the tasks and the models of the largest block without a gap.
    """
    shared, models = largest_block(groups)
    if not shared:
        return None
    metrics = {group.metric for group in shared}
    chances = [group.chance for group in shared]
    chance = None if None in chances else float(np.mean([c for c in chances if c is not None]))
    mean = Group(
        name,
        task_type,
        metrics.pop() if len(metrics) == 1 else "mean of main scores",
        chance,
        sum(group.units for group in shared),
        [group.task for group in shared],
    )
    for model in models:
        seeds = [s for s in shared[0].seeds[model] if all(s in group.seeds[model] for group in shared)]
        cells = [c for c in shared[0].cells[model] if all(c in group.cells[model] for group in shared)]
        if not seeds or not cells:
            continue
        parts = []
        for group in shared:
            columns = [group.seeds[model].index(seed) for seed in seeds]
            parts.append(statistics.take(group.pick(model, cells), seeds=columns))
        mean.cells[model], mean.seeds[model] = cells, seeds
        mean.samples[model] = statistics.mean_over_tasks(parts)
    return mean


def largest_block(groups: list[Group]) -> tuple[list[Group], list[str]]:
    """Tasks and models such that every model has every task, with the most scores; all of both where none is missing."""
    models = list(dict.fromkeys(model for group in groups for model in group.samples))
    best: tuple[list[Group], list[str]] = [], []
    for model in models:
        tasks = [group for group in groups if model in group.samples]
        complete = [other for other in models if all(other in group.samples for group in tasks)]
        if len(tasks) * len(complete) > len(best[0]) * len(best[1]):
            best = tasks, complete
    return best


def curve_rows(group: Group, confidence: float) -> list[dict[str, Any]]:
    """Score and share of full width of every model, reduction and dimension of the group."""
    rows = []
    for model, cells in group.cells.items():
        sample = group.samples[model]
        level = statistics.level(sample, confidence)
        nothing = np.full(len(cells), np.nan)
        kept = above = Estimate(*[nothing] * 5)
        if widths := group.dimensions(model, "prefix"):
            full = group.pick(model, [("prefix", widths[-1])])
            kept = statistics.share(sample, full, 0.0, confidence)
            if group.chance is not None:
                above = statistics.share(sample, full, group.chance, confidence)
        for i, (reduction, dim) in enumerate(cells):
            row: dict[str, Any] = {
                "variant": model,
                "task": group.task,
                "task_type": group.task_type,
                "reduction": reduction,
                "dim": dim,
                "metric": group.metric,
                "seeds": len(group.seeds[model]),
                "tasks": len(group.members),
                "units": group.units,
                "bytes_per_vector": bytes_per_vector(reduction, dim),
            }
            for name, estimate in (("score", level), ("share", kept), ("share_above_chance", above)):
                for suffix, part in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
                    row[name + suffix] = _number(part[i])
            rows.append(row)
    return rows


def pair_up(group: Group, first: str, second: str, dimensions: list[int]) -> tuple[Sample, Sample]:
    """Both models at these prefix dimensions, seed by seed where they share seeds.

    A model without training in its line has one seed and meets every seed of the other; two trained models
    that share no seed are compared by their means over seeds.
    """
    cells = [("prefix", dim) for dim in dimensions]
    a, b = group.pick(first, cells), group.pick(second, cells)
    seeds_a, seeds_b = group.seeds[first], group.seeds[second]
    if len(seeds_a) == 1 or len(seeds_b) == 1:
        return a, b
    common = [seed for seed in seeds_a if seed in seeds_b]
    if not common:
        return statistics.seed_mean(a), statistics.seed_mean(b)
    return (
        statistics.take(a, seeds=[seeds_a.index(s) for s in common]),
        statistics.take(b, seeds=[seeds_b.index(s) for s in common]),
    )


def difference_rows(group: Group, pairs: list[compare.Pair], intervals: Intervals) -> list[dict[str, Any]]:
    """Paired differences at every prefix dimension both models have, corrected together for their number."""
    rows: list[dict[str, Any]] = []
    estimates: list[Estimate] = []
    larger: list[np.ndarray] = []
    for pair in pairs:
        shared = sorted(set(group.dimensions(pair.first, "prefix")) & set(group.dimensions(pair.second, "prefix")))
        if not shared:
            continue
        first, second = pair_up(group, pair.first, pair.second, shared)
        estimates.append(statistics.difference(first, second, intervals.confidence))
        larger.append(np.fmax(first.score.mean(1), second.score.mean(1)))
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
    p = statistics.p_values(joined)
    corrected = statistics.holm(p)
    said = compare.verdicts(joined, corrected, np.concatenate(larger), intervals.confidence, intervals.margin)
    for i, row in enumerate(rows):
        row |= {
            "difference": _number(joined.value[i]),
            "low": _number(joined.low[i]),
            "high": _number(joined.high[i]),
            "p": _number(p[i]),
            "p_corrected": _number(corrected[i]),
            "verdict": said[i],
        }
    return rows


def area_rows(group: Group, confidence: float) -> list[dict[str, Any]]:
    """Area under score over log2(dimension), per model and reduction, as the mean height of the curve."""
    rows = []
    for model, cells in group.cells.items():
        for reduction in dict.fromkeys(name for name, _ in cells):
            dimensions = group.dimensions(model, reduction)
            sample = group.pick(model, [(reduction, dim) for dim in dimensions])
            estimate = statistics.level(statistics.area(sample, dimensions), confidence)
            rows.append(
                {
                    "variant": model,
                    "task": group.task,
                    "task_type": group.task_type,
                    "reduction": reduction,
                    "from": dimensions[0],
                    "to": dimensions[-1],
                    "area": _number(estimate.value[0]),
                    "low": _number(estimate.low[0]),
                    "high": _number(estimate.high[0]),
                }
            )
    return rows


def recommendations(curves: pl.DataFrame) -> list[dict[str, Any]]:
    """The smallest prefix dimension that keeps each share, per model and mean over tasks: surely, by estimate, and
    surely once the score of guessing is taken off (None where that is not known)."""
    rows = []
    means = curves.filter(pl.col("task").is_in([MEAN, MEAN_INSIDE, MEAN_OUTSIDE]) & (pl.col("reduction") == "prefix"))
    for (model, task_type, task), part in means.group_by(["variant", "task_type", "task"], maintain_order=True):
        dimensions = part["dim"].to_list()
        width = max(dimensions)
        low, value, above = (
            part[column].fill_null(float("nan")).to_numpy()
            for column in ("share_low", "share", "share_above_chance_low")
        )
        for wanted in compare.SHARES:
            sure = compare.smallest_dimension(dimensions, low, wanted)
            likely = compare.smallest_dimension(dimensions, value, wanted)
            rows.append(
                {
                    "variant": model,
                    "task_type": task_type,
                    "task": task,
                    "share": wanted,
                    "dim": sure,
                    "dim_by_estimate": likely,
                    "dim_above_chance": compare.smallest_dimension(dimensions, above, wanted),
                    "full_width": width,
                    "bytes_per_million": None if sure is None else bytes_per_vector("prefix", sure) * 1e6,
                    "full_bytes_per_million": bytes_per_vector("prefix", width) * 1e6,
                }
            )
    return rows


def comparisons(differences: pl.DataFrame, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each pair's verdicts per task type, with what either side cost."""
    cost = {model["name"]: model["cost"] for model in models}
    rows = []
    means = differences.filter(pl.col("task") == MEAN)
    keys = ["question", "first", "second", "task_type"]
    for (question, first, second, task_type), part in means.group_by(keys, maintain_order=True):
        row: dict[str, Any] = {"question": question, "first": first, "second": second, "task_type": task_type}
        for verdict in ("better", "worse", "same", "unclear"):
            row[verdict] = part.filter(pl.col("verdict") == verdict)["dim"].to_list()
        for unit in ("steps", "seconds"):
            for scope in ("own", "total"):
                a, b = cost[first][scope].get(unit), cost[second][scope].get(unit)
                row[f"{scope}_{unit}_ratio"] = a / b if a is not None and b else None
        rows.append(row)
    return rows


def costs(results: Path, models: list[Model]) -> list[dict[str, Any]]:
    """What each model cost by itself and with all its ancestors, as means over seeds; null where not known."""
    own: dict[str, dict[str, float | None]] = {}
    total: dict[str, dict[str, float | None]] = {}
    described = []
    for model in models:
        manifests = [
            read_json(path)
            for seed in model.seeds
            if (path := results / "models" / model.name / f"s{seed}" / "model.json").exists()
        ]
        given = [manifest.get("cost") or {} for manifest in manifests]
        own[model.name] = {}
        total[model.name] = {}
        for unit in COSTS:
            known = [cost[unit] for cost in given if cost.get(unit) is not None]
            mine = float(np.mean(known)) if known else None
            before: float | None = 0.0
            if model.parent is None:
                mine = 0.0  # it exists already: fetching it is no part of making it truncatable
            else:
                before = total[model.parent][unit]
            own[model.name][unit] = mine
            total[model.name][unit] = None if mine is None or before is None else mine + before
        described.append(
            {
                "name": model.name,
                "parent": model.parent,
                "reference": next((manifest.get("reference") for manifest in manifests), None),
                "nested": model.nested,
                "rotated": model.rotated,
                "trained": model.trained,
                "width": model.width,
                "steps": model.steps,
                "seeds": list(model.seeds),
                "cost": {
                    "own": own[model.name],
                    "total": total[model.name],
                    "device": next((cost["device"] for cost in given if cost.get("device")), None),
                },
            }
        )
    return described


def on_the_ladder(group: Group) -> tuple[list[int], list[str]]:
    """The widest model's dimensions, and the models that have a score, a finite one, at each of them."""
    dimensions = max((group.dimensions(model, "prefix") for model in group.cells), key=lambda d: d[-1:], default=[])
    cells = [("prefix", dim) for dim in dimensions]
    able = [name for name in group.cells if cells and set(cells) <= set(group.cells[name])]
    return dimensions, [name for name in able if np.isfinite(group.pick(name, cells).score).all()]


def rungs(group: Group, models: list[dict[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """The ladder of cost: from the cheapest model up, each that is surely better than the last one on it.

    Cheap: by floating-point operations where all are known, as they do not depend on the machine; else by seconds or
    steps. Better: the mean height of the score's curve over all dimensions, paired difference, p corrected for the
    number of models (Bonferroni). Of models that cost the same, the highest comes first. Nothing where costs are not
    known.
    """
    dimensions, able = on_the_ladder(group)
    total = {m["name"]: m["cost"]["total"] for m in models}

    def known(*units: str) -> str | None:
        return next((unit for unit in units if all(total[name][unit] is not None for name in able)), None)

    order, unit = known("flops", "seconds", "steps"), known("seconds", "steps", "flops")
    if len(dimensions) < 2 or order is None or unit is None:
        return []
    heights = {
        name: statistics.level(
            statistics.area(group.pick(name, [("prefix", d) for d in dimensions]), dimensions), confidence
        )
        for name in able
    }
    rows: list[dict[str, Any]] = []
    for name in sorted(able, key=lambda name: (total[name][order], -heights[name].value[0])):
        row = {"variant": name, "task_type": group.task_type, "unit": unit, "cost": total[name][unit]}
        row |= {"order": order, "from": dimensions[0], "to": dimensions[-1]}
        row |= {key: _number(part[0]) for key, part in zip(("area", "low", "high"), heights[name][:3], strict=True)}
        if rows:
            pair = pair_up(group, name, rows[-1]["variant"], dimensions)
            first, second = (statistics.area(side, dimensions) for side in pair)
            gain = statistics.difference(first, second, confidence)
            if not (gain.value[0] > 0 and statistics.p_values(gain)[0] * (len(able) - 1) < 1 - confidence):
                continue
            row |= {
                key: _number(part[0]) for key, part in zip(("gain", "gain_low", "gain_high"), gain[:3], strict=True)
            }
        rows.append(row)
    return rows


def notes_of(
    models: list[Model],
    groups: list[Group],
    means: list[Group],
    curves: pl.DataFrame,
    missing: list[Any],
    domains: dict[str, dict[str, Any]],
) -> list[str]:
    """What this study cannot tell, in sentences."""
    notes = []
    if missing:
        notes.append(f"Missing scores: {len(missing)} (listed under What was run).")
    for mean in means:
        if mean.task != MEAN:
            continue
        of_type = [group for group in groups if group.task_type == mean.task_type]
        without = [group.task for group in of_type if group.task not in mean.members]
        absent = [m.name for m in models if m.name not in mean.samples]
        if without:
            notes.append(f"{mean.task_type}: the means leave out {', '.join(without)}, which not every model has.")
        if absent:
            notes.append(f"{mean.task_type}: no mean for {', '.join(absent)}, for want of scores that the others have.")
    seeds = seeds_measured(models, groups)
    alone = [name for name, count in seeds.items() if count == 1]
    if alone and len(alone) == len(seeds):
        notes.append("One seed: the intervals cover the choice of queries and experiments, not another training run.")
    elif alone:
        notes.append(f"One seed of {', '.join(alone)}: no interval of theirs covers another training run.")
    tasks = curves.filter(~pl.col("task").is_in([MEAN, MEAN_INSIDE, MEAN_OUTSIDE]))
    known = dict.fromkeys(tasks.filter(pl.col("score_low").is_not_null())["task_type"])
    notes += [
        f"{task_type}: each experiment draws other labelled examples for the classifier to learn from, and all are scored"
        " on the same test texts. So the intervals cover the choice of those examples, not the choice of test texts."
        for task_type in known
        if task_type in EXPERIMENTS
    ]
    for (task,), part in tasks.group_by(["task"], maintain_order=True):
        unscored = part.filter(pl.col("score").is_null())["variant"].unique(maintain_order=True).to_list()
        bare = part.filter(pl.col("score").is_not_null() & pl.col("score_low").is_null())
        names = bare["variant"].unique(maintain_order=True).to_list()
        if unscored:
            notes.append(f"{task}: some scores of {', '.join(unscored)} are no numbers.")
        if names:
            whose = "" if len(names) == part["variant"].n_unique() else f" for {', '.join(names)}"
            notes.append(f"{task}: no interval is known{whose}, for want of values per query or experiment.")
    types = curves.filter(pl.col("task") == MEAN)
    for (task_type,), part in types.group_by(["task_type"], maintain_order=True):
        if part["tasks"].max() == 1:
            notes.append(f"{task_type} stands on one task: nothing is known of how tasks differ.")
    if curves.height and curves["dim"].n_unique() == 1:
        notes.append("One dimension was measured: there is no curve, and nothing is known of cutting short.")
    if domains:
        notes += domain_notes(groups, domains)
    return notes


def domain_notes(groups: list[Group], domains: dict[str, dict[str, Any]]) -> list[str]:
    """For which task types nothing is known of other data, or of data like the training pairs'; what was not cleaned."""
    sides: dict[str, set[bool]] = {}
    for group in groups:
        sides.setdefault(group.task_type, set()).add(domains[group.task]["in_domain"])
    notes = []
    for inside, sentence in (
        (True, "every task is in domain (its data are like the training pairs'): nothing is known of other data."),
        (False, "no task is known to be in domain: nothing is known of data like the training pairs'."),
    ):
        types = [task_type for task_type, found in sides.items() if found == {inside}]
        if types:
            said = sentence if len(types) < len(sides) else sentence[0].upper() + sentence[1:]
            notes.append(f"{', '.join(types)}: {said}" if len(types) < len(sides) else said)
    if unclean := [task for task, entry in domains.items() if entry["cleaned"] == "no"]:
        notes.append(
            f"The training pairs were not cleaned of the texts of {', '.join(unclean)}: their scores may owe something to memory."
        )
    return notes


def seeds_measured(models: list[Model], groups: list[Group]) -> dict[str, int]:
    """How many seeds were measured of each model with training in its line, on the task where they are fewest."""
    by_name = {model.name: model for model in models}
    return {
        model.name: min(counts)
        for model in models
        if compare.total_steps(by_name, model)
        and (counts := [len(group.seeds[model.name]) for group in groups if model.name in group.seeds])
    }


def means_of(groups: list[Group], domains: dict[str, dict[str, Any]]) -> list[Group]:
    """The mean of each task type; and of its tasks in domain and out of it, where it has both."""
    by_type: dict[str, list[Group]] = {}
    for group in groups:
        by_type.setdefault(group.task_type, []).append(group)
    means = [group_of_tasks(MEAN, name, members) for name, members in by_type.items()]
    for name, members in by_type.items():
        sides: dict[str, list[Group]] = {MEAN_INSIDE: [], MEAN_OUTSIDE: []}
        for group in members if domains else []:
            sides[MEAN_INSIDE if domains[group.task]["in_domain"] else MEAN_OUTSIDE].append(group)
        if all(sides.values()):
            means += [group_of_tasks(side, name, of_side) for side, of_side in sides.items()]
    return [mean for mean in means if mean is not None]


def task_types_of(means: list[Group]) -> dict[str, dict[str, Any]]:
    """Per task type: its tasks, of them those in and out of domain where the means tell them apart, and its metric."""
    described: dict[str, dict[str, Any]] = {}
    for mean in means:
        if mean.task == MEAN:
            described[mean.task_type] = {
                "tasks": mean.members,
                "metric": mean.metric,
                "chance": mean.chance,
                "values": "experiments" if mean.task_type in EXPERIMENTS else "queries",
            }
        else:
            described.setdefault(mean.task_type, {})[mean.task] = mean.members
    return described


def answer(
    results: Path, models: list[Model], tasks: list[str], intervals: Intervals, study: str
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Curves, paired differences and the summary of a study."""
    groups: list[Group] = []
    for place, task in enumerate(tasks):
        log.info("reading %s", task)
        scores = read_task(results, models, task)
        if scores is not None:
            groups.append(group_of_task(scores, intervals, place))
    domains = domains_of(results, models, tasks)
    means = means_of(groups, domains)
    pairs = compare.pairs_of(models)
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    areas: list[dict[str, Any]] = []
    for group in [*means, *groups]:
        log.info("intervals of %s, %s", group.task_type, group.task)
        rows += curve_rows(group, intervals.confidence)
        differences += difference_rows(group, pairs, intervals)
        areas += area_rows(group, intervals.confidence)
    curves = pl.DataFrame(rows, schema=CURVES_SCHEMA)
    difference_table = pl.DataFrame(differences, schema=DIFFERENCES_SCHEMA)
    missing = missing_scores(results, models, tasks)
    described = costs(results, models)
    summary = {
        "study": study,
        "confidence": intervals.confidence,
        "resamples": intervals.resamples,
        "margin": intervals.margin,
        "models": described,
        "seeds": seeds_measured(models, groups),
        "task_types": task_types_of(means),
        "domains": domains,
        "recommendations": recommendations(curves),
        "comparisons": comparisons(difference_table, described),
        "areas": areas,
        "ladder": [
            row for group in means if group.task == MEAN for row in rungs(group, described, intervals.confidence)
        ],
        "off_ladder": {
            group.task_type: [name for name in group.cells if name not in on_the_ladder(group)[1]]
            for group in means
            if group.task == MEAN
        },
        "bytes_per_million": {
            str(dim): bytes_per_vector("prefix", dim) * 1e6 for dim in sorted(curves["dim"].unique().to_list())
        },
        "missing": missing,
        "notes": notes_of(models, groups, means, curves, missing, domains),
    }
    return curves, difference_table, summary


def _number(value: float) -> float | None:
    """A plain float, or None where there is none; 12 digits, so that the last bit of a sum does not matter."""
    return float(f"{value:.12g}") if np.isfinite(value) else None


def write_results(output: Path, curves: pl.DataFrame, differences: pl.DataFrame, summary: dict[str, Any]) -> None:
    with atomic_write(output) as part:
        curves.write_parquet(part, compression="zstd")
    with atomic_write(output.with_suffix(".csv")) as part:
        curves.write_csv(part)
    with atomic_write(output.with_name("differences.parquet")) as part:
        differences.write_parquet(part, compression="zstd")
    write_json(output.with_name("summary.json"), summary)


def study_of(settings: str) -> Study:
    """The study from a rule's `--settings` argument."""
    return load_study(Settings.model_validate_json(settings).study)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", required=True, help="JSON: {study: the whole configuration}")
    parser.add_argument("--results", required=True, type=Path, help="the study's results folder")
    parser.add_argument("--output", required=True, type=Path, help="curves.parquet; the rest lands beside it")
    arguments = parser.parse_args()
    start_log()
    try:
        study = study_of(arguments.settings)
        write_results(
            arguments.output,
            *answer(arguments.results, graph_of(study), study.tasks, study.intervals, study.study),
        )
    except (StudyError, ValueError, pl.exceptions.PolarsError) as error:
        sys.exit(f"curves: {str(error).strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
