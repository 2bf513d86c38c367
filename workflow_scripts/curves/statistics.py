"""How sure a score is: paired bootstrap intervals over queries or experiments, with seeds above them.

Takes arrays of values (what a score is the mean of); leaves estimates, intervals and p-values. The same
resample of a task's units serves every model, dimension and reduction, so whatever two of them share
(hard queries, for one) cancels in a difference or a ratio.

How an interval is made. Units are resampled, deviations widened by sqrt(n / (n - 1)) and by a t quantile, as the
bootstrap of ten experiments is too narrow otherwise (Hesterberg 2015, "What teachers should know about the
bootstrap", section 5.3). The quantiles are those of BCa (Efron 1987), as most queries of a hard task score 0 and a few
score much: the plain percentiles of such a mean end too low. A mean over tasks has the degrees of freedom of the very
quantity estimated (Welch and Satterthwaite): what two models differ by may come from one task. Training seeds are the
outer level, but drawing three seeds with replacement cannot give the right width, so their part enters as a variance
component: the variance between seeds beyond what the units explain, with S - 1 degrees of freedom, joined to the
units' part likewise; and no interval is narrower than the t interval of the seeds' own scores. With one seed the
intervals say nothing of another training run, and the summary says that.

What that covers, simulated, at nominal 95% (tests/curves/test_statistics.py). Gaussian values, 10 or 100 units, 1 to 5
seeds: 93 to 97%; more, up to 99%, where neither a query's hardness nor a seed moves scores and all is noise between
the two. A mean over 12 tasks of 10 experiments, also where one task holds all of the difference: 93 to 97%. 300
queries of which 5, 10 or 30% score at all: a level 93 to 97%; a difference or a share, where 70% of those queries
changed, at least 90, 92 and 93%. What too few queries tell, no interval covers: where 2 or 3 of 50 queries score, a
level's covers 84%; where 1 or 2 of 300 fall to 0 and make most of the difference, the difference's covers 72%, and
nearly all that it misses are differences larger than it says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Draws = npt.NDArray[np.float32]

# Counts held at a time while resampling, as int64 and again as float32: bounds memory at about 150 MB.
RESAMPLE_BLOCK = 12_000_000

# Resamples kept of each part of a mean: they only tell how a variance falls to the parts, and 10% off is near enough.
PART_RESAMPLES = 200


class Estimate(NamedTuple):
    """Arrays of one shape: the estimate, its interval, its standard error and its degrees of freedom.

    All but `value` are nan where nothing tells how sure it is (no values of units).
    """

    value: Array
    low: Array
    high: Array
    error: Array
    freedom: Array


class Sample(NamedTuple):
    """What is known of some cells (say: the dimensions of a model) on one task, or on a mean over tasks.

    `score`: (cells, seeds). `draws`: (cells, seeds, resamples), the score in each resample less `score`; nan without
    values. `parts`: (parts, cells, seeds, first resamples), what each set of units resampled among themselves (a task
    of the mean, a subset of a task) adds to the draws. `freedom`: (parts,), degrees of freedom of a part's variance.
    """

    score: Array
    draws: Draws
    parts: Draws
    freedom: Array


def take(sample: Sample, cells: list[int] | None = None, seeds: list[int] | None = None) -> Sample:
    """The sample at these cells and seeds, in this order; all of them where none are named."""
    score, draws, parts, freedom = sample
    if cells is not None:
        score, draws, parts = score[cells], draws[cells], parts[:, cells]
    if seeds is not None:
        score, draws, parts = score[:, seeds], draws[:, seeds], parts[:, :, seeds]
    return Sample(score, draws, parts, freedom)


def seed_mean(sample: Sample) -> Sample:
    """The mean over seeds, as one seed."""
    score, draws = sample.score.mean(1, keepdims=True), sample.draws.mean(1, keepdims=True)
    return Sample(score, draws, sample.parts.mean(2, keepdims=True), sample.freedom)


def resample(values: npt.NDArray[np.float32], score: Array, resamples: int, seed: list[int]) -> Sample:
    """Resample the units of one task.

    `values`: (cells, seeds, units), nan where a cell was not measured under a seed. `score`: (cells, seeds).
    The draws depend on `seed` and on the number of units alone, never on which cells are there.
    """
    cells, seeds, units = values.shape
    draws = np.full((cells, seeds, resamples), np.nan, np.float32)
    if units >= 2:
        rng = np.random.default_rng(seed)
        flat = np.ascontiguousarray(values.reshape(cells * seeds, units), np.float32)
        flat = flat - flat.mean(1, keepdims=True)
        widening = np.float32(np.sqrt(units / (units - 1)) / units)
        out = draws.reshape(cells * seeds, resamples)
        block = max(1, RESAMPLE_BLOCK // units)
        for start in range(0, resamples, block):
            size = min(block, resamples - start)
            counts = rng.multinomial(units, np.full(units, 1 / units), size=size).astype(np.float32)
            out[:, start : start + size] = flat @ counts.T * widening
    return Sample(score, draws, draws[None, :, :, :PART_RESAMPLES], np.array([units - 1.0]))


def resample_parts(
    values: npt.NDArray[np.float32], score: Array, parts: npt.NDArray[np.int64], resamples: int, seed: list[int]
) -> Sample:
    """Resample the units of a task whose score is the mean over parts (subsets and splits), each part's among
    themselves: how parts differ is no chance, and a small part weighs as much as a large one.

    `parts`: (units,), the part of each unit; the rest as in `resample`.
    """
    numbers = np.unique(parts)
    if len(numbers) < 2:
        return resample(values, score, resamples, seed)
    if not values.shape[2]:  # a model without values still has the parts of those with values, to pair up with them
        values = np.full((*values.shape[:2], len(parts)), np.nan, np.float32)
    return mean_over_tasks(
        [resample(values[:, :, parts == number], score, resamples, [*seed, int(number)]) for number in numbers]
    )


def mean_over_tasks(samples: list[Sample]) -> Sample:
    """The unweighted mean over tasks, whose units are independent; the tasks themselves count as given."""
    score = np.mean([sample.score for sample in samples], axis=0)
    draws = np.zeros_like(samples[0].draws)
    for sample in samples:
        draws += sample.draws
    draws /= np.float32(len(samples))
    parts = np.concatenate([sample.parts for sample in samples])
    parts /= np.float32(len(samples))
    return Sample(score, draws, parts, np.concatenate([sample.freedom for sample in samples]))


def level(sample: Sample, confidence: float) -> Estimate:
    """The score of each cell: the mean over seeds."""
    freedom = _joint_freedom(sample.parts.mean(2), sample.freedom)
    return _interval(sample.score.mean(1), sample.draws.mean(1), sample.score, sample.draws, freedom, confidence)


def share(sample: Sample, full: Sample, chance: float, confidence: float) -> Estimate:
    """The share of the full-width score that each cell keeps: (score - chance) / (full - chance).

    `full` holds one cell of the same model, seeds and resamples. `chance` 0 gives the plain share.
    A full-width score at or below chance makes no share: nan.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        base, base_draws = full.score - chance, full.draws
        value = (sample.score.mean(1) - chance) / base.mean(1)
        draws = (sample.draws.mean(1) + (sample.score.mean(1) - chance)[:, None].astype(np.float32)) / (
            base_draws.mean(1) + base.mean(1)[:, None].astype(np.float32)
        )
        by_seed = (sample.score - chance) / base
        draws_by_seed = (sample.draws + (sample.score - chance)[:, :, None].astype(np.float32)) / (
            base_draws + base[:, :, None].astype(np.float32)
        )
    undefined = base.mean(1) <= 0
    value = np.where(undefined, np.nan, value)
    # The share's error is that of (score - share x full), over the full width's score.
    slope = value[:, None].astype(np.float32)
    freedom = _joint_freedom(sample.parts.mean(2) - slope * full.parts.mean(2), sample.freedom)
    estimate = _interval(
        value,
        draws - slope,
        by_seed,
        draws_by_seed - by_seed[:, :, None].astype(np.float32),
        freedom,
        confidence,
        straight=sample.draws.mean(1) - slope * full.draws.mean(1),
    )
    # The full width keeps all of itself in every resample: no rounding error may blur that.
    exact = np.all(sample.score == full.score, axis=1) & np.all(sample.draws == full.draws, axis=(1, 2)) & ~undefined
    return Estimate(*(np.where(exact, known, part) for part, known in zip(estimate, (1, 1, 1, 0, np.nan), strict=True)))


def difference(first: Sample, second: Sample, confidence: float) -> Estimate:
    """`first` less `second`, cell by cell. Seeds pair up; a model with one seed meets every seed of the other."""
    seeds = max(first.score.shape[1], second.score.shape[1])
    score = np.broadcast_to(first.score - second.score, (len(first.score), seeds))
    draws = first.draws - second.draws
    freedom = _joint_freedom((first.parts - second.parts).mean(2), first.freedom)
    return _interval(score.mean(1), draws.mean(1), score, draws, freedom, confidence)


def area(sample: Sample, dimensions: list[int]) -> Sample:
    """Area under the score over log2(dimension), divided by the range: the mean height of the curve, as one cell.

    The cells of `sample` are the dimensions, rising. One dimension: its score.
    """
    weights = area_weights(dimensions)
    single = weights.astype(np.float32)
    draws, parts = np.tensordot(single, sample.draws, 1)[None], np.tensordot(sample.parts, single, (1, 0))[:, None]
    return Sample((weights @ sample.score)[None], draws, parts, sample.freedom)


def area_weights(dimensions: list[int]) -> Array:
    """Trapezoidal weights over log2(dimension) that sum to 1. Shape (dimensions,)."""
    if len(dimensions) == 1:
        return np.ones(1)
    steps = np.diff(np.log2(np.array(dimensions, np.float64)))
    weights = np.zeros(len(dimensions))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    weights /= weights.sum()
    return weights


def p_values(estimate: Estimate) -> Array:
    """Two-sided p-values of 'no difference'; 1 where the difference is exactly 0 in every resample."""
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.abs(estimate.value) / estimate.error
        p: Array = 2 * stats.t.sf(statistic, estimate.freedom)
    exact = estimate.error == 0
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


def _joint_freedom(parts: Draws, freedoms: Array) -> Array:
    """Degrees of freedom (cells,) of a quantity's variance, from what each part adds to its draws.

    `parts`: (parts, cells, resamples), `freedoms`: (parts,).
    """
    return _welch(parts.var(-1, dtype=np.float64), freedoms[:, None])


def _welch(variances: Array, freedoms: Array) -> Array:
    """Welch and Satterthwaite's degrees of freedom of a sum of variances. Both (parts, cells)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        joint: Array = variances.sum(0) ** 2 / (variances**2 / freedoms).sum(0)
    filled: Array = np.where(variances.sum(0) == 0, freedoms.min(0), joint)
    return filled


def _interval(
    value: Array,
    draws: Draws,
    by_seed: Array,
    draws_by_seed: Draws,
    freedom: Array,
    confidence: float,
    straight: Draws | None = None,
) -> Estimate:
    """The interval around `value` (cells,) from deviations `draws` (cells, resamples); see the module's text.

    `straight`: the draws of the mean that the quantity is to first order, at any scale; `draws` where it is a mean.
    """
    seeds = by_seed.shape[1]
    tail = (1 - confidence) / 2
    units = draws.var(-1, dtype=np.float64)
    variance, joint = units, freedom
    if seeds >= 2:
        interaction = draws_by_seed.var(1, ddof=1, dtype=np.float64).mean(-1)
        spread = by_seed.var(1, ddof=1) / seeds
        between = np.fmax(0, spread - interaction / seeds)
        variance = units + between
        joint = _welch(np.array([units, between]), np.array([freedom, np.full_like(freedom, seeds - 1)]))
        # Few seeds may agree by luck, or leave the component at 0: never narrower than the seeds alone would be.
        alone = stats.t.isf(tail, seeds - 1) * np.sqrt(spread) > stats.t.isf(tail, joint) * np.sqrt(variance)
        variance, joint = np.where(alone, spread, variance), np.where(alone, seeds - 1.0, joint)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The seeds' part has no skewness that so few could show.
        skewness = _skewness(draws if straight is None else straight) * np.fmin(1, units / variance) ** 1.5
        factor = np.sqrt(variance / units) * stats.t.isf(tail, joint) / stats.norm.isf(tail)
        symmetric = stats.t.isf(tail, joint) * np.sqrt(variance)
    low, high = _bca(draws, skewness, tail)
    # Units that never vary leave no shape to widen: the seeds' part alone, symmetric.
    low = np.where(units > 0, factor * low, -symmetric)
    high = np.where(units > 0, factor * high, symmetric)
    error = np.sqrt(variance)
    still = error == 0
    return Estimate(value, value + np.where(still, 0, low), value + np.where(still, 0, high), error, joint)


def _skewness(draws: Draws) -> Array:
    """Skewness (cells,) of a mean's draws (cells, resamples), which no values bring beyond 1."""
    centred = draws - draws.mean(-1, keepdims=True)
    squares = centred * centred
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = (squares * centred).mean(-1, dtype=np.float64) / squares.mean(-1, dtype=np.float64) ** 1.5
    skewness: Array = np.clip(np.nan_to_num(raw), -1, 1)
    return skewness


def _bca(draws: Draws, skewness: Array, tail: float) -> tuple[Array, Array]:
    """The quantiles (cells,) of each cell's draws (cells, resamples) that leave `tail` outside on either side by BCa.

    Bias correction and acceleration are both a sixth of the skewness, as they are for a mean to first order (Efron
    1987): steadier than counting the draws below the estimate.
    """
    ordered = np.sort(draws, axis=-1)
    bend = skewness / 6
    ends = []
    for z in (stats.norm.ppf(tail), stats.norm.isf(tail)):
        place = stats.norm.cdf(bend + (bend + z) / (1 - bend * (bend + z))) * (draws.shape[1] - 1)
        below = place.astype(np.int64)
        around = np.stack([below, np.minimum(below + 1, draws.shape[1] - 1)], axis=-1)
        left, right = np.take_along_axis(ordered, around, -1).T
        ends.append(left + (place - below) * (right - left))
    return ends[0], ends[1]
