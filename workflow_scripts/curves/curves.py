"""The answer: degradation curves with intervals, paired differences, recommendations.

Takes all scores of a study and what every model cost; leaves curves.parquet, curves.csv, differences.parquet,
frontier.parquet, budget.parquet, domains.parquet, agreement.parquet and summary.json. The same files leave the same bytes: nothing is timed here, and costs are as the manifests give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from workflow_scripts.artefact import atomic_write
from workflow_scripts.command_line import Settings, log, parse_settings, parser, run
from workflow_scripts.curves import comparisons, costs
from workflow_scripts.curves.agreement import Agreement, agreement_of
from workflow_scripts.curves.budget import byte_panels, dimension_panels, rows_beside_the_free
from workflow_scripts.curves.collect import Model, graph_of, missing_scores, read_task
from workflow_scripts.curves.domain import domains_of
from workflow_scripts.curves.frontier import Shares, frontier_rows, reference_of, storage_advice
from workflow_scripts.curves.groups import Group, group_of_task, means_of, task_types_of
from workflow_scripts.curves.indexes import ANY, RESCORING
from workflow_scripts.curves.kinds import rankings_of
from workflow_scripts.curves.notes import HELD_OUT, adaptor_notes, notes_of, seeds_measured
from workflow_scripts.curves.recommendations import recommendations
from workflow_scripts.curves.report_sentences import advised
from workflow_scripts.curves.schemas import (
    BUDGET_SCHEMA,
    CURVES_SCHEMA,
    DIFFERENCES_SCHEMA,
    DOMAINS_SCHEMA,
    FRONTIER_SCHEMA,
    MEAN,
)
from workflow_scripts.curves.summary import Answer, StorageAdvice, write_answer
from workflow_scripts.curves.tables import area_rows, curve_rows, difference_rows
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.sections.intervals import Intervals
from workflow_scripts.study.sections.own_task import NOT_JUDGED

BEFORE_TRAINING = "A first report, of the models that need no training; curves/report.html will tell of all."


class Found(NamedTuple):
    """The room's tables and the summary."""

    curves: pl.DataFrame
    differences: pl.DataFrame
    frontier: pl.DataFrame
    budget: pl.DataFrame
    domains: pl.DataFrame
    summary: Answer


class StudySettings(Settings):
    """The `--settings` of this room's scripts."""

    study: dict[str, Any]
    before_training: bool = False  # of a study's models, those that need no training
    held_out: bool = False  # for a model that is left out of `study`


def study_of(settings: str) -> Study:
    """The study from a rule's `--settings` argument."""
    given = parse_settings(StudySettings, settings)
    return load_study(given.study, part=given.before_training)


def notes_of_settings(settings: StudySettings, study: Study) -> list[str]:
    """What the settings alone tell a reader of any result: which models are left out, and which documents."""
    told = {BEFORE_TRAINING: settings.before_training, HELD_OUT: settings.held_out or study.fits_on_held_out}
    return [note for note, holds in told.items() if holds]


def answer(
    results: Path,
    models: list[Model],
    tasks: list[str],
    intervals: Intervals,
    study: str,
    in_domain: list[str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Found:
    """Curves, paired differences, the frontier and the summary of a study. `in_domain`: its tasks that it says are so;
    `weights`: of the tasks in a mean over tasks, 1 of those that are not named."""
    groups: list[Group] = []
    trained = comparisons.trained(models)
    for place, task in enumerate(tasks):
        log.info("reading %s", task)
        scores = read_task(results, models, task)
        if scores is not None:
            groups.append(group_of_task(scores, intervals, place, trained, (weights or {}).get(task, 1.0)))
    domains = domains_of(results, models, tasks, in_domain)
    parents = {model.parent for model in models}
    means = means_of(groups, domains, {m.name for m in models if m.parent is None and m.name in parents})
    pairs, described = comparisons.pairs_of(models), costs.costs(results, models)
    rankings = rankings_of(described)
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    areas = []
    for group in [*means, *groups]:
        log.info("intervals of %s, %s", group.task_type, group.task)
        rows += curve_rows(group, intervals.confidence)
        asked = [p for p in pairs if group.task_type != NOT_JUDGED or rankings[p.first] == rankings[p.second]]
        differences += difference_rows(group, asked, intervals)
        areas += area_rows(group, intervals.confidence)
    curves = pl.DataFrame(rows, schema=CURVES_SCHEMA)
    difference_table = pl.DataFrame(differences, schema=DIFFERENCES_SCHEMA)
    missing = missing_scores(results, models, tasks)
    of_types = [group for group in means if group.task == MEAN]
    reference = {group.task_type: name for group in of_types if (name := reference_of(group, described)) is not None}
    alike = [compared(group, rankings, reference.get(group.task_type)) for group in of_types]
    points: list[dict[str, Any]] = []
    storage: list[StorageAdvice] = []
    budget: list[dict[str, Any]] = []
    sides: list[dict[str, Any]] = []
    for group in means:
        log.info("the frontier of %s, %s", group.task_type, group.task)
        shares, base = Shares(group, intervals.confidence), reference.get(group.task_type)
        beside = compared(group, rankings, base)
        if group.task == MEAN:
            points += frontier_rows(group, shares, base, beside, described)
            storage += storage_advice(group, shares, base)
        if base is not None and group.full_width(base) is not None:
            given = (beside, shares, base, described, trained, intervals)
            budget += rows_beside_the_free(*given, byte_panels(beside, base))
            sides += rows_beside_the_free(*given, dimension_panels(beside, base))
    summary = Answer(
        study=study,
        confidence=intervals.confidence,
        resamples=intervals.resamples,
        margin=intervals.margin,
        models=described,
        seeds=seeds_measured(models, groups),
        task_types=task_types_of(means),
        domains=domains,
        reference=reference,
        storage=storage,
        recommendations=recommendations(curves),
        comparisons=comparisons.comparisons(difference_table, described),
        areas=areas,
        cost_frontier=[step for group in alike for step in costs.cost_frontier(group, described, intervals.confidence)],
        off_cost_frontier={
            group.task_type: [name for name in group.cells if name not in costs.comparable(group)[1]] for group in alike
        },
        missing=missing,
        notes=[
            *notes_of(models, groups, means, curves, missing, domains),
            *adaptor_notes(results, models),
            *costs.devices_note(described),
        ],
    )
    first = [
        advised(summary, task_type, model, engine)
        for task_type, model in reference.items()
        for engine in (ANY, RESCORING)
    ]
    summary = summary.model_copy(update={"advised": [row for row in first if row is not None]})
    return Found(
        curves,
        difference_table,
        pl.DataFrame(points, schema=FRONTIER_SCHEMA),
        pl.DataFrame(budget, schema=BUDGET_SCHEMA),
        pl.DataFrame(sides, schema=DOMAINS_SCHEMA).drop_nulls("verdict"),
        summary,
    )


def compared(group: Group, rankings: dict[str, str], reference: str | None) -> Group:
    """The group with the models whose scores can be set beside the reference's. Without judgements a score is the agreement with the
    model's own ranking at full width, so there these are the ones with the same ranking."""
    if group.task_type != NOT_JUDGED or reference is None:
        return group
    return group.of([name for name in group.cells if rankings[name] == rankings[reference]])


def write_results(output: Path, found: Found, agreement: Agreement) -> None:
    """Write the tables as `output` (curves.parquet) and beside it."""
    tables = {
        output.name: found.curves,
        "differences.parquet": found.differences,
        "frontier.parquet": found.frontier,
        "budget.parquet": found.budget,
        "domains.parquet": found.domains,
        "agreement.parquet": agreement.codecs,
    }
    for name, table in tables.items():
        with atomic_write(output.with_name(name)) as part:
            table.write_parquet(part, compression="zstd")
    with atomic_write(output.with_suffix(".csv")) as part:
        found.curves.write_csv(part)
    summary = found.summary.model_copy(update={"agreement": agreement.correlations})
    write_answer(output.with_name("summary.json"), summary)


def main() -> None:
    arguments = parser(__doc__, "{study: the whole configuration}")
    arguments.add_argument("--results", required=True, type=Path, help="the study's results folder")
    arguments.add_argument("--output", required=True, type=Path, help="curves.parquet; the rest lands beside it")
    given = arguments.parse_args()

    def work() -> None:
        settings = parse_settings(StudySettings, given.settings)
        study = study_of(given.settings)
        models, tasks = graph_of(study), study.task_names
        found = answer(given.results, models, tasks, study.intervals, study.study, study.in_domain, study.task_weights)
        found.summary.notes[:0] = notes_of_settings(settings, study)
        write_results(given.output, found, agreement_of(given.results, models, tasks, study.intervals))

    run(work)


if __name__ == "__main__":
    main()
