"""What is drawn as one curve per model: a task, or the mean over a type's tasks; with the samples behind its scores.

Takes `TaskScores`; leaves `Group`s, whose samples go to `statistics`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

import numpy as np

from workflow_scripts.curves import population, resampling
from workflow_scripts.curves.collect import TaskScores, read_outcomes, read_values
from workflow_scripts.curves.resampling import Sample
from workflow_scripts.curves.schemas import (
    MEAN,
    MEAN_INSIDE,
    MEAN_OUTSIDE,
    PREFIX,
    Codec,
    Family,
    Search,
)
from workflow_scripts.curves.summary import Domain, TaskType
from workflow_scripts.study.sections.intervals import Intervals


@dataclass
class Group:
    """`samples[model]` holds the model's codecs and searches in the order of `cells[model]`, their names, which `codecs`
    and `searches` describe; `bytes_read` per query by codecs alone. `members`: the tasks, with the weight of each in the mean. `outcomes`: known by test text;
    `overlap`: the largest share of its pool that a draw of training examples takes."""

    task: str
    task_type: str
    metric: str
    chance: float | None
    units: int
    members: dict[str, float]
    codecs: dict[str, Codec] = field(default_factory=dict)
    searches: dict[str, Search] = field(default_factory=dict)
    bytes_read: dict[str, float] = field(default_factory=dict)
    outcomes: bool = False
    overlap: float = 0.0
    cells: dict[str, list[str]] = field(default_factory=dict)
    seeds: dict[str, list[int]] = field(default_factory=dict)
    samples: dict[str, Sample] = field(default_factory=dict)

    def pick(self, model: str, cells: list[str]) -> Sample:
        """The model's sample of these codecs, in this order."""
        where = {cell: i for i, cell in enumerate(self.cells[model])}
        return resampling.take(self.samples[model], cells=[where[cell] for cell in cells])

    def of(self, models: list[str]) -> Group:
        """The same of some models alone."""
        return replace(self, cells={model: cells for model, cells in self.cells.items() if model in models})

    def curve(self, model: str, family: Family = PREFIX) -> dict[int, str]:
        """The model's codecs of one family by their dimension, rising."""
        codecs = (self.codecs[cell] for cell in self.cells.get(model, []) if cell in self.codecs)
        return {codec.dim: codec.name for codec in sorted(codecs) if codec.family == family}

    def families(self, model: str) -> list[Family]:
        return list(dict.fromkeys(self.codecs[cell].family for cell in self.cells[model] if cell in self.codecs))

    def full_width(self, model: str) -> str | None:
        """The codec that all shares are of: every coordinate in float32."""
        return next(reversed(self.curve(model).values()), None)


def group_of_task(
    scores: TaskScores, intervals: Intervals, place: int, trained: set[str], weight: float = 1.0
) -> Group:
    """One task's group; `trained`: the models of which another seed would be another model; `weight`: of the task in a
    mean over tasks."""
    group = Group(scores.task, scores.task_type, scores.metric, scores.chance, len(scores.units), {scores.task: weight})
    group.codecs, group.searches, group.bytes_read = scores.codecs, scores.searches, scores.bytes_read
    if scores.layouts:
        known = next(iter(scores.layouts.values()))
        group.outcomes, group.overlap, group.units = True, max(known.overlap), sum(known.texts)
    for model, cells in scores.cells.items():
        group.cells[model], group.seeds[model] = cells, scores.seeds[model]
        # The seed names the task's place in the study, so that tasks are independent and models are not.
        group.samples[model] = _sample(scores, model, intervals.resamples, [intervals.seed, place], model in trained)
    return group


def _sample(scores: TaskScores, model: str, resamples: int, seed: list[int], trained: bool) -> Sample:
    """One model's sample, by what is known of it: outcomes, values, or scores alone."""
    score, numbers = scores.score[model], tuple(scores.seeds[model])
    if (layout := scores.layouts.get(model)) is not None:
        blank = np.zeros((len(layout.cell), len(numbers)))
        sample = resampling.resample_outcomes(
            read_outcomes(scores, model), layout.texts, layout.overlap, blank, resamples, seed, numbers, trained
        )
        return resampling.mean_of_rows(sample, layout.cell, score)
    values = read_values(scores, model)
    if values is None:
        values = np.empty((*score.shape, 0), np.float32)
    return resampling.resample_parts(values, score, scores.parts, resamples, seed, numbers, trained)


def group_of_tasks(name: str, task_type: str, groups: list[Group], starts: Container[str] = ()) -> Group | None:
    """The mean over tasks by their weights; each model under the seeds that have them all.

    Where scores are missing: over the tasks and the models of the largest block without a gap, see there.
    """
    shared, models = largest_block(groups, starts)
    if not shared:
        return None
    metrics = {group.metric for group in shared}
    members = {task: weight for group in shared for task, weight in group.members.items()}
    weights = list(members.values())
    chances = [group.chance for group in shared]
    mean = Group(
        name,
        task_type,
        metrics.pop() if len(metrics) == 1 else "mean of main scores",
        None if None in chances else float(np.average([c for c in chances if c is not None], weights=weights)),
        sum(group.units for group in shared),
        members,
        outcomes=all(group.outcomes for group in shared),
        overlap=max(group.overlap for group in shared),
        bytes_read={
            cell: float(np.average([group.bytes_read[cell] for group in shared], weights=weights))
            for cell in shared[0].bytes_read
            if all(cell in group.bytes_read for group in shared)
        },
    )
    for model in models:
        seeds = [s for s in shared[0].seeds[model] if all(s in group.seeds[model] for group in shared)]
        others = [set(group.cells[model]) for group in shared[1:]]
        cells = [cell for cell in shared[0].cells[model] if all(cell in other for other in others)]
        if not seeds or not cells:
            continue
        parts = []
        for group in shared:
            columns = [group.seeds[model].index(seed) for seed in seeds]
            parts.append(resampling.take(group.pick(model, cells), seeds=columns))
        mean.codecs |= {cell: shared[0].codecs[cell] for cell in cells if cell in shared[0].codecs}
        mean.searches |= {
            cell: mean_search([group.searches[cell] for group in shared], weights)
            for cell in cells
            if cell in shared[0].searches
        }
        mean.cells[model], mean.seeds[model] = cells, seeds
        mean.samples[model] = resampling.mean_over_tasks(parts, weights)
    return mean


def mean_search(searches: list[Search], weights: list[float]) -> Search:
    """A search over several tasks: bytes read and multiply-adds per query depend on the corpus, and are means."""
    read, adds = ([getattr(search, name) for search in searches] for name in ("bytes_read", "multiply_adds"))
    mean_read, mean_adds = (float(np.average(values, weights=weights)) for values in (read, adds))
    return replace(searches[0], bytes_read=mean_read, multiply_adds=mean_adds)


def largest_block(groups: list[Group], starts: Container[str] = ()) -> tuple[list[Group], list[str]]:
    """Tasks and models such that every model has every task; all of both where none is missing.

    Of several such blocks one with a model of `starts` comes first, as shares are of its full width; then the one with
    the most scores. From the tasks of each model on, the model that shares the most of them is added, one after another.
    """
    models = list(dict.fromkeys(model for group in groups for model in group.samples))
    tasks_of = {model: frozenset(i for i, group in enumerate(groups) if model in group.samples) for model in models}
    best: tuple[list[Group], list[str]] = [], []
    most = (False, 0)
    for tasks in dict.fromkeys(tasks_of.values()):
        while tasks:
            complete = [model for model in models if tasks <= tasks_of[model]]
            worth = any(model in starts for model in complete), len(tasks) * len(complete)
            if worth > most:
                best, most = ([groups[i] for i in sorted(tasks)], complete), worth
            shared = [tasks & other for other in tasks_of.values() if not tasks <= other]
            tasks = max(shared, key=len, default=frozenset())
    return best


def means_of(groups: list[Group], domains: dict[str, Domain], starts: Container[str] = ()) -> list[Group]:
    """The mean of each task type; and of its tasks in domain and out of it, where it has both. `starts`: the fetched models
    that others are made from."""
    by_type: dict[str, list[Group]] = {}
    for group in groups:
        by_type.setdefault(group.task_type, []).append(group)
    means = [group_of_tasks(MEAN, name, members, starts) for name, members in by_type.items()]
    for name, members in by_type.items():
        sides: dict[str, list[Group]] = {MEAN_INSIDE: [], MEAN_OUTSIDE: []}
        for group in members if domains else []:
            sides[MEAN_INSIDE if domains[group.task].in_domain else MEAN_OUTSIDE].append(group)
        if all(sides.values()):
            means += [group_of_tasks(side, name, of_side, starts) for side, of_side in sides.items()]
    return [mean for mean in means if mean is not None]


def values_of(group: Group) -> str:
    """What a group's scores are means of, and what is resampled."""
    return "test texts" if group.outcomes else population.UNITS.get(group.task_type, "units")


def task_types_of(means: list[Group]) -> dict[str, TaskType]:
    """Per task type: its tasks, of them those in and out of domain where the means tell them apart, and its metric."""
    members = {(mean.task_type, mean.task): list(mean.members) for mean in means}
    return {
        mean.task_type: TaskType(
            tasks=list(mean.members),
            weights=mean.members if len(set(mean.members.values())) > 1 else {},
            metric=mean.metric,
            chance=mean.chance,
            values=values_of(mean),
            population=population.phrase(mean.task_type, mean.outcomes, mean.overlap, trained=False, seeds=1),
            units=mean.units,
            in_domain=members.get((mean.task_type, MEAN_INSIDE), []),
            out_of_domain=members.get((mean.task_type, MEAN_OUTSIDE), []),
        )
        for mean in means
        if mean.task == MEAN
    }
