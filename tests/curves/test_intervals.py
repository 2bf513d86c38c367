"""The intervals cover what they say, and the corrections are the textbook's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from workflow_scripts.curves import intervals, resampling
from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.resampling import Sample

FULL, CUT = 0.6, 0.5
STUDIES = 3000


def covered(estimate: Estimate, truth: float) -> float:
    """The share of cells whose interval holds the truth."""
    return float(np.mean((estimate.low <= truth) & (truth <= estimate.high)))


def resampled(values: npt.NDArray[np.float64], place: int = 0) -> Sample:
    return resampling.resample(values.astype(np.float32), values.mean(2), 500, [1, place])


def simulated(seeds: int, units: int, seed_spread: float, unit_spread: float, noise: float) -> tuple[Sample, Sample]:
    """Two models, thousands of studies at once (a cell each): seeds, units and noise between them vary."""
    rng = np.random.default_rng(0)
    hardness = unit_spread * rng.standard_normal((STUDIES, 1, units))

    def model(mean: float, scale: float) -> Sample:
        luck = seed_spread * rng.standard_normal((STUDIES, seeds, 1))
        return resampled(mean + scale * hardness + luck + noise * rng.standard_normal((STUDIES, seeds, units)))

    return model(FULL, 1.0), model(CUT, 0.9)


def mostly_zero(
    queries: int, scoring: float, kept: tuple[float, ...], chances: tuple[float, ...]
) -> tuple[Sample, Sample, float, float]:
    """Two models of which a share `scoring` of the queries scores at all, evenly up to 1; and their true means.

    The second keeps one of `kept` of such a query's score, with `chances`.
    """
    rng = np.random.default_rng([queries, int(100 * scoring)])
    shape = (STUDIES, 1, queries)
    full = (rng.random(shape) < scoring) * rng.random(shape)
    cut = full * rng.choice(kept, size=shape, p=chances)
    return resampled(full), resampled(cut), scoring / 2, scoring / 2 * float(np.dot(kept, chances))


def mean_of_tasks(first: tuple[float, float], others: tuple[float, float]) -> tuple[Sample, Sample]:
    """Two models on twelve tasks of ten experiments, whose hardness they share.

    `first` and `others`: how hardness scales in the second model on the first task and on each other, and its own noise.
    """
    full, cut = [], []
    for place, (scale, noise) in enumerate([first, *[others] * 11]):
        rng = np.random.default_rng(place)
        hardness = 0.05 * rng.standard_normal((STUDIES, 1, 10))
        full.append(resampled(FULL + hardness, place))
        cut.append(resampled(CUT + scale * hardness + noise * rng.standard_normal(hardness.shape), place))
    return resampling.mean_over_tasks(full), resampling.mean_over_tasks(cut)


@pytest.mark.parametrize(
    ("seeds", "units", "spreads"),
    [
        (1, 10, (0.0, 0.01, 0.005)),
        (1, 100, (0.0, 0.3, 0.1)),
        (3, 10, (0.005, 0.01, 0.005)),
        (3, 100, (0.02, 0.1, 0.1)),
        (5, 100, (0.01, 0.1, 0.05)),
    ],
)
def test_nominal_95_percent_intervals_cover_between_93_and_97(
    seeds: int, units: int, spreads: tuple[float, float, float]
) -> None:
    full, cut = simulated(seeds, units, *spreads)
    for estimate, truth in (
        (intervals.level(full, 0.95), FULL),
        (intervals.share(cut, full, 0.0, 0.95), CUT / FULL),
        (intervals.share(cut, full, 0.1, 0.95), (CUT - 0.1) / (FULL - 0.1)),
        (intervals.difference(full, cut, 0.95), FULL - CUT),
    ):
        assert 0.93 <= covered(estimate, truth) <= 0.97, covered(estimate, truth)


@pytest.mark.parametrize(("scoring", "least"), [(0.05, 0.9), (0.1, 0.92), (0.3, 0.93)])
def test_intervals_cover_where_most_of_300_queries_score_nothing(scoring: float, least: float) -> None:
    full, cut, high, low = mostly_zero(300, scoring, (0, 0.5, 0.8, 1, 1.25), (0.2, 0.2, 0.2, 0.3, 0.1))
    for sample, truth in ((full, high), (cut, low)):
        level = intervals.level(sample, 0.95)
        assert 0.93 <= covered(level, truth) <= 0.97
        assert np.mean(level.high < truth) <= 0.04  # plain percentiles: 4 to 7%
    assert least <= covered(intervals.share(cut, full, 0.0, 0.95), low / high) <= 0.97
    assert least <= covered(intervals.difference(full, cut, 0.95), high - low) <= 0.97


def test_what_two_queries_tell_is_covered_no_better_than_the_module_says() -> None:
    full, *_, truth = mostly_zero(50, 0.05, (1,), (1,))
    assert 0.82 <= covered(intervals.level(full, 0.95), truth) <= 0.88
    full, cut, high, low = mostly_zero(300, 0.05, (0, 0.9, 1.1), (0.1, 0.45, 0.45))
    difference = intervals.difference(full, cut, 0.95)
    assert 0.72 <= covered(difference, high - low) <= 0.78
    assert np.mean(difference.telling < 8) > 0.8
    assert np.mean(difference.high < high - low) > 10 * np.mean(difference.low > high - low)


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ((1.0, 0.001), (1.0, 0.001)),
        ((1.0, 0.03), (1.0, 0.001)),  # the first task holds all of the difference's error
        ((CUT / FULL, 0.03), (CUT / FULL, 0.001)),  # and all of the share's
    ],
)
def test_intervals_of_a_mean_over_tasks_cover_though_one_task_holds_all_that_models_differ_by(
    first: tuple[float, float], others: tuple[float, float]
) -> None:
    full, cut = mean_of_tasks(first, others)
    for estimate, truth in (
        (intervals.level(full, 0.95), FULL),
        (intervals.share(cut, full, 0.0, 0.95), CUT / FULL),
        (intervals.difference(full, cut, 0.95), FULL - CUT),
    ):
        assert 0.93 <= covered(estimate, truth) <= 0.97, covered(estimate, truth)


def test_a_difference_that_one_task_makes_has_the_degrees_of_freedom_of_that_task() -> None:
    full, cut = mean_of_tasks((1.0, 0.03), (1.0, 0.0))
    assert np.allclose(intervals.difference(full, cut, 0.95).df, 9, rtol=1e-3)
    assert np.mean(intervals.level(full, 0.95).df) > 70
    high, low = (resampling.area(resampling.take(sample, cells=[0, 1]), [8, 16]) for sample in (full, cut))
    assert np.allclose(intervals.difference(high, low, 0.95).df, 9, rtol=1e-3)


def test_taking_cells_and_seeds_takes_their_parts_along() -> None:
    a, b = simulated(3, 10, 0.01, 0.01, 0.01)
    picked = resampling.take(resampling.mean_over_tasks([a, b]), cells=[4, 2], seeds=[2, 0])
    again = resampling.mean_over_tasks([resampling.take(s, cells=[4, 2], seeds=[2, 0]) for s in (a, b)])
    for one, other in zip(picked, again, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    alone = resampling.take(a, cells=[4, 2], seeds=[2, 0])
    np.testing.assert_allclose(alone.deviations.var(-1), (alone.parts**2).sum((0, -1)), rtol=0.3)


def test_the_interval_of_a_mean_over_parts_covers_though_the_parts_differ_in_size_and_difficulty() -> None:
    sizes, means = (20, 80), (0.8, 0.4)
    rng = np.random.default_rng(5)
    pieces = [mean + 0.1 * rng.standard_normal((STUDIES, 1, size)) for mean, size in zip(means, sizes, strict=True)]
    values = np.concatenate(pieces, axis=2).astype(np.float32)
    score = np.mean([piece.mean(2) for piece in pieces], axis=0)
    parts = np.repeat([0, 1], sizes)
    estimate = intervals.level(resampling.resample_parts(values, score, parts, 500, [1]), 0.95)
    assert 0.93 <= covered(estimate, float(np.mean(means))) <= 0.97
    pooled = intervals.level(resampling.resample(values, score, 500, [1]), 0.95)
    assert (pooled.high - pooled.low).mean() > 1.5 * (estimate.high - estimate.low).mean()


def test_intervals_never_cover_too_little_when_seeds_make_no_difference() -> None:
    full, cut = simulated(3, 50, 0.0, 0.2, 0.1)
    estimate = intervals.difference(full, cut, 0.95)
    assert covered(estimate, FULL - CUT) >= 0.93


def test_one_seed_differences_have_the_error_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 0.3, 80)
    a = (0.5 + hard + rng.normal(0, 0.05, 80)).astype(np.float32)
    b = (0.48 + hard + rng.normal(0, 0.05, 80)).astype(np.float32)
    samples = [resampling.resample(v[None, None], v.mean(dtype=float)[None, None], 8000, [0]) for v in (a, b)]
    estimate = intervals.difference(samples[0], samples[1], 0.95)
    expected = stats.ttest_rel(a, b)
    assert estimate.df[0] == pytest.approx(expected.df)
    assert estimate.standard_error[0] == pytest.approx((a - b).std(ddof=1) / np.sqrt(80), rel=0.03)
    assert intervals.p_values(estimate)[0] == pytest.approx(expected.pvalue, rel=0.25)


def test_the_full_width_keeps_exactly_all_of_itself() -> None:
    full, _ = simulated(3, 10, 0.01, 0.01, 0.01)
    one = resampling.take(full, cells=[0])
    estimate = intervals.share(one, one, 0.0, 0.95)
    assert (estimate.value[0], estimate.low[0], estimate.high[0]) == (1, 1, 1)


def test_a_model_differs_from_itself_by_exactly_nothing() -> None:
    full, _ = simulated(3, 10, 0.01, 0.01, 0.01)
    estimate = intervals.difference(full, full, 0.95)
    assert not estimate.value.any()
    assert not estimate.standard_error.any()
    assert (intervals.p_values(estimate) == 1).all()


def test_a_cell_is_resampled_the_same_whatever_cells_are_beside_it() -> None:
    values = np.random.default_rng(0).random((6, 2, 30)).astype(np.float32)
    score = values.mean(2).astype(np.float64)
    together = resampling.resample(values, score, 200, [0, 1])
    alone = resampling.resample(values[4:5], score[4:5], 200, [0, 1])
    np.testing.assert_allclose(together.deviations[4], alone.deviations[0], atol=1e-7)


def test_memory_blocks_do_not_change_the_draws(monkeypatch: Any) -> None:
    values = np.random.default_rng(0).random((2, 1, 50)).astype(np.float32)
    whole = resampling.resample(values, values.mean(2).astype(float), 300, [5])
    monkeypatch.setattr(resampling, "RESAMPLE_BLOCK", 50 * 70)
    blocks = resampling.resample(values, values.mean(2).astype(float), 300, [5])
    np.testing.assert_allclose(whole.deviations, blocks.deviations, atol=1e-7)


def test_a_score_at_chance_has_no_share() -> None:
    full, cut = simulated(1, 10, 0.0, 0.01, 0.01)
    assert np.isnan(intervals.share(cut, full, 0.9, 0.95).value).all()


def test_scores_without_values_have_no_interval() -> None:
    sample = resampling.resample(np.empty((2, 1, 0), np.float32), np.array([[0.5], [0.6]]), 100, [0])
    estimate = intervals.level(sample, 0.95)
    assert estimate.value.tolist() == [0.5, 0.6]
    assert np.isnan(estimate.low).all()
    assert np.isnan(estimate.high).all()


def test_a_model_without_values_pairs_up_with_one_that_has_them_in_parts() -> None:
    score, parts = np.array([[0.5]]), np.repeat([0, 1], 5)
    with_values = np.random.default_rng(0).random((1, 1, 10)).astype(np.float32)
    samples = [
        resampling.mean_over_tasks([resampling.resample_parts(values, score, parts, 100, [0])] * 2)
        for values in (with_values, np.empty((1, 1, 0), np.float32))
    ]
    estimate = intervals.difference(samples[0], samples[1], 0.95)
    assert estimate.value.tolist() == [0]
    assert np.isnan([estimate.low, estimate.high, estimate.df]).all()


def test_area_is_the_trapezium_over_log2_of_the_dimension() -> None:
    weights = resampling.area_weights([8, 16, 64])
    assert weights.sum() == pytest.approx(1)
    heights = np.array([0.2, 0.4, 0.6])
    assert weights @ heights == pytest.approx(np.trapezoid(heights, np.log2([8, 16, 64])) / 3)
    assert resampling.area_weights([64]).tolist() == [1]


def test_holm_corrects_as_published_and_ignores_what_is_unknown() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(intervals.holm(p), [0.03, 0.06, np.nan, 0.06, 0.02])
    assert intervals.holm(np.array([0.9, 0.8])).max() == 1


def test_tasks_with_independent_units_add_their_variances() -> None:
    a, b = simulated(1, 40, 0.0, 0.2, 0.0)[0], simulated(1, 40, 0.0, 0.2, 0.0)[1]
    other = resampling.resample(
        np.random.default_rng(9).normal(0, 0.2, (STUDIES, 1, 40)).astype(np.float32), b.score, 500, [2]
    )
    mean = resampling.mean_over_tasks([a, other])
    expected = (a.deviations.var(-1) + other.deviations.var(-1)).mean() / 4
    assert mean.deviations.var(-1).mean() == pytest.approx(expected, rel=0.05)
    freedom = intervals.level(mean, 0.95).df
    assert (freedom >= 39).all()
    assert (freedom <= 78.001).all()
