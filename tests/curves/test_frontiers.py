"""The frontier by bytes and the cost frontier: what nothing smaller or cheaper beats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from testing.made_study import EMBEDDED_GRAPH, TASKS, write_study
from tests.curves.hand_made import DIMENSIONS, FEW, made
from workflow_scripts.curves import page_tables, training_sentences
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.curves import answer
from workflow_scripts.curves.indexes import ANY
from workflow_scripts.curves.notes import ITS_OWN_RANKING
from workflow_scripts.curves.schemas import (
    ALL_MODELS,
    CURVES_SCHEMA,
    OWN,
    REFERENCE,
    is_prefix,
)
from workflow_scripts.study.sections.own_task import NOT_JUDGED


def test_the_cost_frontier_keeps_only_what_is_better_than_the_cheaper_with_confidence(tmp_path: Path) -> None:
    models = made(tmp_path)
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    curves, summary = found.curves, found.summary
    for task_type in summary.task_types:
        steps = [step for step in summary.cost_frontier if step.task_type == task_type]
        assert steps[0].variant == "base"
        assert steps[0].cost == 0
        assert [step.cost for step in steps] == sorted(step.cost for step in steps)
        assert all((step.gain_low or 0) > 0 for step in steps[1:])
        assert "base_rotated" in [step.variant for step in steps], "a rotation costs little and helps in these files"
        assert "fixed" not in [step.variant for step in steps], "it costs more and keeps less"
        points = curves.filter(is_prefix(), variant="base", task="mean", task_type=task_type).sort("dim")
        area = np.trapezoid(points["score"], np.log2(points["dim"])) / np.log2(384 / 8)
        assert steps[0].area == pytest.approx(area, abs=1e-9)


def test_the_cost_frontier_goes_by_operations_whatever_the_clock_said(tmp_path: Path) -> None:
    models = made(tmp_path)
    for name, seconds, flops in (("base_rotated", 900.0, 1e9), ("matryoshka", 1.0, 1e15)):
        for path in tmp_path.glob(f"models/{name}/s*/model.json"):
            manifest = json.loads(path.read_text())
            manifest["cost"] |= {"seconds": seconds, "flops": flops}
            path.write_text(json.dumps(manifest))
    summary = answer(tmp_path, models, list(TASKS), FEW, "s").summary
    second = [step for step in summary.cost_frontier if step.task_type == "Retrieval"][1]
    assert (second.variant, second.order, second.unit, second.cost) == (
        "base_rotated",
        "flops",
        "seconds",
        900.0,
    )


def made_on(folder: Path, model: str, device: str) -> None:
    for path in folder.glob(f"models/{model}/s*/model.json"):
        manifest = json.loads(path.read_text())
        manifest["cost"]["device"] = device
        path.write_text(json.dumps(manifest))


def test_seconds_on_several_kinds_of_devices_are_not_compared(tmp_path: Path) -> None:
    models = made(tmp_path)
    made_on(tmp_path, "base", "a GPU")  # was fetched: no cost
    made_on(tmp_path, "fixed", "cpu, 2 threads")
    alike = answer(tmp_path, models, list(TASKS), FEW, "s").summary
    assert {step.unit for step in alike.cost_frontier} == {"seconds"}
    assert not any("devices" in note for note in alike.notes)
    made_on(tmp_path, "fixed", "a GPU")
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    devices = {model.name: model.cost.devices for model in found.summary.models}
    assert (devices["base"], devices["matryoshka"], devices["fixed"]) == ([], ["cpu"], ["a GPU"])
    assert devices["matryoshka_from_fixed"] == ["a GPU", "cpu"], "its parent's device counts"
    assert {(step.order, step.unit) for step in found.summary.cost_frontier} == {("flops", "flops")}
    assert sum("several kinds of devices (a GPU, cpu)" in note for note in found.summary.notes) == 1
    ratios = {(c.first, c.second): (c.own_seconds_ratio, c.total_seconds_ratio) for c in found.summary.comparisons}
    assert ratios["matryoshka", "base_rotated"] == (200 / 12, 200 / 12)
    assert ratios["matryoshka_from_fixed", "matryoshka"] == (None, None)
    start = next(c for c in found.summary.comparisons if c.question == "start")
    said = training_sentences.comparison(start, 0.01, "queries")
    assert "It took 50% of the other&#39;s steps (150% with" in said
    assert (page_tables.cost_unit(alike), page_tables.cost_unit(found.summary)) == ("seconds", "flops")


def test_models_without_the_widest_dimensions_are_named_as_off_the_cost_frontier(tmp_path: Path) -> None:
    models = [*EMBEDDED_GRAPH[:3], Model("narrow", "base", trained=True, width=32, steps=10)]
    write_study(tmp_path, models, TASKS, DIMENSIONS)
    summary = answer(tmp_path, models, list(TASKS), FEW, "s").summary
    assert summary.off_cost_frontier == {task_type: ["narrow"] for task_type in TASKS.values()}


@pytest.mark.parametrize("score", [float("nan"), None])
def test_a_score_that_is_no_number_is_named_and_stays_off_the_cost_frontier(
    tmp_path: Path, score: float | None
) -> None:
    models = made(tmp_path)
    for path in tmp_path.glob("scores/base_rotated/s*/WordNetExamples.parquet"):
        spoilt = pl.when(pl.col("dim") == 32).then(pl.lit(score, pl.Float64)).otherwise("score").alias("score")
        pl.read_parquet(path).with_columns(spoilt).write_parquet(path)
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    differences, summary = found.differences, found.summary
    assert summary.off_cost_frontier == {"Classification": [], "Retrieval": ["base_rotated"]}
    assert "base_rotated" not in [step.variant for step in summary.cost_frontier if step.task_type == "Retrieval"]
    assert "WordNetExamples: some scores of base_rotated are no numbers." in summary.notes
    page_tables.difference_tables(differences)
    training_sentences.cost_frontier_list(summary, pl.DataFrame(schema=CURVES_SCHEMA))


def test_searches_are_on_the_frontier_by_bytes_in_memory_and_by_bytes_read(tmp_path: Path) -> None:
    models = made(tmp_path, (0,))
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    frontier, summary = found.frontier, found.summary
    read = frontier.filter(scope="base", of=OWN, resource="read", task_type="Retrieval", engine=ANY).sort("bytes")
    assert read.height
    assert read["bytes"].to_list() == read["bytes_read"].to_list()
    assert read["choice"].str.contains("@").sum() == 0, "searches in stages belong to the engine that re-scores"
    assert frontier.filter(resource="read", task_type="Classification").is_empty()
    assert {row.engine for row in summary.storage if row.variant != "base"} == {ANY}


def test_the_frontier_holds_what_no_smaller_codec_beats(tmp_path: Path) -> None:
    models = made(tmp_path, (0,), reductions=("prefix", "prefix:int8", "prefix:binary"))
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    curves, frontier = found.curves, found.frontier
    own = frontier.filter(scope="base", of=OWN, engine=ANY, resource="memory", task_type="Retrieval").sort("bytes")
    points = curves.filter(variant="base", task="mean", task_type="Retrieval")
    assert own["bytes"].is_sorted()
    assert own["share_measured"].is_sorted()
    assert own["bytes"].n_unique() == own.height > 3
    for row in own.iter_rows(named=True):
        within = points.filter(pl.col("bytes") <= row["bytes"])
        best = within.sort("share", descending=True).row(0, named=True)
        assert row["choice"] == best["codec"]
        assert row["share_measured"] == pytest.approx(best["share"], abs=1e-9)
    everything = frontier.filter(scope=ALL_MODELS, engine=ANY, resource="memory", task_type="Retrieval")
    each = frontier.filter(
        pl.col("scope") != ALL_MODELS, of=REFERENCE, engine=ANY, resource="memory", task_type="Retrieval"
    )
    for row in everything.iter_rows(named=True):
        assert row["share_measured"] == each.filter(pl.col("bytes") <= row["bytes"])["share_measured"].max()


def test_the_fewest_bytes_that_keep_a_share_do_so_with_confidence(tmp_path: Path) -> None:
    models = made(tmp_path, (0,), reductions=("prefix", "prefix:int8", "prefix:binary"))
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    frontier, summary = found.frontier, found.summary
    assert summary.reference == {"Classification": "base", "Retrieval": "base"}
    chosen = [row for row in summary.storage if row.choice is not None]
    assert chosen
    points = frontier.filter(of=OWN, engine=ANY, resource="memory")
    for row in chosen:
        if row.engine == ANY:
            point = points.filter(scope=row.variant, task_type=row.task_type, choice=row.choice).row(0, named=True)
            assert (row.kept, row.kept_low) == (point["share"], point["share_low"])
            assert point["share_low"] >= row.share
    by_engine = {row.engine: row.bytes or 0.0 for row in summary.storage if (row.variant, row.share) == ("base", 0.9)}
    assert by_engine[ANY] == by_engine["int8"] < by_engine["floats"]
    assert "product quantisation" not in by_engine, "nothing was measured for it"
    int8 = next(row for row in chosen if (row.engine, row.variant, row.share) == ("int8", "base", 0.9))
    assert int8.words == "all 384 dimensions at 8 bits"
    assert int8.fitted == "ranges"


def test_without_judgements_models_are_set_beside_no_other_ranking_than_their_own(tmp_path: Path) -> None:
    """There a score is the agreement with the model's own ranking at full width: a constant model would score 1."""
    models = [
        Model("base", None, width=384),
        Model("base_rotated", "base", rotated=True, width=384),
        Model("matryoshka", "base", nested=True, trained=True, width=384, steps=10),
        Model("matryoshka_rotated", "matryoshka", rotated=True, width=384),
    ]
    write_study(tmp_path, models, {"documents": NOT_JUDGED}, [8, 32, 384], ("prefix", "prefix:int8"))
    found = answer(tmp_path, models, ["documents"], FEW, "s")
    pairs = set(found.differences.select("first", "second").iter_rows())
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(pair) for pair in (("base_rotated", "base"), ("matryoshka_rotated", "matryoshka"))
    }
    assert set(found.frontier.filter(of=REFERENCE)["variant"]) <= {"base", "base_rotated"}
    assert set(found.frontier.filter(of=OWN)["scope"]) == {model.name for model in models}
    assert set(found.budget["variant"]) == {"base", "base_rotated"}
    assert {step.variant for step in found.summary.cost_frontier} <= {"base", "base_rotated"}
    assert ITS_OWN_RANKING in found.summary.notes
