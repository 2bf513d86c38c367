"""What was chosen on the data is not flattered by the choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from workflow_scripts.curves import intervals, resampling, winner
from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.winner import Candidates, Winner

CANDIDATES, STUDIES = 12, 1500


def candidates_of(value: npt.NDArray[np.float64], loadings: npt.NDArray[Any]) -> Candidates:
    error = np.sqrt((loadings**2).sum(1))
    reach = stats.norm.isf(0.025) * error
    estimate = Estimate(value, value - reach, value + reach, error, *np.full((2, len(value)), 1e6))
    return Candidates(estimate, loadings.astype(np.float32), 0)


def best(candidates: Candidates) -> Winner | None:
    """The best of candidates of one size."""
    return winner.best(candidates, np.zeros(len(candidates.estimate.value)))


def covered(found: list[tuple[Winner, npt.NDArray[np.float64]]]) -> float:
    return float(np.mean([one.low <= truth[one.place] <= one.high for one, truth in found]))


@pytest.mark.parametrize("gap", [0, 1, 4])
def test_the_winners_interval_covers_what_it_keeps_and_its_estimate_is_not_flattered(gap: float) -> None:
    """`gap`: the candidates' true values lie within so many standard errors of one another."""
    rng = np.random.default_rng(7)
    root = 0.01 * np.linalg.cholesky(0.5 * np.eye(CANDIDATES) + 0.5)
    found, plain, excess = [], [], []
    for _ in range(STUDIES):
        truth = 0.95 - gap * 0.01 * rng.random(CANDIDATES)
        one = best(candidates_of(truth + root @ rng.standard_normal(CANDIDATES), root))
        assert one is not None
        found.append((one, truth))
        plain.append(abs(one.value - truth[one.place]) <= stats.norm.isf(0.025) * 0.01)
        excess.append((one.corrected - truth[one.place]) / 0.01)
    assert 0.93 <= covered(found) <= 0.97
    assert -0.2 < np.mean(excess) < 0.06
    if gap == 0:
        assert np.mean(plain) < 0.9


def test_what_does_not_vary_is_not_corrected() -> None:
    loadings = np.diag([0.01, 0.01, 0.0])
    one = best(candidates_of(np.array([0.995, 0.99, 1.0]), loadings))
    assert one is not None
    assert (one.place, one.corrected, one.low, one.high) == (2, 1.0, 1.0, 1.0)


def test_a_clear_winner_has_its_own_estimate_and_interval() -> None:
    one = best(candidates_of(np.array([0.5, 0.9]), np.diag([0.01, 0.01])))
    assert one is not None
    reach = 0.01 * stats.norm.isf(0.025)
    assert one[1:] == pytest.approx((0.9, 0.9, 0.9 - reach, 0.9 + reach), abs=1e-4)
    assert one.place == 1


def test_a_tie_of_two_lowers_the_estimate_by_what_the_better_of_two_equals_gains() -> None:
    one = best(candidates_of(np.array([0.9, 0.9]), np.diag([0.01, 0.01])))
    assert one is not None
    gain = 0.01 / np.sqrt(np.pi)  # the mean of the larger of two normal variables
    assert one.value - one.corrected == pytest.approx(np.sqrt(2) * gain, rel=0.1)


def test_candidates_that_vary_together_exactly_need_no_correction() -> None:
    one = best(candidates_of(np.array([0.9, 0.9]), np.array([[0.01], [0.01]])))
    assert one is not None
    assert one.corrected == pytest.approx(0.9, abs=1e-6)


def test_the_full_width_keeps_exactly_all_of_itself() -> None:
    values = np.random.default_rng(2).random((3, 1, 50)).astype(np.float32)
    sample = resampling.resample(values, values.mean(2, dtype=np.float64), 200, [0])
    full = resampling.take(sample, cells=[2])
    assert best(winner.of_share(full, full, 0.0, 0.95)) == Winner(0, 1.0, 1.0, 1.0, 1.0)
    alone = best(winner.of_share(resampling.take(sample, cells=[0]), full, 0.0, 0.95))
    assert alone is not None
    assert alone.corrected == pytest.approx(alone.value)  # nothing was chosen


def test_the_frontier_holds_what_no_smaller_candidate_beats() -> None:
    value = np.array([0.9, 0.7, np.nan, 0.8, 0.95])
    rows = winner.frontier(candidates_of(value, 0.001 * np.eye(5)), np.array([32.0, 16.0, 8.0, 64.0, 64.0]))
    assert [row.place for row in rows] == [1, 0, 4]


def test_the_best_is_the_point_that_keeps_the_most_after_its_correction() -> None:
    # The last size has eight equals to choose among: its luck is taken off, and the smaller size keeps more.
    candidates = candidates_of(np.append(0.9, np.full(8, 0.901)), np.diag([0.0, *[0.01] * 8]))
    points = winner.frontier(candidates, np.append(8.0, np.full(8, 16.0)))
    assert [point.place for point in points] == [0, 1]
    assert winner.best(candidates, np.append(8.0, np.full(8, 16.0))) == points[0]
    assert best(candidates) == points[1], "of one size the choice is by what was measured"


def test_models_share_units_and_no_seeds() -> None:
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((1, 1, 200))
    values = shared + 0.1 * rng.standard_normal((4, 3, 200)) + 0.5 * rng.standard_normal((4, 3, 1))
    samples = [
        resampling.resample(values[i : i + 2].astype(np.float32), values[i : i + 2].mean(2), 400, [0]) for i in (0, 2)
    ]
    joined = winner.join([winner._candidates(intervals.level(sample, 0.95), sample, 1.0, 0.95) for sample in samples])
    covariance = joined.loadings @ joined.loadings.T
    for place, sample in ((0, samples[0]), (2, samples[1])):
        error = intervals.level(sample, 0.95).standard_error
        np.testing.assert_allclose(np.sqrt(np.diag(covariance))[place : place + 2], error, rtol=1e-5)
    assert covariance[0, 2] == pytest.approx(shared.var() / 200, rel=0.3)
    assert joined.own_columns == 6


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_what_is_said_to_keep_enough_keeps_it(correlation: float) -> None:
    """Thirty-five codecs of five sizes that all keep a little less than is asked for, and the full width, which keeps all."""
    rng = np.random.default_rng(4)
    size, truth = np.append(np.repeat([16.0, 32.0, 64.0, 128.0, 256.0], 7), 512.0), np.append(np.full(35, 0.979), 1.0)
    root = np.zeros((36, 35))
    root[:35] = 0.006 * np.linalg.cholesky((1 - correlation) * np.eye(35) + correlation)
    false = 0
    for _ in range(1000):
        one = winner.fewest(candidates_of(truth + root @ rng.standard_normal(35), root), size, 0.98)
        if one is not None:
            assert one.low >= 0.98
            false += truth[one.place] < 0.98
    assert false < 45, "of 1,000, at a nominal 25"


def test_the_fewest_bytes_that_keep_enough_are_found_and_covered() -> None:
    rng = np.random.default_rng(4)
    size = np.repeat([16.0, 32.0, 64.0, 128.0], 5)
    truth = np.repeat([0.90, 0.955, 0.98, 0.99], 5)
    root = 0.005 * np.linalg.cholesky(0.5 * np.eye(20) + 0.5)
    found = []
    for _ in range(1000):
        one = winner.fewest(candidates_of(truth + root @ rng.standard_normal(20), root), size, 0.95)
        if one is not None:
            found.append((one, truth))
    assert len(found) > 990
    assert 0.93 <= covered(found) <= 0.97
    assert np.mean([size[one.place] <= 64 for one, _ in found]) > 0.99


def test_nothing_surely_keeps_what_none_keeps() -> None:
    candidates = candidates_of(np.array([0.9, 0.92, np.nan]), 0.001 * np.eye(3))
    assert winner.fewest(candidates, np.array([1.0, 2.0, 3.0]), 0.95) is None
    one = winner.fewest(candidates, np.array([2.0, 1.0, 0.5]), 0.91)
    assert one is not None
    assert one.place == 1


def test_of_one_size_the_best_is_taken_and_not_the_first_that_would_do() -> None:
    candidates = candidates_of(np.array([0.96, 0.99, 1.0]), 0.001 * np.eye(3))
    one = winner.fewest(candidates, np.array([32.0, 32.0, 64.0]), 0.95)
    assert one is not None
    assert one.place == winner.frontier(candidates, np.array([32.0, 32.0, 64.0]))[0].place == 1


@pytest.mark.parametrize("first", [1, 8])
def test_two_winners_that_are_equal_are_called_different_no_more_often_than_said(first: int) -> None:
    """The best of some codecs of one model beside the best of the others of another, in 800 studies of 200 queries; all keep the same."""
    rng = np.random.default_rng(5)
    studies, queries, codecs = 800, 200, 24
    cells = [list(range(1, 1 + first)), list(range(1 + first, 1 + codecs))]
    false, plain = 0, 0
    for _ in range(studies):
        full = rng.random(queries)
        noise = 0.1 * rng.standard_normal((codecs, queries)) + 0.1 * rng.standard_normal(queries)
        values = np.vstack([full, full + noise])[:, None].astype(np.float32)
        sample = resampling.resample(values, values.mean(2, dtype=np.float64), 200, [0])
        base = resampling.take(sample, cells=[0])
        winners = [best(winner.of_share(resampling.take(sample, cells=own), base, 0.0, 0.95)) for own in cells]
        one, other = (found for found in winners if found is not None)
        places = [cells[0][one.place]], [cells[1][other.place]]
        picked = resampling.take(sample, cells=places[0]), resampling.take(sample, cells=places[1])
        estimate = winner.difference(one, other, picked, float(base.score.mean()), 0.95)
        false += bool(intervals.p_values(estimate)[0] < 0.05)
        plain += bool(intervals.p_values(intervals.difference(*picked, 0.95))[0] < 0.05)
    assert false / studies < 0.06
    if first == 1:
        assert plain / studies > 0.2, "one codec beside the luckiest of 23"
