"""Whom an interval speaks of, in a phrase, and where its verdict does not hold, in sentences.

Takes what a sample was made of; leaves words that stand beside intervals and verdicts. What holds and what does not was
simulated: docs/statistics.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.resampling import MOST_OVERLAP
from workflow_scripts.study.sections.own_task import NOT_JUDGED

MANY_SEEDS = 5  # with as many, verdicts of classification are hardly too careful
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


def caveats(task_type: str, outcomes: bool, overlap: float) -> list[str]:
    """Where intervals and verdicts of a task type do not hold, a sentence each; none where they were simulated to hold."""
    units = UNITS.get(task_type)
    if outcomes and overlap > MOST_OVERLAP:
        return [
            f"Each draw takes {overlap:.0%} of the training examples that there are: nothing is known of other training"
            " examples."
        ]
    if not outcomes and units == DRAWS:
        return [
            "Outcomes by test text are not known: two models that do not differ are called different in 8 to 20% of"
            " studies, not in 5%."
        ]
    if units == CLUSTERINGS:
        return ["The samples share their documents: intervals are too narrow for other documents."]
    return []


def few_units(estimate: Estimate) -> npt.NDArray[np.bool_]:
    """Of each cell, whether so few units make up the difference that its interval covers less often than it says."""
    found: npt.NDArray[np.bool_] = estimate.telling < FEW
    return found


def of_difference(estimate: Estimate, task_type: str, outcomes: bool, seeds: list[int]) -> list[list[str]]:
    """Where the verdict of each cell does not hold, a clause each. `seeds`: how many were measured of each trained side."""
    units = "test texts" if outcomes else UNITS.get(task_type, "units")
    of_pair = []
    if seeds and min(seeds) < max(seeds) and min(seeds) == 1:
        of_pair.append("one side has one seed: its spread between seeds is taken to be the other's")
    if outcomes and seeds and 1 < max(seeds) < MANY_SEEDS:
        of_pair.append(
            "so few seeds do not tell whether they move the score or single test texts: in the latter case equal models are"
            " called different in 1% of studies, not in 5%"
        )
    found = []
    for telling, few in zip(estimate.telling, few_units(estimate), strict=True):
        said = list(of_pair)
        if few and telling == 0:
            said.append(f"none of the {units} tells the two apart: nothing can be said of others")
        elif few:
            said.append(
                f"fewer than {FEW} {units} make up the difference: its interval covers less often than it says, and a small"
                " difference cannot be found"
            )
        found.append(said)
    return found
