"""Classification's two crossed factors: test texts and draws of training examples."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from testing.made_study import EMBEDDED_GRAPH, TASKS, seeded, write_study
from testing.memory import AnonymousMemory
from workflow_scripts.curves import groups, intervals, resampling
from workflow_scripts.curves.collect import Model, read_task
from workflow_scripts.curves.resampling import Sample
from workflow_scripts.study.sections.intervals import Intervals

STUDIES, EXPERIMENTS, TEXTS = 1500, 10, 300


def crossed(of_texts: float, of_draws: float, overlap: float = 0.0, seed: int = 0) -> Sample:
    """Thousands of studies at once (a cell each) of one model: texts, draws and their interaction decide outcomes."""
    rng = np.random.default_rng(seed)
    bits = np.empty((STUDIES, 1, EXPERIMENTS, -(-TEXTS // 8)), np.uint8)
    score = np.empty((STUDIES, 1))
    for study in range(STUDIES):
        easy, lucky = of_texts * rng.standard_normal(TEXTS), of_draws * rng.standard_normal((EXPERIMENTS, 1))
        right = easy + lucky + rng.standard_normal((EXPERIMENTS, TEXTS)) > 0
        bits[study, 0], score[study] = np.packbits(right, axis=1), right.mean()
    return resampling.resample_outcomes([bits], [TEXTS], [overlap], score, 500, [3])


@pytest.mark.parametrize(("of_texts", "of_draws"), [(1.0, 0.0), (1.0, 0.2), (0.3, 0.5)])
def test_intervals_cover_other_test_texts_and_other_draws(of_texts: float, of_draws: float) -> None:
    estimate = intervals.level(crossed(of_texts, of_draws), 0.95)
    assert 0.93 <= np.mean((estimate.low <= 0.5) & (estimate.high >= 0.5)) <= 0.97


@pytest.mark.parametrize(("of_texts", "of_draws"), [(1.0, 0.0), (1.0, 0.2)])
def test_two_models_that_do_not_differ_are_called_different_in_one_study_of_twenty(
    of_texts: float, of_draws: float
) -> None:
    first, second = (crossed(of_texts, of_draws, seed=seed) for seed in (1, 2))
    p = intervals.p_values(intervals.difference(first, second, 0.95))
    assert 0.03 <= np.mean(p < 0.05) <= 0.065


def test_variance_components_are_those_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    right = rng.standard_normal((EXPERIMENTS, 1)) + rng.standard_normal((EXPERIMENTS, TEXTS)) > 0.3
    bits = np.packbits(right, axis=1)[None, None]
    sample = resampling.resample_outcomes([bits], [TEXTS], [0.0], np.array([[right.mean()]]), 4000, [0])
    squares = (sample.parts**2).sum(-1)[:, 0, 0]
    assert squares[0] == pytest.approx(right.mean(0).var(ddof=1) / TEXTS, rel=0.15)  # 300 texts in 200 groups
    assert squares[1] == pytest.approx(right.mean(1).var(ddof=1) / EXPERIMENTS, rel=1e-4)
    left = right - right.mean(0) - right.mean(1, keepdims=True) + right.mean()
    mean_square = (left**2).sum() / ((EXPERIMENTS - 1) * (TEXTS - 1))
    assert squares[2] == pytest.approx(mean_square / (TEXTS * EXPERIMENTS), rel=0.3)  # by random signs
    assert sample.deviations.var() == pytest.approx(right.mean(0).var(ddof=1) / TEXTS, rel=0.08)
    assert sample.factor.tolist() == [0, 1, -1]


def test_a_small_pool_widens_the_interval_and_a_pool_used_up_counts_as_given() -> None:
    factors = [resampling.pool_factor(10, overlap) for overlap in (0.0, 0.05, 0.25, 0.5)]
    assert factors == sorted(factors)
    assert factors[0] == 1
    assert factors[-1] > 5
    assert resampling.pool_factor(10, 0.9) == 1


def test_texts_beyond_the_most_groups_keep_their_variance(monkeypatch: Any) -> None:
    whole = crossed(1.0, 0.1)
    monkeypatch.setattr(resampling, "MOST_GROUPS", 60)
    grouped = crossed(1.0, 0.1)
    ratio = grouped.deviations.var(-1).mean() / whole.deviations.var(-1).mean()
    assert ratio == pytest.approx(1, abs=0.05)
    assert grouped.df.tolist() == [59, 9, 9 * 59]


def test_a_codec_that_is_a_mean_over_draws_of_coordinates_has_their_mean_outcome() -> None:
    sample = resampling.take(crossed(1.0, 0.2), cells=list(range(5)))
    score = np.array([[0.1], [0.2]])
    merged = resampling.mean_of_rows(sample, np.array([0, 0, 0, 1, 1]), score)
    np.testing.assert_allclose(merged.deviations[1], sample.deviations[3:].mean(0), rtol=1e-5)
    np.testing.assert_allclose(merged.parts[:, 0], sample.parts[:, :3].mean(1), rtol=1e-5)
    assert merged.score is score


def read(folder: Path, **kinds: Any) -> dict[str, groups.Group]:
    models = seeded(EMBEDDED_GRAPH, (0, 1))
    write_study(folder, models, TASKS, [8, 384], **kinds)
    found = {}
    for task, task_type in TASKS.items():
        scores = read_task(folder, models, task)
        assert scores is not None
        found[task_type] = groups.group_of_task(scores, Intervals(), 0, {"matryoshka"})
    return found


def test_the_curves_read_outcomes_and_fall_back_to_experiments_without_them(tmp_path: Path) -> None:
    with_outcomes = read(tmp_path / "with", texts=200)["Classification"].samples["matryoshka"]
    without = read(tmp_path / "without")["Classification"].samples["matryoshka"]
    assert with_outcomes.factor.tolist() == pytest.approx([0, *np.array([1, -1]) * resampling.pool_factor(10, 0.05)])
    assert without.factor.tolist() == [0]
    assert with_outcomes.seeds == (0, 1)
    assert with_outcomes.trained
    error: list[npt.NDArray[np.float64]] = [
        intervals.level(sample, 0.95).standard_error for sample in (with_outcomes, without)
    ]
    assert (error[0] > 2 * error[1]).all()  # test texts vary far more than experiments on the same texts show


def test_the_outcomes_of_one_model_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [Model(f"m{i}", None, width=384) for i in range(20)]
    write_study(tmp_path, models, {"Large": "Classification"}, [384], texts=8)
    rng, size = np.random.default_rng(0), 2_000_000  # bytes of each of ten experiments
    read: list[int] = []
    for path in tmp_path.glob("scores/*/s0/*.values.parquet"):
        outcomes = [rng.bytes(size) for _ in range(EXPERIMENTS)]
        table = pl.read_parquet(path).with_columns(outcomes=pl.Series(outcomes), texts=pl.lit(8 * size))
        table.write_parquet(path, compression="uncompressed")

    def resampled(outcomes: Any, *others: Any) -> Sample:
        read.append(outcomes[0].nbytes)
        score = others[2]
        nothing = np.zeros((1, *score.shape, 1), np.float32)
        return Sample(score, nothing[0], nothing, np.ones(1), np.zeros(1), (0,), False)

    monkeypatch.setattr(resampling, "resample_outcomes", resampled)
    with AnonymousMemory() as before:
        time.sleep(0.05)
    with AnonymousMemory() as memory:
        scores = read_task(tmp_path, models, "Large")
        assert scores is not None
        groups.group_of_task(scores, Intervals(), 0, set())
    assert sum(read) == 20 * EXPERIMENTS * size
    assert memory.peak - before.peak < sum(read) / 2
