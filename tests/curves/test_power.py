"""Beside "the data cannot tell": what could have been found, of whom it speaks, and what would decide it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from workflow_scripts.curves import intervals, population, power, resampling
from workflow_scripts.curves.intervals import Variance
from workflow_scripts.curves.resampling import Sample


def of_three_seeds(units: float, seeds: float, total: float, df: float) -> Variance:
    parts = (units, 0.0, seeds, total, df, df, np.inf, 3 * seeds, 3 * total)
    return Variance(*(np.array([part]) for part in parts))


def studies(effect: float, queries: int, count: int = 2000) -> tuple[Sample, Sample]:
    rng = np.random.default_rng(queries)
    values = [shift + 0.2 * rng.standard_normal((count, 1, queries)) for shift in (effect, 0.0)]
    first, second = (resampling.resample(v.astype(np.float32), v.mean(2), 500, [0]) for v in values)
    return first, second


def test_the_smallest_effect_is_found_in_four_studies_of_five() -> None:
    estimate = intervals.difference(*studies(0.0, 40), 0.95)
    smallest = float(np.median(power.smallest_effect(estimate, 0.95)))
    p = intervals.p_values(intervals.difference(*studies(smallest, 40), 0.95))
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.04)


def test_the_multiple_is_that_of_the_normal_distribution_where_much_is_known() -> None:
    expected = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    assert power.multiple(np.array([1e9, np.inf]), 0.95) == pytest.approx(expected, abs=1e-3)
    few, corrected = power.multiple(np.array([3.0]), 0.95)[0], power.multiple(np.array([1e9]), 0.95, 20)[0]
    assert few > corrected > expected
    assert np.isnan(power.multiple(np.array([np.nan]), 0.95)).all()


def test_so_many_queries_would_decide_it() -> None:
    first, second = studies(0.05, 40)
    one, other = (resampling.take(side, cells=[0]) for side in (first, second))
    variance = intervals.variance_of_difference(one, other, 0.95)
    asked = power.needed(0.05, variance, 40, 1, 0.95)
    queries = int(asked.units[0])
    assert queries > 100
    p = intervals.p_values(intervals.difference(*studies(0.05, queries), 0.95))
    assert 0.7 <= np.mean(p < 0.05) <= 0.95
    assert np.isinf(asked.seeds).all()  # there is no spread between seeds that more of them would lower


def test_where_seeds_hold_the_variance_no_number_of_queries_decides() -> None:
    variance = of_three_seeds(0.01**2, 0.02**2, 0.0005, 4)
    asked = power.needed(0.05, variance, 300, 3, 0.95)
    assert np.isinf(asked.units).all()
    assert 3 < asked.seeds[0] < 30


def test_three_seeds_under_a_correction_find_nothing_and_some_more_do() -> None:
    variance = of_three_seeds(1e-6, 9e-6, 1e-5, 2)
    assert power.multiple(variance.df, 0.95, 150)[0] > 50  # too few degrees of freedom for any difference
    asked = power.needed(0.01, variance, 3000, 3, 0.95, 150)
    seeds = int(asked.seeds[0])
    assert 4 < seeds < 15
    rng = np.random.default_rng(0)
    differences = 0.01 + 0.003 * np.sqrt(3) * rng.standard_normal((4000, seeds)) + 1e-3 * rng.standard_normal((4000, 1))
    p = stats.ttest_1samp(differences, 0, axis=1).pvalue
    assert np.mean(p < 0.05 / 150) > 0.7


def test_seeds_do_not_lower_what_the_queries_leave_open() -> None:
    variance = of_three_seeds(0.9e-5, 0.1e-5, 1.1e-5, 2)
    assert np.isinf(power.needed(0.005, variance, 3000, 3, 0.95).seeds).all()
    assert 3 < power.needed(0.02, variance, 3000, 3, 0.95).seeds[0] < 30


def test_seeds_are_counted_for_each_side_however_they_were_measured() -> None:
    rng = np.random.default_rng(0)
    deviation = 0.01 * rng.standard_normal((1, 10))

    def side(luck: np.ndarray, seeds: tuple[int, ...]) -> Sample:
        score = 0.5 + luck
        values = np.repeat(score[..., None], 4000, 2).astype(np.float32)
        values += 0.05 * np.random.default_rng(1).standard_normal(4000).astype(np.float32)
        return resampling.resample(values, score, 300, [0], seeds, trained=True)

    still = np.zeros((1, 10))
    three, ten, flat = (side(d, tuple(range(d.shape[1]))) for d in (deviation[:, :3], deviation, still))

    def asked(first: Sample, second: Sample) -> float:
        variance = intervals.variance_of_difference(first, second, 0.95)
        counted = intervals.seeds_counted(first, second)
        return float(power.needed(0.008, variance, 4000, counted, 0.95).seeds[0])

    of_three = resampling.take(flat, seeds=[0, 1, 2])
    assert intervals.seeds_counted(three, flat) == 3
    assert asked(three, flat) == asked(three, of_three), "they pair up in three seeds"
    one, two = (resampling.take(side(-deviation, tuple(range(10))), seeds=list(range(n))) for n in (1, 3))
    apart = two._replace(seeds=(7, 8, 9))
    assert intervals.seeds_counted(ten, one) == 1
    assert asked(three, one) == asked(three, apart), "both vary alike, whether one is borrowed"


def test_intervals_name_their_population() -> None:
    assert (
        population.phrase("Classification", True, 0.05, False, 1) == "over other test texts and other training examples"
    )
    assert (
        population.phrase("Classification", True, 0.9, False, 1) == "over other test texts and these training examples"
    )
    assert population.phrase("Retrieval", False, 0, True, 3) == "over other queries, and other training seeds"
    assert population.phrase("Retrieval", False, 0, True, 1) == "over other queries, of this one trained model"
    assert population.phrase("STS", False, 0, False, 1).startswith("no interval")


def test_caveats_are_said_where_verdicts_do_not_hold_and_nowhere_else() -> None:
    assert population.caveats("Classification", True, 0.05) == []
    assert population.caveats("Retrieval", False, 0) == []
    assert "8 to 20%" in population.caveats("Classification", False, 0)[0]
    assert "90%" in population.caveats("Classification", True, 0.9)[0]
    assert population.caveats("Clustering", False, 0)[0].startswith("The samples share their documents")


def test_a_difference_that_two_queries_make_is_told() -> None:
    rng = np.random.default_rng(0)
    full = np.zeros((1, 1, 100), np.float32)
    full[0, 0, :40] = rng.random(40)
    cut = full.copy()
    cut[0, 0, :2] = 0
    samples = [resampling.resample(v, v.mean(2, dtype=np.float64), 500, [0]) for v in (full, cut)]
    estimate = intervals.difference(samples[0], samples[1], 0.95)
    assert estimate.telling[0] < 5
    (said,) = population.of_difference(estimate, "Retrieval", False, [])
    assert said == [
        "fewer than 8 queries make up the difference: its interval covers less often than it says, and a small difference"
        " cannot be found"
    ]
    many = intervals.level(samples[0], 0.95)
    assert population.of_difference(many, "Retrieval", False, [3, 3]) == [[]]
    assert "taken to be the other's" in population.of_difference(many, "Retrieval", False, [1, 3])[0][0]
    assert "in 1% of studies" in population.of_difference(many, "Classification", True, [3, 3])[0][0]
    assert population.of_difference(many, "Classification", True, [5, 5]) == [[]]
