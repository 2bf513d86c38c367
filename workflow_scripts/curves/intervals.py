"""How sure a score is: intervals and p-values over queries, test texts, training examples and training seeds.

Takes samples (scores with their resamples, see resampling.py); leaves estimates, intervals and p-values.

How an interval is made. Units are resampled, deviations widened by sqrt(n / (n - 1)) and by a t quantile, as the
bootstrap of few units is too narrow otherwise (Hesterberg 2015, "What teachers should know about the bootstrap",
section 5.3). The quantiles are those of BCa (Efron 1987), as most queries of a hard task score 0 and a few score much:
the plain percentiles of such a mean end too low. Where few units make up the variance, it is itself known poorly: an
interval has as many degrees of freedom as the fourth powers of the units allow (the variance of a sample variance is
s^4 (2 / (n - 1) + kurtosis / n)). A p-value keeps n - 1: of two models that do not differ no query favours either, so
that their difference is symmetric, and the t test holds. (scipy.stats.bootstrap has BCa for one statistic of one sample; here
thousands of differences and ratios share one set of resamples.) A mean over tasks has the degrees of freedom of the very
quantity estimated (Welch and Satterthwaite): what two models differ by may come from one task. What no resample of units
shows enters as a variance component: the draws of training examples of a classifier (resampling.py), and the
training seeds, whose variance beyond what the units explain is joined with S - 1 degrees of freedom; no interval is
narrower than the t interval of the seeds' own scores. A trained model of which one seed was measured borrows the
other's variance between seeds in a difference; where neither has several, the interval speaks of these two trainings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from workflow_scripts.curves.resampling import COLUMNS, Array, Deviations, Sample, take


class Estimate(NamedTuple):
    """Arrays of one shape: the estimate, its interval, its standard error and its degrees of freedom.

    `telling`: about how many units make up its variance where those are few, as when most queries score 0 (0 where
    none differs); else inf.
    All but `value` are nan where nothing tells how sure it is (no values of units).
    """

    value: Array
    low: Array
    high: Array
    standard_error: Array
    df: Array
    telling: Array


class Seeds(NamedTuple):
    """What the seeds of one side tell: its score by seed (cells, seeds), with the deviations and parts of each."""

    score: Array
    deviations: Deviations
    parts: Deviations
    more: float = 1  # by how much the variance of their mean counts, more than 1 where another model borrows it
    sides: int = 1  # how many sides vary so: 2 where another model borrows it


class Variance(NamedTuple):
    """A quantity's variance (cells,) by where it comes from: units, draws of training examples, seeds; its degrees of
    freedom, and those for an interval, fewer where few units tell. `total` is their sum, or more where the seeds'
    scores alone say more. `one_seed` is what `seeds` is where each side has one seed, `one_alone` what the seeds' scores
    alone then say: with n seeds on each side, an n-th of it."""

    units: Array
    draws: Array
    seeds: Array
    total: Array
    df: Array
    interval_df: Array
    telling: Array
    one_seed: Array
    one_alone: Array


def level(sample: Sample, confidence: float) -> Estimate:
    """The score of each cell: the mean over seeds."""
    deviations = sample.deviations.mean(1)
    variance = _variance(deviations, sample.parts.mean(2), sample, [_seeds_of(sample)], confidence)
    return _interval(sample.score.mean(1), deviations, variance, confidence)


def share(sample: Sample, full: Sample, chance: float, confidence: float) -> Estimate:
    """The share of the full-width score that each cell keeps: (score - chance) / (full - chance).

    `full` holds one cell of the same model, seeds and resamples. `chance` 0 gives the plain share.
    A full-width score at or below chance makes no share: nan.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        base = full.score - chance
        undefined = base.mean(1) <= 0
        value = np.where(undefined, np.nan, (sample.score.mean(1) - chance) / base.mean(1))
        deviations = _ratio(
            sample.score.mean(1) - chance, sample.deviations.mean(1), base.mean(1), full.deviations.mean(1)
        )
        by_seed = (sample.score - chance) / base
        by_seed_deviations = _ratio(sample.score - chance, sample.deviations, base, full.deviations)
        # The share's error is that of (score - share x full), over the full width's score.
        kept = combine(sample, full, -value)
        over = base.mean(1).astype(np.float32)[:, None, None]
        seeds = Seeds(by_seed, by_seed_deviations, kept.parts / over)
        variance = _variance(deviations, kept.parts.mean(2) / over[..., 0], sample, [seeds], confidence)
    estimate = _interval(value, deviations, variance, confidence, straight=kept.deviations.mean(1))
    # The full width keeps all of itself in every resample: no rounding error may blur that.
    exact = np.all(sample.score == full.score, axis=1) & np.all(sample.deviations == full.deviations, axis=(1, 2))
    known = (1, 1, 1, 0, np.nan, np.inf)
    return Estimate(*(np.where(exact & ~undefined, one, part) for part, one in zip(estimate, known, strict=True)))


def difference(first: Sample, second: Sample, confidence: float) -> Estimate:
    """`first` less `second`, cell by cell.

    Seeds that both have pair up. Of two trained models without two seeds in common, each side's seeds vary by
    themselves, and a side with one seed borrows the other's variance. A model without training has no such variance.
    """
    first, second, variance = _pair(first, second, confidence)
    deviations = first.deviations.mean(1) - second.deviations.mean(1)
    return _interval(first.score.mean(1) - second.score.mean(1), deviations, variance, confidence)


def variance_of_difference(first: Sample, second: Sample, confidence: float) -> Variance:
    """Where the variance of `first` less `second` comes from."""
    return _pair(first, second, confidence)[2]


def seeds_counted(first: Sample, second: Sample) -> int:
    """How many seeds of each side the variance of their difference speaks of: those that pair up, else the fewer of the
    trained sides'."""
    common = len(_common(first, second))
    trained = [len(side.seeds) for side in (first, second) if side.trained]
    return common if common >= 2 else min(trained, default=1)


def combine(sample: Sample, other: Sample, weight: Array) -> Sample:
    """`sample` plus `weight` (cells,) times `other` (as many cells, or one), seed by seed."""
    single = weight.astype(np.float32)[:, None, None]
    return sample._replace(
        score=sample.score + weight[:, None] * other.score,
        deviations=sample.deviations + single * other.deviations,
        parts=sample.parts + single * other.parts,
    )


def loadings(sample: Sample, confidence: float) -> tuple[Array, Array]:
    """Two matrices (cells, columns) whose products with themselves add up to the covariances of the cells' mean scores:
    one of the units and draws, which other models share, one of the training seeds."""
    deviations, parts = sample.deviations.mean(1), sample.parts.mean(2)
    variance = _variance(deviations, parts, sample, [_seeds_of(sample)], confidence)
    units = (deviations - deviations.mean(1, keepdims=True)) / np.sqrt(deviations.shape[1])
    counted = sample.factor > 0
    weighted = parts[counted] * np.sqrt(sample.factor[counted])[:, None, None]
    draws = np.hstack([np.empty((len(units), 0)), *weighted])
    seeds = sample.score - sample.score.mean(1, keepdims=True)
    scaled = [units.astype(np.float64)]
    for columns, wanted in ((draws, variance.draws), (seeds, variance.total - variance.units - variance.draws)):
        squares = (columns**2).sum(1)
        scale = np.sqrt(np.divide(np.fmax(0, wanted), squares, out=np.zeros(len(squares)), where=squares > 0))
        scaled.append(columns * scale[:, None])
    return np.hstack(scaled[:2]), scaled[2]


def p_values(estimate: Estimate) -> Array:
    """Two-sided p-values of 'no difference'; 1 where the difference is exactly 0 in every resample."""
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(estimate.value) / estimate.standard_error
        p: Array = 2 * stats.t.sf(statistic, estimate.df)
    exact = estimate.standard_error == 0
    p[exact] = np.where(estimate.value[exact] == 0, 1.0, 0.0)
    return p


def holm(p: Array) -> Array:
    """Holm's correction (1979) of p-values for their number; nan stays nan and counts for nothing."""
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return corrected


def _pair(first: Sample, second: Sample, confidence: float) -> tuple[Sample, Sample, Variance]:
    """Both sides at the seeds that count, and the variance of their difference; see `difference`."""
    common = _common(first, second)
    if len(common) >= 2:
        first, second = (take(side, seeds=[side.seeds.index(seed) for seed in common]) for side in (first, second))
        seeds = [_seeds_of(combine(first, second, np.full(len(first.score), -1.0)))]
    else:
        several = [side for side in (first, second) if len(side.seeds) >= 2]
        borrows = len(several) == 1 and all(side.trained for side in (first, second))
        seeds = [_seeds_of(side)._replace(more=1.0 + borrows * len(side.seeds), sides=1 + borrows) for side in several]
    deviations = first.deviations.mean(1) - second.deviations.mean(1)
    parts = first.parts.mean(2) - second.parts.mean(2)
    return first, second, _variance(deviations, parts, first, seeds, confidence)


def _common(first: Sample, second: Sample) -> list[int]:
    return [seed for seed in first.seeds if seed in second.seeds]


def _seeds_of(sample: Sample) -> Seeds:
    return Seeds(sample.score, sample.deviations, sample.parts)


def _ratio(above: Array, above_deviations: Deviations, below: Array, below_deviations: Deviations) -> Deviations:
    """The deviations of above / below in each resample (the last axis), from those of the two."""
    value = above / below
    resampled = (above_deviations + above[..., None].astype(np.float32)) / (
        below_deviations + below[..., None].astype(np.float32)
    )
    found: Deviations = resampled - value[..., None].astype(np.float32)
    return found


def _variance(
    deviations: Deviations, parts: Deviations, sample: Sample, seeds: list[Seeds], confidence: float
) -> Variance:
    """The variance of a quantity, from its deviations (cells, resamples), its parts (parts, cells, columns),
    of which `sample` has the factors and degrees of freedom, and what each side's seeds tell."""
    units = deviations.var(-1, dtype=np.float64)
    factor, df = sample.factor[:, None], sample.df[:, None]
    squares = parts.astype(np.float64) ** 2
    by_part = squares.sum(-1)
    draws = np.fmax(0, (factor * by_part).sum(0))
    joint = units + draws
    weighted = np.where(factor == 0, 1.0, np.where(draws > 0, factor, 0.0)) * by_part
    with np.errstate(divide="ignore", invalid="ignore"):
        # Beyond what a normal sample has, the fourth powers tell how few units make up the variance.
        few = np.fmax(0, (squares**2).sum(-1) / by_part**2 - 3 / np.fmin(df + 1, COLUMNS))
        few = np.where((factor == 0) & (by_part > 0), few, 0.0)
        telling = weighted.sum(0) ** 2 / (weighted**2 * few).sum(0)
        sizes = [weighted.sum(0) ** 2 / (weighted**2 / each).sum(0) for each in (df, 2 / (2 / df + few))]
    joint_df, interval_df = (np.where(joint == 0, df.min(), size) for size in sizes)
    telling = np.where(joint == 0, 0.0, np.where(np.isnan(joint), np.nan, telling))
    between, alone, seeds_df, one_seed, one_alone = [], [], [], [], []
    for side in seeds:
        count = side.score.shape[1]
        if count < 2:
            continue
        interaction = side.deviations.var(1, ddof=1, dtype=np.float64).mean(-1)
        interaction += side.parts[sample.factor > 0].var(2, ddof=1, dtype=np.float64).sum((0, -1))
        spread = side.score.var(1, ddof=1) / count
        beyond = np.fmax(0, spread - interaction / count)
        between.append(side.more * beyond)
        alone.append(side.more * spread)
        one_seed.append(side.sides * count * beyond)
        one_alone.append(side.sides * count * spread)
        seeds_df.append(np.full_like(spread, count - 1))
    if not between:
        none = np.zeros_like(units)
        return Variance(units, draws, none, joint, joint_df, interval_df, telling, none, none)
    of_seeds = np.sum(between, axis=0)
    total = joint + of_seeds
    joint_df, interval_df = (
        welch(np.array([joint, *between]), np.array([own, *seeds_df])) for own in (joint_df, interval_df)
    )
    # Few seeds may agree by luck, or leave the component at 0: never narrower than the seeds alone would be.
    tail = (1 - confidence) / 2
    seen, seen_df = np.sum(alone, axis=0), welch(np.array(alone), np.array(seeds_df))
    more = stats.t.isf(tail, seen_df) * np.sqrt(seen) > stats.t.isf(tail, joint_df) * np.sqrt(total)
    total, joint_df, interval_df = (
        np.where(more, known, part) for known, part in ((seen, total), (seen_df, joint_df), (seen_df, interval_df))
    )
    one = (np.sum(parts, axis=0) for parts in (one_seed, one_alone))
    return Variance(units, draws, of_seeds, total, joint_df, interval_df, telling, *one)


def welch(variances: Array, dfs: Array) -> Array:
    """Welch and Satterthwaite's degrees of freedom of a sum of variances. Both (parts, cells)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        joint: Array = variances.sum(0) ** 2 / (variances**2 / dfs).sum(0)
    filled: Array = np.where(variances.sum(0) == 0, dfs.min(0), joint)
    return filled


def _interval(
    value: Array, deviations: Deviations, variance: Variance, confidence: float, straight: Deviations | None = None
) -> Estimate:
    """The interval around `value` (cells,) from its deviations (cells, resamples); see the module's text.

    `straight`: the deviations of the mean that the quantity is to first order, at any scale; `deviations` for a mean.
    """
    tail = (1 - confidence) / 2
    units, total, df = variance.units, variance.total, variance.interval_df
    with np.errstate(divide="ignore", invalid="ignore"):
        # What comes from draws and seeds has no skewness that so few could show.
        skewness = _skewness(deviations if straight is None else straight) * np.fmin(1, units / total) ** 1.5
        factor = np.sqrt(total / units) * stats.t.isf(tail, df) / stats.norm.isf(tail)
        symmetric = stats.t.isf(tail, df) * np.sqrt(total)
    low, high = _bca(deviations, skewness, tail)
    # Units that never vary leave no shape to widen: the other parts alone, symmetric.
    low = np.where(units > 0, factor * low, -symmetric)
    high = np.where(units > 0, factor * high, symmetric)
    error = np.sqrt(total)
    still = error == 0
    return Estimate(
        value, value + np.where(still, 0, low), value + np.where(still, 0, high), error, variance.df, variance.telling
    )


def _skewness(deviations: Deviations) -> Array:
    """Skewness (cells,) of a mean's deviations (cells, resamples), which no values bring beyond 1."""
    centred = deviations - deviations.mean(-1, keepdims=True)
    squares = centred * centred
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = (squares * centred).mean(-1, dtype=np.float64) / squares.mean(-1, dtype=np.float64) ** 1.5
    skewness: Array = np.clip(np.nan_to_num(raw), -1, 1)
    return skewness


def _bca(deviations: Deviations, skewness: Array, tail: float) -> tuple[Array, Array]:
    """The quantiles (cells,) of each cell's deviations (cells, resamples) that leave `tail` outside on either side by BCa.

    Bias correction and acceleration are both a sixth of the skewness, as they are for a mean to first order (Efron
    1987): steadier than counting the deviations below the estimate.
    """
    ordered = np.sort(deviations, axis=-1)
    bend = skewness / 6
    ends = []
    for z in (stats.norm.ppf(tail), stats.norm.isf(tail)):
        place = stats.norm.cdf(bend + (bend + z) / (1 - bend * (bend + z))) * (deviations.shape[1] - 1)
        below = place.astype(np.int64)
        around = np.stack([below, np.minimum(below + 1, deviations.shape[1] - 1)], axis=-1)
        left, right = np.take_along_axis(ordered, around, -1).T
        ends.append(left + (place - below) * (right - left))
    return ends[0], ends[1]
