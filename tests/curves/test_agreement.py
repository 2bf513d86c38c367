"""Agreement with the full-width ranking: its intervals, and how well it tells which codec scores higher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from workflow_scripts.curves.agreement import METRICS, agreement_of, spearman
from workflow_scripts.curves.agreement_tables import codec_tables
from workflow_scripts.curves.collect import Model
from workflow_scripts.study.sections.intervals import Intervals

CODECS = [*(f"prefix-{dim}-float32" for dim in (2, 4, 8, 16, 32)), "prefix-32-binary"]
MODELS = [Model("m", None, width=32)]
INTERVALS = Intervals(resamples=500)


def write_values(results: Path, main: str, queries: int = 80, metrics: tuple[str, ...] = METRICS) -> None:
    """Values of a task whose agreement falls with the codec's place, with noise; two subsets of unequal size."""
    rng = np.random.default_rng(0)
    rows = []
    for metric in dict.fromkeys([*metrics, main]):
        for i, codec in enumerate(CODECS):
            values = np.clip(0.3 + 0.12 * (i if codec != "prefix-32-binary" else 1) + rng.normal(0, 0.1, queries), 0, 1)
            for query, value in enumerate(values):
                rows.append((codec, metric, "small" if query < 20 else "large", str(query), float(value)))
    folder = results / "scores" / "m" / "s0"
    folder.mkdir(parents=True)
    table = pl.DataFrame(rows, schema=["codec", "metric", "part", "unit", "value"], orient="row")
    blank = [pl.lit(None).alias(name) for name in ("outcomes", "texts", "overlap")]
    table.with_columns(blank).write_parquet(folder / "T.values.parquet")
    pl.DataFrame({"metric": [main] * len(CODECS)}).write_parquet(folder / "T.parquet")


def test_agreement_has_intervals_over_queries_and_a_rank_correlation_with_the_score(tmp_path: Path) -> None:
    write_values(tmp_path, "ndcg_at_10")
    found = agreement_of(tmp_path, MODELS, ["T"], INTERVALS)
    assert found.codecs.height == len(CODECS) * len(METRICS)
    assert set(found.codecs["queries"]) == {80}
    assert (found.codecs["low"] < found.codecs["agreement"]).all()
    assert (found.codecs["agreement"] < found.codecs["high"]).all()
    values = pl.read_parquet(tmp_path / "scores" / "m" / "s0" / "T.values.parquet")
    means = values.group_by("codec", "metric", "part").agg(pl.col("value").mean())
    means = means.group_by("codec", "metric").agg(pl.col("value").mean())
    by_cell = {(codec, metric): value for codec, metric, value in means.iter_rows()}
    for row in found.codecs.iter_rows(named=True):
        assert row["agreement"] == pytest.approx(by_cell[row["codec"], row["metric"]])
    kept = [codec for codec in CODECS if codec != "prefix-32-float32"]
    assert [one.metric for one in found.correlations] == list(METRICS)
    for one in found.correlations:
        pairs = [(by_cell[codec, one.metric], by_cell[codec, "ndcg_at_10"]) for codec in kept]
        assert one.spearman == pytest.approx(spearmanr(*zip(*pairs, strict=True)).statistic)
        assert (one.codecs, one.main) == (5, "ndcg_at_10")
        assert one.spearman is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.spearman <= one.high
    (shown,) = codec_tables(found.codecs)
    assert len(shown.sections[0].rows) == len(CODECS)


def test_without_judgements_there_is_agreement_and_nothing_to_correlate_it_with(tmp_path: Path) -> None:
    write_values(tmp_path, "overlap_at_10")
    found = agreement_of(tmp_path, MODELS, ["T"], INTERVALS)
    assert found.codecs.height == len(CODECS) * len(METRICS)
    assert found.correlations == []


def test_scores_without_agreement_leave_nothing(tmp_path: Path) -> None:
    write_values(tmp_path, "accuracy", metrics=())
    found = agreement_of(tmp_path, MODELS, ["T", "absent"], INTERVALS)
    assert found.codecs.is_empty()
    assert not found.correlations
    assert codec_tables(found.codecs) == []


def test_the_rank_correlation_of_equal_values_is_unknown() -> None:
    first = np.array([[1.0, 2.0, 2.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
    second = np.array([[1.0, 3.0, 2.0, 5.0], [1.0, 2.0, 3.0, 4.0]])
    found = spearman(first, second)
    assert found[0] == pytest.approx(spearmanr(first[0], second[0]).statistic)
    assert np.isnan(found[1])
