"""Whom an interval speaks of, in a phrase, and where its verdict does not hold, in sentences.

Takes what a sample was made of; leaves words that stand beside intervals and verdicts. What holds and what does not was
simulated: docs/statistics.md.
"""

from __future__ import annotations

import numpy as np

from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.resampling import MOST_OVERLAP
from workflow_scripts.study.sections.own_task import NOT_JUDGED

FEW = 8  # units that make up a difference; with fewer an interval covers less than it says

# What a score is the mean of, and what else it would have been measured on, by task type.
QUERIES, DRAWS, CLUSTERINGS = "queries", "draws of training examples", "samples of the same documents"
UNITS = {
    "Retrieval": QUERIES,
    NOT_JUDGED: QUERIES,
    "Reranking": QUERIES,
    "InstructionReranking": QUERIES,
    "Classification": DRAWS,
    "MultilabelClassification": DRAWS,
    "Clustering": CLUSTERINGS,
}


def phrase(task_type: str, outcomes: bool, overlap: float, trained: bool, seeds: int) -> str:
    """Over what a score's interval holds: `over other test texts and other training examples, and other training seeds`.

    `outcomes`: a classification task's are known by test text; `overlap`: the share of its pool that a draw of training
    examples takes; `trained`, `seeds`: of the model.
    """
    if outcomes:
        examples = "other training examples" if overlap <= MOST_OVERLAP else "these training examples"
        said = f"over other test texts and {examples}"
    elif (units := UNITS.get(task_type)) == DRAWS:
        said = "over other draws from these training examples, on these test texts"
    elif units is not None:
        said = f"over other {units}"
    else:
        return "no interval: the score is one number, not a mean"
    if not trained:
        return said
    return f"{said}, and other training seeds" if seeds >= 2 else f"{said}, of this one trained model"


def caveats(
    task_type: str,
    outcomes: bool,
    overlap: float,
    telling: float | None = None,
    seeds: tuple[int, int] | None = None,
) -> list[str]:
    """Where an interval or a verdict does not hold, a sentence each; none where it was simulated to hold.

    `telling`: how many units make up a difference's variance (`Estimate.telling`). `seeds`: how many were measured of
    each trained side of a difference: the most and the fewest, in any order.
    """
    said = []
    units = UNITS.get(task_type)
    if outcomes and overlap > MOST_OVERLAP:
        said.append(
            f"Each draw takes {overlap:.0%} of the training examples that there are: nothing is known of other training"
            " examples."
        )
    elif not outcomes and units == DRAWS:
        said.append(
            "Outcomes by test text are not known: two models that do not differ are called different in 8 to 20% of"
            " studies, not in 5%."
        )
    elif units == CLUSTERINGS:
        said.append("The samples share their documents: intervals are too narrow for other documents.")
    if telling is not None and telling < FEW:
        of_what = "test texts" if outcomes else units or "units"
        if telling == 0:
            said.append(f"None of the {of_what} tells the two apart: nothing can be said of others.")
        else:
            said.append(
                f"About {max(1, round(telling))} {of_what} make up the difference: its interval covers less often than it"
                " says, and a small difference cannot be found."
            )
    if seeds is not None and max(seeds) == 1:
        said.append(
            "One seed was measured: the verdict is about these trained models, not about their ways of training."
        )
    elif seeds is not None and min(seeds) == 1:
        said.append("One seed of one model: its spread between seeds is taken to be the other's.")
    return said


def of_difference(estimate: Estimate, task_type: str, outcomes: bool, overlap: float) -> list[list[str]]:
    """The caveats of each cell of a difference."""
    return [
        caveats(task_type, outcomes, overlap, float(telling) if np.isfinite(telling) else None)
        for telling in estimate.telling
    ]
