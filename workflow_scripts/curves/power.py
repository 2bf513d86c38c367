"""What a study could have found: the smallest difference, and how much more data would decide one.

Takes a difference with its standard error; leaves numbers that stand beside "the data cannot tell", so that undecided is
not read as equal.

The minimum detectable effect of a t test is a multiple of the standard error, the sum of two quantiles (Bloom 1995,
"Minimum detectable effects: a simple way to report the statistical power of experimental designs"). statsmodels.stats.power
has it for one or two samples of equal variance; here the standard error comes from several variance components with
joint degrees of freedom.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from workflow_scripts.curves.intervals import Estimate, Variance, welch
from workflow_scripts.curves.resampling import Array

POWER = 0.8
SEEDS = (*range(2, 31), 40, 50, 70, 100)  # numbers of seeds that are tried


class Needed(NamedTuple):
    """How many units (queries, test texts) or seeds would show an effect with a power of 80%, each if only they grew; inf
    where that alone never does."""

    units: Array
    seeds: Array


def multiple(df: Array, confidence: float, comparisons: int = 1) -> Array:
    """How many standard errors a difference must be for 80% of studies to find it, two-sided.

    `df`: degrees of freedom; `comparisons`: for how many p-values are corrected (Bonferroni's bound of Holm's method).
    """
    found: Array = stats.t.isf((1 - confidence) / comparisons / 2, df) + stats.t.isf(1 - POWER, df)
    return found


def smallest_effect(estimate: Estimate, confidence: float, comparisons: int = 1) -> Array:
    """The smallest true difference that 80% of studies like this one find: (cells,), nan without an interval."""
    return estimate.standard_error * multiple(estimate.df, confidence, comparisons)


def needed(
    effect: float,
    variance: Variance,
    units: int,
    seeds: int | Array,
    confidence: float,
    comparisons: int = 1,
) -> Needed:
    """How many units or seeds would find a true difference of `effect`, each if all else stays as it is.

    `variance`: of the difference as measured with so many `units` and `seeds` (of each side, see intervals.seeds_counted). For more units the degrees of freedom count as
    they are, which is safe: more data bring more of them.
    """
    allowed = (effect / multiple(variance.df, confidence, comparisons)) ** 2
    room = allowed - (variance.draws + variance.seeds)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_units = np.where(room > 0, np.ceil(np.fmax(units, units * variance.units / room)), np.inf)
    return Needed(of_units, _seeds_needed(effect, variance, units, np.asarray(seeds), confidence, comparisons))


def _seeds_needed(
    effect: float, variance: Variance, units: int, seeds: Array, confidence: float, comparisons: int
) -> Array:
    """The fewest of some numbers of seeds that would find the effect, once each side has so many. Few seeds leave few degrees of freedom, which say more than
    their variance does: with three and a correction for a hundred comparisons nothing is ever found."""
    joint = variance.units + variance.draws
    alone = variance.total > joint + variance.seeds  # the seeds' own scores say more than the sum of the parts
    found = np.full(joint.shape, np.inf)
    for count in reversed(SEEDS):
        of_seeds = variance.one_seed / count
        total = np.fmax(joint + of_seeds, np.where(alone, variance.one_alone / count, 0))
        df = np.where(alone, count - 1.0, welch(np.array([joint, of_seeds]), np.array([[units - 1.0], [count - 1.0]])))
        enough = np.sqrt(total) * multiple(df, confidence, comparisons) <= effect
        found = np.where(enough & (count > seeds) & (alone | (variance.one_seed > 0)), count, found)
    return found
