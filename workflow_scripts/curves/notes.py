"""What this study cannot tell, in sentences: missing scores, one seed, one task, data that the models have seen.

Takes the groups and their points; leaves the summary's notes.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from workflow_scripts.artefact import read_json
from workflow_scripts.curves import population
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.comparisons import trained
from workflow_scripts.curves.groups import Group
from workflow_scripts.curves.kinds import of_vectors
from workflow_scripts.curves.schemas import MEAN, MEANS
from workflow_scripts.curves.summary import Domain, Missing
from workflow_scripts.study.sections.own_task import NOT_JUDGED

HELD_OUT = (
    "Codecs and adaptors of your own vectors are fitted on a sample of the documents (of labelled rows: on training rows), and no search"
    " sees that sample: scores are over the other documents, for every model alike."
)
ITS_OWN_RANKING = (
    f"{NOT_JUDGED}: a score is the agreement with the model's own ranking at full width, so models are not compared there, but for a"
    " rotation with its parent."
)


def notes_of(
    models: list[Model],
    groups: list[Group],
    means: list[Group],
    curves: pl.DataFrame,
    missing: list[Missing],
    domains: dict[str, Domain],
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
        if len(weights := dict.fromkeys(mean.members.values())) > 1:
            one = "a task counts 1, and " if 1 in weights else "tasks do not all count the same: "
            said = [
                f"{', '.join(task for task, of in mean.members.items() if of == weight)} {weight:.3g} each"
                for weight in weights
                if weight != 1
            ]
            notes.append(
                f"{mean.task_type}: in the means {one}{'; '.join(said)}, as in mteb's tables, which count an aggregate task once."
            )
        if without:
            notes.append(f"{mean.task_type}: the means leave out {', '.join(without)}, which not every model has.")
        if absent:
            notes.append(f"{mean.task_type}: no mean for {', '.join(absent)}, for want of scores that the others have.")
    if len(models) > 1 and any(mean.task_type == NOT_JUDGED for mean in means):
        notes.append(ITS_OWN_RANKING)
    seeds = seeds_measured(models, groups)
    alone = [name for name, count in seeds.items() if count == 1]
    if alone and len(alone) == len(seeds):
        notes.append("One seed: the intervals cover the choice of queries and experiments, not another training run.")
    elif alone:
        notes.append(f"One seed of {', '.join(alone)}: no interval of theirs covers another training run.")
    tasks = curves.filter(~pl.col("task").is_in(MEANS))
    known = set(tasks.filter(pl.col("score_low").is_not_null())["task_type"])
    notes += [
        f"{mean.task_type}: {caveat}"
        for mean in means
        if mean.task == MEAN and mean.task_type in known
        for caveat in population.caveats(mean.task_type, mean.outcomes, mean.overlap)
    ]
    types = curves.filter(pl.col("task") == MEAN)
    for (task_type,), part in types.group_by(["task_type"], maintain_order=True):
        if few := int(part["few_units"].sum()):
            notes.append(
                f"{task_type}: in {few} of {part.height} points of the curves a few units make up all that is lost"
                " (curves.parquet, few_units): their intervals cover less often than they say."
            )
    for (task,), part in tasks.group_by(["task"], maintain_order=True):
        unscored = part.filter(pl.col("score").is_null())["variant"].unique(maintain_order=True).to_list()
        bare = part.filter(pl.col("score").is_not_null() & pl.col("score_low").is_null())
        names = bare["variant"].unique(maintain_order=True).to_list()
        if unscored:
            notes.append(f"{task}: some scores of {', '.join(unscored)} are no numbers.")
        if names:
            whose = "" if len(names) == part["variant"].n_unique() else f" for {', '.join(names)}"
            notes.append(f"{task}: no interval is known{whose}, for want of values per query or experiment.")
    for (task_type,), part in types.group_by(["task_type"], maintain_order=True):
        if part["tasks"].max() == 1:
            notes.append(f"{task_type} stands on one task: nothing is known of how tasks differ.")
    if curves.height and curves["dim"].n_unique() == 1:
        notes.append("One dimension was measured: there is no curve, and nothing is known of fewer dimensions.")
    if domains:
        notes += domain_notes(groups, domains)
    return notes


def adaptor_notes(results: Path, models: list[Model]) -> list[str]:
    """Which adaptors are no more than a rotation, and which had nothing to hold out: training tasks, or of vectors without a
    model the queries of pairs."""
    recipes = {
        model.name: [
            read_json(path)["recipe"] for seed in model.seeds if (path := _manifest(results, model, seed)).exists()
        ]
        for model in models
        if model.adapted
    }
    bare = of_vectors(models)
    notes = []
    for held, why_none, names in (
        ("training tasks", "One training task", [name for name in recipes if name not in bare]),
        ("queries of the pairs", "Few pairs", [name for name in recipes if name in bare]),
    ):
        left = [name for name in names if any(recipe["fell_back_to_rotation"] for recipe in recipes[name])]
        unheld = [name for name in names if any(not recipe["held_out"] for recipe in recipes[name])]
        if left:
            notes.append(
                f"Held-out {held} got no better by the adaptor {', '.join(left)}: it was left as the rotation that it starts at."
            )
        if unheld:
            notes.append(
                f"{why_none}: nothing was held out to choose how far {', '.join(unheld)} may go; other data were not looked at."
            )
    shared = {
        (task, count, recipe["scored"][task]): None
        for made in recipes.values()
        for recipe in made
        for task, count in recipe.get("answered_by_pairs", {}).items()
        if count
    }
    notes += [
        f"{task}: of {scored:,} scored queries {count:,} have an answer that an adaptor's pairs name too. On queries about documents of no pair it gains less."
        for task, count, scored in shared
    ]
    return notes


def _manifest(results: Path, model: Model, seed: int) -> Path:
    return results / "models" / model.name / f"s{seed}" / "model.json"


def domain_notes(groups: list[Group], domains: dict[str, Domain]) -> list[str]:
    """For which task types nothing is known of other data, or of data like the training pairs'; what was not cleaned."""
    sides: dict[str, set[bool]] = {}
    for group in groups:
        sides.setdefault(group.task_type, set()).add(domains[group.task].in_domain)
    notes = []
    for inside, sentence in (
        (True, "every task is in domain (its data are like the training pairs'): nothing is known of other data."),
        (False, "no task is known to be in domain: nothing is known of data like the training pairs'."),
    ):
        types = [task_type for task_type, found in sides.items() if found == {inside}]
        if types:
            said = sentence if len(types) < len(sides) else sentence[0].upper() + sentence[1:]
            notes.append(f"{', '.join(types)}: {said}" if len(types) < len(sides) else said)
    if unclean := [task for task, entry in domains.items() if entry.cleaned == "no"]:
        notes.append(
            f"The training pairs were not cleaned of the texts of {', '.join(unclean)}: their scores may owe something to memory."
        )
    return notes


def seeds_measured(models: list[Model], groups: list[Group]) -> dict[str, int]:
    """How many seeds were measured of each model with training in its line, on the task where they are fewest."""
    counted = trained(models)
    return {
        model.name: min(counts)
        for model in models
        if model.name in counted
        and (counts := [len(group.seeds[model.name]) for group in groups if model.name in group.seeds])
    }
