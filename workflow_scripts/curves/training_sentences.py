"""The report's sentences on training: the cheapest way to a larger area under the curve, and each question's verdict.

Takes the answer and the curves; leaves `Markup` in which everything from data is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from markupsafe import Markup

from workflow_scripts.curves.formats import between, code, count, duration, listed, lost, number, quantity, ratio, runs
from workflow_scripts.curves.report_sentences import WANTED, prefix_points
from workflow_scripts.curves.schemas import MEAN, VERDICTS
from workflow_scripts.curves.summary import Answer, Comparison, CostStep

# The questions that are answered in one line, and the verdicts that mean yes; the other decided ones mean no.
ASKED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("training_or_rotation", "Did Matryoshka training beat a rotation?", ("better",)),
    ("adaptor_or_rotation", "Did a matrix learned on frozen embeddings beat a rotation?", ("better",)),
    ("training_or_adaptor", "Did Matryoshka training beat a matrix learned on frozen embeddings?", ("better",)),
    ("start", "Was starting from the fixed model as good as starting from the base?", ("better", "same")),
    ("rotate_first", "Did rotating first help Matryoshka training?", ("better",)),
)
# How much of all comparisons is most of them, those that the data leave open included.
MOST = 2 / 3
ORDERS = {"flops": "floating-point operations", "seconds": "computing time", "steps": "training steps"}


def cost_frontier_list(answer: Answer, curves: pl.DataFrame) -> list[Markup]:
    """The cheapest way to a larger area under the curve, step by step, and what each loses."""
    items = []
    for task_type in answer.task_types:
        steps = [step for step in answer.cost_frontier if step.task_type == task_type]
        title = Markup("<b>{}:</b> ").format(task_type)
        left_out = answer.off_cost_frontier.get(task_type, [])
        without = (
            Markup(" Left out, for want of a score at every dimension of the widest model: {}.").format(
                listed([code(name) for name in left_out])
            )
            if left_out
            else Markup("")
        )
        if not steps:
            items.append(title + "what the models cost is not known, or there is no curve." + without)
            continue
        dim = dimension_spoken_of(answer, curves, task_type)
        said = Markup("; then ").join(
            _step(step, prefix_points(curves, task_type, step.variant).get(dim or 0)) for step in steps
        )
        start, end = (
            "",
            f"Nothing that costs more has a larger one with confidence{' than the last' * (len(steps) > 1)}.",
        )
        if len(answer.models) == 1:
            end = "No other model was measured."
        elif costs_the_same(answer):
            start, end = "no model here costs more than another. The highest by ", ""
        span = f"{start}area under the curve from {steps[0].from_dim} to {steps[0].to_dim}"
        items.append(title + Markup("{}: {}. {}").format(span, said, end) + without)
    return items


def cost_frontier_note(answer: Answer) -> str:
    """How the list of the cost frontier is to be read."""
    pooled = [task_type for task_type, entry in answer.task_types.items() if entry.in_domain and entry.out_of_domain]
    order = next((ORDERS[step.order] for step in answer.cost_frontier), None)
    up = (
        f"From the cheapest model up{f' (by {order}, parents included)' if order else ''}, each whose area under the curve is"
        " larger than that of the one before, with confidence. "
    )
    return (
        f"{'' if costs_the_same(answer) else up}Area under the curve: the mean of the score over log2(dimension), float32"
        " prefixes, so that each doubling of the dimension counts the same. What is lost is the share of the model's own"
        " full-width score."
        + (f" {listed(pooled)}: here and in the comparisons, tasks in and out of domain are pooled." if pooled else "")
    )


def dimension_spoken_of(answer: Answer, curves: pl.DataFrame, task_type: str) -> int | None:
    """The dimension that the cost frontier is illustrated at: where the best model keeps 95% or 90%, else the next below
    its full width."""
    steps = [step.variant for step in answer.cost_frontier if step.task_type == task_type]
    variant = steps[-1] if steps else answer.reference.get(task_type)
    *smaller, width = prefix_points(curves, task_type, variant) or [0]
    by_share = {
        row.share: row.dim
        for row in answer.recommendations
        if (row.variant, row.task_type, row.task) == (variant, task_type, MEAN)
    }
    for wanted in WANTED[1:]:
        if (dim := by_share.get(wanted)) is not None and dim < width:
            return dim
    return smaller[-1] if smaller else None


def what_is_cheapest(answer: Answer) -> list[tuple[str, str, list[Markup]]]:
    """Whether training beat a rotation, where to start, and whether to rotate first: question, verdict, then each pair."""
    items = []
    for question, sentence, yes in ASKED:
        found = [c for c in answer.comparisons if c.question == question]
        if found:  # no two models of a study may be able to tell
            pairs = [comparison(c, answer.margin, answer.task_types[c.task_type].values) for c in found]
            items.append((sentence, overall(found, yes, answer.margin), pairs))
    return items


def overall(found: list[Comparison], yes: Sequence[str], margin: float) -> str:
    """The verdicts of one question counted over its pairs, task types and dimensions; `yes`: those that mean yes."""
    counts = {verdict: sum(len(getattr(c, verdict)) for c in found) for verdict in VERDICTS}
    total = sum(counts.values())
    if not total:
        return "No dimension in common."
    for_it = sum(counts[verdict] for verdict in yes)
    against = total - for_it - counts["unclear"]
    if 2 * counts["unclear"] >= total:
        lead = "The data cannot tell."
    elif total in (for_it, against):
        lead = "Yes, everywhere." if for_it else "No, nowhere."
    elif 0 in (for_it, against):
        lead = f"{'Yes' if for_it else 'No'}, where the data can tell."
    elif max(for_it, against) >= MOST * total:
        lead = "Mostly yes." if for_it > against else "Mostly no."
    else:
        lead = "It depends."
    named = {"better": "better", "worse": "worse", "same": f"within {margin:g} of score", "unclear": "undecided"}
    said = [f"{words} in {counts[verdict]}" for verdict, words in named.items() if counts[verdict]]
    return f"{lead} Of {count(total, 'comparison')} (pair, task type, dimension): {', '.join(said)}."


def comparison(found: Comparison, margin: float, units: str) -> Markup:
    """One pair on one task type, in a sentence: where which one is better, and where nothing can be said, with what would
    decide it. `units`: what the score is a mean of."""
    measured = sorted(dim for verdict in VERDICTS for dim in getattr(found, verdict))
    named = {
        "better": "better at",
        "worse": "worse at",
        "same": f"within {margin:g} of score at",
        "unclear": "the data cannot tell at",
    }
    could = ""
    if found.detectable is not None:
        could = f" (80% of studies like this one find a difference of {found.detectable:.3f}"
        if found.detectable > margin > 0:
            could += f"; one of {margin:g} takes {would_decide(found, units)}"
        could += ")"
    parts = [
        f"{words} {listed(runs(dims, measured))}"
        for verdict, words in named.items()
        if (dims := getattr(found, verdict))
    ]
    cost = ""
    timed = found.own_seconds_ratio is not None
    own, total = (
        (found.own_seconds_ratio, found.total_seconds_ratio)
        if timed
        else (found.own_steps_ratio, found.total_steps_ratio)
    )
    if found.question == "start" and own is not None:
        cost = f" It took {ratio(own)} of the other's {'training time' if timed else 'steps'}"
        cost += f" ({ratio(total)} with its parents')." if total is not None else "."
    where = [f" At {listed(runs(dims, measured))}, {caveat}." for caveat, dims in found.caveats.items()]
    return Markup("{}, {} against {}: {}.{}{}").format(
        found.task_type,
        code(found.first),
        code(found.second),
        f"{'; '.join(parts)}{could}" if parts else "no dimension in common",
        cost,
        "".join(where),
    )


def would_decide(found: Comparison, units: str) -> str:
    """`2,900 queries or 7 seeds`: what would show a difference of the margin in 80% of studies, each if only it grew."""
    ways = [
        f"{rounded_up(needed):,} {words}"
        for needed, words in ((found.units_needed, units), (found.seeds_needed, "seeds"))
        if needed is not None
    ]
    return " or ".join(ways) or f"more {units} and more seeds"


def rounded_up(needed: float) -> int:
    """To two digits: more is not known of what is needed."""
    step = 10 ** max(0, len(f"{needed:.0f}") - 2)
    return int(-(-needed // step) * step)


def costs_the_same(answer: Answer) -> bool:
    """Whether there are several models and they all cost the same: those of a study that only measures, nothing."""
    costs = [tuple(getattr(model.cost.total, unit) for unit in ORDERS) for model in answer.models]
    return len(costs) > 1 and len(set(costs)) == 1


def _step(step: CostStep, point: dict[str, Any] | None) -> Markup:
    gain = ""
    if step.gain is not None:
        ends = between(step.gain_low, step.gain_high, "{:+.3f}", 1)
        gain = f" ({step.gain:+.3f}{f', {ends}' if ends else ''})"
    loses = ""
    if point is not None and point["share"] is not None:
        ends = f" ({lost(point['share_high'])} to {lost(point['share_low'])})" if point["share_low"] is not None else ""
        loses = f", losing {'nothing' if point['share'] >= 1 else lost(point['share'])} at {point['dim']}{ends}"
    spent = f"for {_cost(step)}" if step.cost else "for nothing"
    return Markup("{}, {}, {}{}{}").format(code(step.variant), spent, number(step.area, 3), gain, loses)


def _cost(step: CostStep) -> str:
    if step.unit != "seconds":
        return f"{quantity(step.cost)} {ORDERS[step.unit]}"
    return f"{duration(step.cost)} of computing"
