"""Scores with their resamples: what a score would have been on other queries, test texts and training examples.

Takes the values that a task's score is the mean of; leaves a `Sample`, whose deviations add up over tasks, dimensions
and models, so that whatever two of them share (hard queries, for one) cancels in a difference or a ratio: the same
resample of a task's units serves every model and codec.

Classification has two crossed factors: each experiment draws training examples and is scored on all test texts. The
variance of its mean accuracy over T texts and E experiments is that of persons x items (Cornfield and Tukey 1956,
"Average values of mean squares in factorials"; Brennan 2001, "Generalizability theory", chapter 3):
var(texts) / T + var(experiments) / E + var(interaction) / (T E). The variance of the texts' means already holds its part
of the interaction; that of the experiments' means holds it too, so it is taken off once. Resampling both factors
(Owen 2007, "The pigeonhole bootstrap") would count the interaction three times (McCullagh 2000, "Resampling and
exchangeable arrays": no bootstrap of two factors is exact). So texts are resampled, for the interval's shape, and the
rest is two variance components.

Experiments draw from one pool. A pool of other examples would have moved them all together, which no resampling of
experiments shows. If a draw takes the share f of its pool, the part of the variance between draws that is linear in
the examples hides f / (1 - f) of itself there, the part of second order f^2 / (1 - f^2) (Hoeffding's decomposition
of a statistic of a sample without replacement). Which order rules depends on the task: see POOL_ORDER.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Deviations = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]

# Counts held at a time while resampling, as int64 and again as float32: bounds memory at about 150 MB.
RESAMPLE_BLOCK = 12_000_000

# Columns that hold how each part of a mean varies: a column a unit, or a random group of units where they are more.
COLUMNS = 200

# More test texts than this are resampled in so many groups, chosen at random: the same variance, in bounded time.
MOST_GROUPS = 4000

# Outcomes unpacked at a time: bounds memory at about 150 MB.
OUTCOME_BLOCK = 12_000_000

# How much of the variance between draws counts as linear in the training examples, the rest as of second order. With many
# simulated pools of real and made vectors it was between none and most of it; see docs/statistics.md for what half does.
LINEAR = 0.5

# Above this share of the pool in each draw, the draws are too much alike to tell of other pools: the pool counts as given.
MOST_OVERLAP = 0.6


class Sample(NamedTuple):
    """What is known of some cells (say: the codecs of a model) on one task, or on a mean over tasks.

    `score`: (cells, seeds). `deviations`: (cells, seeds, resamples), the score in each resample of the units less
    `score`; nan without values. `parts`: (parts, cells, seeds, columns), numbers whose squares add up to the variance
    that each set of units resampled among themselves (a task of the mean, a subset of a task) has in the deviations,
    and to the variance components beside them; they add up over cells and tasks as deviations do. `df`: (parts,),
    degrees of freedom of a part's variance. `factor`: (parts,), by how much a part's variance counts on top of the
    deviations': 0 where it is in them, negative where it is taken off. `seeds` numbers the second axis; `trained`:
    another seed would have given another model.
    """

    score: Array
    deviations: Deviations
    parts: Deviations
    df: Array
    factor: Array
    seeds: tuple[int, ...]
    trained: bool


def take(sample: Sample, cells: list[int] | None = None, seeds: list[int] | None = None) -> Sample:
    """The sample at these cells and places of seeds, in this order; all of them where none are named."""
    score, deviations, parts, numbers = sample.score, sample.deviations, sample.parts, sample.seeds
    if cells is not None:
        score, deviations, parts = score[cells], deviations[cells], parts[:, cells]
    if seeds is not None:
        score, deviations, parts = score[:, seeds], deviations[:, seeds], parts[:, :, seeds]
        numbers = tuple(numbers[place] for place in seeds)
    return sample._replace(score=score, deviations=deviations, parts=parts, seeds=numbers)


def resample(
    values: npt.NDArray[np.float32],
    score: Array,
    resamples: int,
    seed: list[int],
    seeds: tuple[int, ...] | None = None,
    trained: bool = False,
) -> Sample:
    """Resample the units of one task.

    `values`: (cells, seeds, units), nan where a cell was not measured under a seed. `score`: (cells, seeds).
    The draws depend on `seed` and on the number of units alone, never on which cells are there. `seeds` numbers the
    training seeds (from 0 on where not said).
    """
    cells, count, units = values.shape
    flat = np.ascontiguousarray(values.reshape(cells * count, units), np.float32)
    deviations = _bootstrap(flat, resamples, seed).reshape(cells, count, resamples)
    numbers = tuple(range(count)) if seeds is None else seeds
    parts = _columns(flat, seed).reshape(1, cells, count, COLUMNS)
    return Sample(score, deviations, parts, np.array([units - 1.0]), np.zeros(1), numbers, trained)


def resample_parts(
    values: npt.NDArray[np.float32],
    score: Array,
    parts: npt.NDArray[np.int64],
    resamples: int,
    seed: list[int],
    seeds: tuple[int, ...] | None = None,
    trained: bool = False,
) -> Sample:
    """Resample the units of a task whose score is the mean over parts (subsets and splits), each part's among
    themselves: how parts differ is no chance, and a small part weighs as much as a large one.

    `parts`: (units,), the part of each unit; the rest as in `resample`.
    """
    numbers = np.unique(parts)
    if len(numbers) < 2:
        return resample(values, score, resamples, seed, seeds, trained)
    if not values.shape[2]:  # a model without values still has the parts of those with values, to pair up with them
        values = np.full((*values.shape[:2], len(parts)), np.nan, np.float32)
    return mean_over_tasks(
        [
            resample(values[:, :, parts == number], score, resamples, [*seed, int(number)], seeds, trained)
            for number in numbers
        ]
    )


def resample_outcomes(
    outcomes: list[Bits],
    texts: list[int],
    overlap: list[float],
    score: Array,
    resamples: int,
    seed: list[int],
    seeds: tuple[int, ...] | None = None,
    trained: bool = False,
) -> Sample:
    """Resample the test texts of a classification task, with the variance components of its training draws.

    Per part (subset and split) of the task: `outcomes` (cells, seeds, experiments, bytes), right or wrong as
    numpy.packbits packs the last axis; `texts`, their number; `overlap`, the share of its pool that a draw of training
    examples takes (expected, weighted by class). `score`: (cells, seeds).
    """
    found = [
        _crossed(bits, count, share, score, resamples, [*seed, place] if len(outcomes) > 1 else seed)
        for place, (bits, count, share) in enumerate(zip(outcomes, texts, overlap, strict=True))
    ]
    numbers = tuple(range(score.shape[1])) if seeds is None else seeds
    return mean_over_tasks([sample._replace(seeds=numbers, trained=trained) for sample in found])


def mean_of_rows(sample: Sample, cell: npt.NDArray[np.int64], score: Array) -> Sample:
    """The cells that are each the mean of some rows of `sample`: `cell` (rows,) says of which; `score` (cells, seeds)."""
    if np.array_equal(cell, np.arange(len(score))):
        return sample._replace(score=score)
    deviations = np.stack([sample.deviations[cell == place].mean(0) for place in range(len(score))])
    parts = np.stack([sample.parts[:, cell == place].mean(1) for place in range(len(score))], axis=1)
    return sample._replace(score=score, deviations=deviations, parts=parts)


def pool_factor(experiments: int, overlap: float) -> float:
    """By how much the variance between draws counts, over itself divided by `experiments`, as they share a pool."""
    if overlap > MOST_OVERLAP:
        return 1.0
    square = overlap**2
    return 1 + experiments * (LINEAR * overlap / (1 - overlap) + (1 - LINEAR) * square / (1 - square))


def mean_over_tasks(samples: list[Sample], weights: list[float] | None = None) -> Sample:
    """The mean over tasks by their weights (all alike where none are given), whose units are independent; the tasks
    themselves count as given."""
    each = np.array([1.0] * len(samples) if weights is None else weights)
    score = np.average([sample.score for sample in samples], axis=0, weights=each)
    deviations = np.zeros_like(samples[0].deviations)
    for sample, weight in zip(samples, each.astype(np.float32), strict=True):
        deviations += weight * sample.deviations
    deviations /= np.float32(each.sum())
    parts = np.concatenate(
        [weight * sample.parts for sample, weight in zip(samples, each.astype(np.float32), strict=True)]
    )
    parts /= np.float32(each.sum())
    df, factor = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("df", "factor"))
    return samples[0]._replace(score=score, deviations=deviations, parts=parts, df=df, factor=factor)


def area(sample: Sample, dimensions: list[int]) -> Sample:
    """Area under the score over log2(dimension), divided by the range of the latter, as one cell.

    The cells of `sample` are the dimensions, rising. One dimension: its score.
    """
    weights = area_weights(dimensions)
    single = weights.astype(np.float32)
    deviations = np.tensordot(single, sample.deviations, 1)[None]
    parts = np.tensordot(sample.parts, single, (1, 0))[:, None]
    return sample._replace(score=(weights @ sample.score)[None], deviations=deviations, parts=parts)


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


def _bootstrap(values: npt.NDArray[np.float32], resamples: int, seed: list[int]) -> Deviations:
    """The mean of each row of `values` (rows, units) in each resample, less the row's own: (rows, resamples)."""
    rows, units = values.shape
    found = np.full((rows, resamples), np.nan, np.float32)
    if units < 2:
        return found
    centred = values - values.mean(1, keepdims=True)
    widening = np.float32(np.sqrt(units / (units - 1)) / units)
    block = max(1, RESAMPLE_BLOCK // units)
    counts = _counts(units, resamples, block, tuple(seed))
    for start in range(0, resamples, block):
        part = slice(start, start + block)
        found[:, part] = centred @ counts[part].T.astype(np.float32) * widening
    return found


@lru_cache(maxsize=2)
def _counts(units: int, resamples: int, block: int, seed: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """How often each unit is drawn in each resample: (resamples, units). The models of a task share them."""
    rng = np.random.default_rng(seed)
    found = np.empty((resamples, units), np.uint8)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.multinomial(units, np.full(units, 1 / units), size=size)
        # 255 or more of one unit is beyond any chance where there are that many units.
        found[start : start + size] = np.minimum(drawn, 255)
    return found


def _crossed(bits: Bits, texts: int, overlap: float, score: Array, resamples: int, seed: list[int]) -> Sample:
    """One part of a classification task: texts resampled, and the components of draws and of their interaction."""
    cells, count, experiments = bits.shape[:3]
    rows = bits.reshape(cells * count, experiments, -1)
    groups = min(texts, MOST_GROUPS)
    rng = np.random.default_rng([*seed, 1])
    group_of = rng.permutation(texts) * groups // texts
    order, sizes = np.argsort(group_of, kind="stable"), np.bincount(group_of)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    # The interaction's variance by random signs on both factors: an unbiased estimate for any combination of cells.
    signs_of_texts = rng.choice([-1, 1], (groups, COLUMNS)).astype(np.float32)
    signs_of_draws = rng.choice([-1, 1], (experiments, COLUMNS)).astype(np.float32)
    of_texts = np.empty((len(rows), groups), np.float32)
    draws, interaction = np.empty((2, len(rows), COLUMNS), np.float32)
    block = max(1, OUTCOME_BLOCK // (experiments * texts))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        right = np.unpackbits(rows[part], axis=2, count=texts)
        values = right.astype(np.float32)
        if groups < texts:  # a group's share of the mean over texts, times the number of groups
            values = np.add.reduceat(values[:, :, order], starts, axis=2) * np.float32(groups / texts)
        means, of_draws = values.mean(1, keepdims=True), values.mean(2, keepdims=True)
        of_texts[part] = means[:, 0]
        draws[part] = _columns(of_draws[:, :, 0], seed)
        left = values - means - of_draws + of_draws.mean(1, keepdims=True)
        interaction[part] = ((left @ signs_of_texts) * signs_of_draws).sum(1)
    interaction /= np.sqrt(COLUMNS * experiments * groups * max(1, experiments - 1) * max(1, groups - 1))
    shape = (cells, count, -1)
    deviations = _bootstrap(of_texts, resamples, seed).reshape(shape)
    parts = np.stack([part.reshape(shape) for part in (_columns(of_texts, seed), draws, interaction)])
    factor = pool_factor(experiments, overlap)
    df = np.array([groups - 1.0, experiments - 1.0, (experiments - 1.0) * (groups - 1.0)])
    return Sample(score, deviations, parts, df, np.array([0, factor, -factor]), tuple(range(count)), False)


def _columns(values: npt.NDArray[np.float32], seed: list[int]) -> Deviations:
    """How the mean of each row of `values` (rows, units) varies: (rows, COLUMNS), squares that add up to its variance.

    A column a unit, its deviation over sqrt(n (n - 1)), and zeros behind; more units are first added up in groups.
    """
    rows, units = values.shape
    found = np.zeros((rows, COLUMNS), np.float32)
    if units < 2:
        found[:] = np.nan
        return found
    centred = values - values.mean(1, keepdims=True)
    if units <= COLUMNS:
        found[:, :units] = centred / np.float32(np.sqrt(units * (units - 1)))
        return found
    mixed = centred[:, np.random.default_rng([*seed, 2]).permutation(units)]
    starts = np.arange(COLUMNS) * units // COLUMNS
    totals = np.add.reduceat(mixed, starts, axis=1) / np.float32(units)
    found[:] = totals * np.float32(np.sqrt(COLUMNS / (COLUMNS - 1)))
    return found
