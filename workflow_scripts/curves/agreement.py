"""Agreement with the ranking at full width: of each codec, with its interval, and how well it tells which codec scores higher.

Takes the values per query that `scores` leaves of a retrieval task; leaves a table of agreement by codec, and for tasks with
judgements the rank correlation over codecs (Spearman) between agreement and the main score. It exists for those who have no judgements:
where both are known, it shows how far one stands for the other. Intervals: over queries, the same resamples for both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import rankdata

from workflow_scripts.curves.collect import VALUE_COLUMNS, Model, merge_value_draws, read_table, score_file
from workflow_scripts.curves.intervals import level
from workflow_scripts.curves.resampling import Sample, resample_parts
from workflow_scripts.curves.schemas import number
from workflow_scripts.curves.summary import Correlation
from workflow_scripts.study.sections.intervals import Intervals

METRICS = ("overlap_at_10", "overlap_at_100", "same_first_hit")
FEWEST_CODECS = 4  # of which a rank correlation says something
SCHEMA: dict[str, Any] = {
    "variant": pl.String,
    "task": pl.String,
    "codec": pl.String,
    "metric": pl.String,
    "queries": pl.Int64,
    "agreement": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}
Floats = npt.NDArray[np.float64]


class Agreement(NamedTuple):
    """What is known of agreement in a study: SCHEMA, and a correlation per model, task with judgements, and metric."""

    codecs: pl.DataFrame
    correlations: list[Correlation]


def agreement_of(results: Path, models: list[Model], tasks: list[str], intervals: Intervals) -> Agreement:
    """Over seeds: the mean of each query's values. Raises InputError for a file that is not a table of values."""
    rows: list[dict[str, Any]] = []
    correlations: list[Correlation] = []
    for place, task in enumerate(tasks):
        for model in models:
            found = _values(results, model, task)
            if found is None:
                continue
            main, values = found
            codecs = [name for name in values[METRICS[0]].columns if name not in ("part", "unit")]
            samples = {
                metric: _sample(table, codecs, intervals.resamples, [intervals.seed, place])
                for metric, table in values.items()
            }
            for metric in METRICS:
                estimate = level(samples[metric], intervals.confidence)
                rows += [
                    {
                        "variant": model.name,
                        "task": task,
                        "codec": codec,
                        "metric": metric,
                        "queries": values[metric].height,
                        "agreement": number(float(estimate.value[i])),
                        "low": number(float(estimate.low[i])),
                        "high": number(float(estimate.high[i])),
                    }
                    for i, codec in enumerate(codecs)
                ]
            if main not in METRICS:
                correlations += _correlations(model, task, main, samples, codecs, intervals.confidence)
    return Agreement(pl.DataFrame(rows, schema=SCHEMA), correlations)


def _values(results: Path, model: Model, task: str) -> tuple[str, dict[str, pl.DataFrame]] | None:
    """The task's main metric, and by metric a table of `part`, `unit` and a column per codec, in one order; None where agreement
    was not measured."""
    by_metric: dict[str, list[pl.DataFrame]] = {}
    main = ""
    for seed in model.seeds:
        path = score_file(results, model.name, seed, task)
        beside = path.with_name(f"{task}.values.parquet")
        if not path.exists() or not beside.exists():
            continue
        main = read_table(path, ["metric"])["metric"][0]
        table = read_table(beside, VALUE_COLUMNS)
        for (metric,), of_metric in table.group_by(["metric"], maintain_order=True):
            by_metric.setdefault(str(metric), []).append(merge_value_draws(of_metric))
    if not set(METRICS) <= by_metric.keys():
        return None
    wanted = {metric: pl.concat(by_metric[metric]) for metric in dict.fromkeys([*METRICS, main])}
    codecs = wanted[METRICS[1]]["codec"].unique(maintain_order=True)
    tables = {
        metric: table.filter(pl.col("codec").is_in(codecs.implode()))
        .pivot(on="codec", index=["part", "unit"], values="value", aggregate_function="mean")
        .sort("part", "unit")
        .select("part", "unit", *codecs)
        for metric, table in wanted.items()
    }
    return main, tables


def _sample(table: pl.DataFrame, codecs: list[str], resamples: int, seed: list[int]) -> Sample:
    """The mean over parts of the mean over their queries, of each codec, with its resamples: the same ones for every metric."""
    values = table.select(codecs).to_numpy().T
    parts = np.unique(table["part"], return_inverse=True)[1]
    score = np.mean([values[:, parts == part].mean(axis=1) for part in np.unique(parts)], axis=0)
    return resample_parts(values[:, None].astype(np.float32), score[:, None], parts, resamples, seed)


def _means(sample: Sample) -> Floats:
    """The mean of each codec as measured, then in each resample `(1 + resamples, codecs)`."""
    means: Floats = np.hstack([sample.score, sample.score + sample.deviations[:, 0]]).T
    return means


def _correlations(
    model: Model, task: str, main: str, samples: dict[str, Sample], codecs: list[str], confidence: float
) -> list[Correlation]:
    """Without full width itself, which agrees with itself by definition."""
    kept = [i for i, codec in enumerate(codecs) if codec != f"prefix-{model.width}-float32"]
    if len(kept) < FEWEST_CODECS:
        return []
    found = []
    for metric in METRICS:
        values = spearman(_means(samples[metric])[:, kept], _means(samples[main])[:, kept])
        low, high = np.percentile(values[1:], [50 * (1 - confidence), 50 * (1 + confidence)])
        found.append(
            Correlation(
                variant=model.name,
                task=task,
                metric=metric,
                main=main,
                codecs=len(kept),
                spearman=number(float(values[0])),
                low=number(float(low)),
                high=number(float(high)),
            )
        )
    return found


def spearman(first: Floats, second: Floats) -> Floats:
    """The rank correlation of each row of two `(rows, codecs)`; nan where all values of a row are equal."""
    ranks = [rankdata(values, axis=1) for values in (first, second)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return values
