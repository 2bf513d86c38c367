"""Which models answer which question, found in the graph; and what intervals allow one to say.

Takes the study's models and paired differences; leaves pairs to compare, verdicts, and the summary's comparisons.
Nothing here knows a variant by its name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.intervals import Estimate, holm, p_values
from workflow_scripts.curves.kinds import devices_of, lines, steps_of
from workflow_scripts.curves.schemas import MEAN, VERDICT_COLUMNS, VERDICTS, number
from workflow_scripts.curves.summary import Comparison, ModelEntry
from workflow_scripts.study.sections.intervals import Intervals

MARGIN_OF_SCORE = 0.1  # within a margin above this share of their score, two models are not called the same

QUESTIONS = {
    "training_or_rotation": "Did Matryoshka training beat a rotation of the same parent, or of a model of the same training budget?",
    "matryoshka": "What did training all prefixes together change, against training the full width alone?",
    "start": "Was starting from the trained fixed model as good as starting from where it started?",
    "rotate_first": "What did rotating before Matryoshka training change?",
    "rotation": "What did a rotation alone change?",
    "adaptor_or_rotation": "Did an adaptor, learned on frozen embeddings, beat a rotation of the same parent?",
    "training_or_adaptor": "Did Matryoshka training beat an adaptor of the same parent?",
    "training_or_nothing": "Did all of this training beat a rotation of the model that it started from?",
    "budget": "What did a smaller training budget lose?",
    "narrow": "What did training one narrow width directly give, against a prefix trained for it?",
    "parent": "What did this step change, against its parent?",
}


class Pair(NamedTuple):
    """`first` is compared with `second`: positive differences speak for `first`."""

    question: str
    first: str
    second: str


def pairs_of(models: list[Model]) -> list[Pair]:
    """The comparisons that the graph holds, each pair of models once, under the first question that it answers."""
    by_name = {model.name: model for model in models}
    root, steps = {name: line[0].name for name, line in lines(models).items()}, steps_of(models)
    found: dict[tuple[str, str], str] = {}

    def add(question: str, first: Model, second: Model) -> None:
        if first is not second and (second.name, first.name) not in found:
            found.setdefault((first.name, second.name), question)

    nested = [m for m in models if m.nested]
    rotations = [m for m in models if m.rotated and not m.trained]
    for a in nested:
        for b in rotations:
            if root[a.name] == root[b.name] and (a.parent == b.parent or steps[a.name] == steps[b.name]):
                add("training_or_rotation", a, b)
    for a in nested:
        fixed = [m for m in models if m.trained and not m.nested and a.parent == m.parent and _wide(by_name, m)]
        for b in _of_budget([m for m in fixed if a.rotated == m.rotated], a.steps):
            add("matryoshka", a, b)
    for a in nested:
        parent = by_name.get(a.parent or "")
        if parent is not None and parent.trained and not parent.nested:
            beside = [b for b in nested if b.parent == parent.parent and b.rotated == a.rotated]
            for b in _of_budget(beside, parent.steps):
                add("start", a, b)
    for a in nested:
        for b in nested:
            if a.parent == b.parent and a.rotated and not b.rotated and a.steps == b.steps:
                add("rotate_first", a, b)
    for a in rotations:
        add("rotation", a, by_name[a.parent or ""])
    adaptors = [m for m in models if m.adapted]
    for question, firsts, seconds in (
        ("adaptor_or_rotation", adaptors, rotations),
        ("training_or_adaptor", nested, adaptors),
    ):
        for a in firsts:
            for b in seconds:
                if a.parent == b.parent:
                    add(question, a, b)
    for a in models:
        for b in rotations:
            if steps[a.name] and not steps[b.name] and root[a.name] == root[b.name]:
                add("training_or_nothing", a, b)
    for a in models:
        for b in models:
            same = (a.parent, a.nested, a.rotated, a.trained, a.width) == (
                b.parent,
                b.nested,
                b.rotated,
                b.trained,
                b.width,
            )
            if same and a.trained and a.steps < b.steps:
                add("budget", a, b)
    for a in models:
        if a.trained and not _wide(by_name, a):
            for b in nested:
                if b.parent == a.parent:
                    add("narrow", a, b)
    for a in models:
        if a.parent is not None:
            add("parent", a, by_name[a.parent])
    order = list(QUESTIONS)
    return sorted((Pair(q, *names) for names, q in found.items()), key=lambda pair: order.index(pair.question))


def _of_budget(models: list[Model], steps: int) -> list[Model]:
    """Those with so many steps, where there are any: of a study with several budgets, the one that is meant."""
    return [model for model in models if model.steps == steps] or models


def verdicts(
    estimate: Estimate, corrected: np.ndarray, larger: np.ndarray, confidence: float, margin: float
) -> list[str]:
    """`better`, `worse`, `same` (the interval within the margin) or `unclear`, per cell.

    Better and worse need the p-value corrected for all comparisons of the family, not the single interval. Same needs
    a margin that is small beside the scores: at most a tenth of the `larger` of the two, else two scores near 0 are
    the same whatever they are.
    """
    said = []
    for value, low, high, p, score in zip(estimate.value, estimate.low, estimate.high, corrected, larger, strict=True):
        if np.isnan(low) or np.isnan(high):
            said.append("unclear")
        elif p < 1 - confidence:
            said.append("better" if value > 0 else "worse")
        elif -margin <= low and high <= margin and MARGIN_OF_SCORE * score >= margin:
            said.append("same")
        else:
            said.append("unclear")
    return said


def verdict_columns(estimate: Estimate, larger: np.ndarray, intervals: Intervals) -> list[dict[str, Any]]:
    """VERDICT_COLUMNS of each difference (cell) of one family: what is corrected together. `larger`: of the two scores, per cell."""
    p = p_values(estimate)
    corrected = holm(p)
    said = verdicts(estimate, corrected, larger, intervals.confidence, intervals.margin)
    columns = (estimate.value, estimate.low, estimate.high, p, corrected)
    return [
        dict(zip(VERDICT_COLUMNS, [*map(number, cell), verdict], strict=True))
        for *cell, verdict in zip(*columns, said, strict=True)
    ]


def trained(models: list[Model]) -> set[str]:
    """The models with training, or an adaptor, in their line: another seed would have given another model."""
    found: set[str] = set()
    for model in models:  # parents come first
        if model.steps or model.adapted or model.parent in found:
            found.add(model.name)
    return found


def comparisons(differences: pl.DataFrame, models: list[ModelEntry]) -> list[Comparison]:
    """Each pair's verdicts per task type, with what either side cost: no ratio of seconds where the two were made on several
    kinds of devices."""
    by_name = {model.name: model for model in models}
    rows = []
    means = differences.filter(pl.col("task") == MEAN)
    keys = ["question", "first", "second", "task_type"]
    for (question, first, second, task_type), part in means.group_by(keys, maintain_order=True):
        sides = by_name[str(first)], by_name[str(second)]
        elsewhere = len(devices_of(sides)) > 1
        ratios: dict[str, float | None] = {}
        for scope in ("own", "total"):
            for unit in ("steps", "seconds"):
                a, b = (getattr(getattr(model.cost, scope), unit) for model in sides)
                known = a is not None and b and not (elsewhere and unit == "seconds")
                ratios[f"{scope}_{unit}_ratio"] = a / b if known else None
        by_verdict = {verdict: part.filter(pl.col("verdict") == verdict)["dim"].to_list() for verdict in VERDICTS}
        undecided = part.filter(pl.col("verdict") == "unclear")
        named = {
            "detectable": undecided["detectable"].max(),
            "units_needed": _most(undecided["units_needed"]),
            "seeds_needed": _most(undecided["seeds_needed"]),
            "caveats": _dimensions_by_caveat(part),
            "question": question,
            "first": first,
            "second": second,
            "task_type": task_type,
        }
        rows.append(Comparison.model_validate(named | by_verdict | ratios))
    return rows


def _dimensions_by_caveat(part: pl.DataFrame) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for dim, caveats in part.select("dim", "caveats").iter_rows():
        for caveat in caveats:
            found.setdefault(caveat, []).append(dim)
    return found


def _most(needed: pl.Series) -> float | None:
    """The most that any dimension needs; None where one of them has no number."""
    return None if needed.null_count() or not len(needed) else float(np.max(needed.to_numpy()))


def _wide(by_name: dict[str, Model], model: Model) -> bool:
    return model.parent is None or model.width == by_name[model.parent].width
