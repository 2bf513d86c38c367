"""Parts of a study: what is kept of a run gives the curves of that run, several runs add up, and what does not go together is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from testing.made_study import TASKS, write_study
from tests.conftest import ROOT, copy_project, snakemake
from workflow_scripts.command_line import InputError
from workflow_scripts.curves.collect import graph_of
from workflow_scripts.curves.curves import answer
from workflow_scripts.curves.parts import SETTINGS, keep, read_kept
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.sections.intervals import Intervals

FEW = Intervals(resamples=50)


def study_of(**changes: Any) -> Study:
    return load_study(yaml.safe_load((ROOT / "config.yaml").read_text()) | changes)


def run_of(folder: Path, study: Study) -> Path:
    """The results of a run of the whole study, as the rooms leave them."""
    write_study(folder, graph_of(study), TASKS, [8, 64, 384], texts=40)
    for manifest in [*folder.glob("tasks/*/task.json"), *folder.glob("models/*/s*/model.json")]:
        manifest.with_suffix(".sha256").write_text(f"{manifest.parent.relative_to(folder)}\n")
    for values in folder.glob("scores/*/s*/*.values.parquet"):
        rows = pl.read_parquet(values)
        more = rows.with_columns(metric=pl.lit("overlap_at_10"), outcomes=pl.lit(None, pl.Binary))
        pl.concat([rows, more]).write_parquet(values)
    return folder


def test_curves_from_parts_are_those_of_the_run_and_parts_have_the_main_metric_alone(tmp_path: Path) -> None:
    study = study_of()
    results, parts = run_of(tmp_path / "results", study), tmp_path / "parts"
    runs = len(study.graph.runs)
    assert keep(study, results, parts, "abc1234") == runs * len(TASKS)
    assert keep(study, results, parts, "def5678") == 0, "nothing is kept twice"
    assert set(read_kept(parts)["commit"]) == {"abc1234"}
    values = pl.read_parquet(parts / "scores/fixed/s0/WordNetExamples.values.parquet")
    assert set(values["metric"]) == {"ndcg_at_10"}
    models = graph_of(study)
    of_run, of_parts = (answer(folder, models, list(TASKS), FEW, "s") for folder in (results, parts))
    assert of_run.curves.height
    for name in ("curves", "differences", "frontier"):
        assert getattr(of_run, name).equals(getattr(of_parts, name)), name
    assert of_run.summary == of_parts.summary


def test_parts_of_several_runs_add_up_and_a_models_ancestors_come_with_it(tmp_path: Path) -> None:
    study = study_of()
    results, parts = run_of(tmp_path / "results", study), tmp_path / "parts"
    first, second = tmp_path / "first", tmp_path / "second"
    for run in (first, second):
        shutil.copytree(results, run)
    for folder in first.glob("scores/*"):
        if folder.name != "fixed_rotated":
            shutil.rmtree(folder)
    shutil.rmtree(second / "scores/fixed_rotated")
    assert keep(study, first, parts, "one") == len(TASKS)
    assert {path.name for path in parts.glob("models/*")} == {"fixed_rotated", "fixed", "base"}, (
        "costs are told of the line"
    )
    keep(study, second, parts, "two")
    commits = dict(read_kept(parts).select("variant", "commit").iter_rows())
    assert commits.pop("fixed_rotated") == "one"
    assert set(commits.values()) == {"two"}
    assert len(commits) + 1 == len(study.graph.models)


def test_scores_that_an_interrupted_run_copied_are_noted_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of()
    results, parts = run_of(tmp_path / "results", study), tmp_path / "parts"
    with monkeypatch.context() as stopped:
        stopped.setattr("workflow_scripts.curves.parts.read_kept", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            keep(study, results, parts, "one")
    shutil.rmtree(results / "scores/fixed")  # this machine has it no more
    every = len(study.graph.runs) * len(TASKS)
    assert keep(study, results, parts, "two") == every
    assert read_kept(parts).height == every
    assert set(read_kept(parts)["commit"]) == {"two"}


def test_parts_that_do_not_go_together_are_refused_in_one_line(tmp_path: Path) -> None:
    study = study_of()
    results, parts = run_of(tmp_path / "results", study), tmp_path / "parts"
    keep(study, results, parts, "one")
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    recipe = study.model_dump()["training"] | {"learning_rate": 1e-3}
    with pytest.raises(InputError, match=r"training.learning_rate: 5e-05, but the study has 0.001"):
        keep(study_of(training=recipe), results, parts, "two")
    variants = study.model_dump()["variants"]
    longer = variants | {"matryoshka": variants["matryoshka"] | {"steps": 90}}
    with pytest.raises(InputError, match=r"variants.matryoshka.steps: None, but the study has 90"):
        keep(study_of(variants=longer), results, parts, "two")
    (results / "models/fixed/s0/model.sha256").write_text("trained anew\n")
    with pytest.raises(InputError, match=r"fixed/s0/model.sha256: is another") as raised:
        keep(study, results, parts, "two")
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before
    harmless = study_of(
        variants=variants | {"more": {"parent": "base", "steps": 3}},
        training=study.model_dump()["training"] | {"checkpoint_minutes": 1},
        encoding=study.model_dump()["encoding"] | {"rows_per_job": 1000, "keep": "scores"},
        seeds=[0, 1],
    )
    (results / "models/fixed/s0/model.sha256").write_text("models/fixed/s0\n")
    assert keep(harmless, results, parts, "two") == 0


def test_keys_that_came_after_the_parts_are_read_as_their_defaults(tmp_path: Path) -> None:
    study = study_of()
    results, parts = run_of(tmp_path / "results", study), tmp_path / "parts"
    keep(study, results, parts, "one")
    older = json.loads((parts / SETTINGS).read_text())
    del older["training"]["distillation"], older["variants"]["fixed"]["hub_name"]  # at their defaults
    (parts / SETTINGS).write_text(json.dumps(older))
    assert keep(study, results, parts, "two") == 0
    recipe = study.model_dump()["training"] | {"distillation": 0.5}
    (parts / SETTINGS).write_text(json.dumps(older))
    with pytest.raises(InputError, match=r"training.distillation: None, but the study has 0.5"):
        keep(study_of(training=recipe), results, parts, "two")


def test_remaining_makes_what_is_not_kept_and_nothing_else(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    study = study_of()
    results, parts = run_of(tmp_path / "elsewhere", study), project / "docs/study/parts/embedded"
    shutil.rmtree(results / "scores/matryoshka")
    keep(study, results, parts, "one")
    said = snakemake(project, "remaining", "--dry-run", "--quiet", "rules")
    assert said.returncode == 0, said.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", said.stdout + said.stderr, re.MULTILINE))
    assert (jobs["train"], jobs["score"]) == ("1", str(len(TASKS)))
    assert "adaptor" not in jobs
    assert "transform" not in jobs
    other = snakemake(project, "--dry-run", "remaining", "--config", "dimensions=[8]")
    assert other.returncode != 0
    assert "docs/study/parts/embedded: made with dimensions" in other.stdout + other.stderr


def test_what_is_kept_is_drawn_while_the_rest_is_missing(tmp_path: Path) -> None:
    project, study = copy_project(tmp_path), study_of()
    results = run_of(project / "results/embedded", study)
    shutil.rmtree(results / "scores/matryoshka")
    said = snakemake(project, "keep", "--cores", "1")
    assert said.returncode == 0, said.stderr
    count = (len(study.graph.runs) - 1) * len(TASKS)
    assert f"docs/study/parts/embedded: {count} scores added, {count} in all, " in said.stdout + said.stderr
    shutil.rmtree(results)
    said = snakemake(project, "kept_report", "--cores", "1", "--config", "intervals={resamples: 100}")
    assert said.returncode == 0, said.stderr
    assert "Missing scores: 2" in (results / "kept/report.html").read_text()
    pictures = project / "docs/study/embedded"
    assert {path.name for path in pictures.iterdir()} == {
        *("curves.svg", "curves.png", "budget.svg", "budget.png", "domains.svg", "domains.png"),
        *("budget.csv", "domains.csv", "frontier.csv"),
    }
    assert "fixed" in set(pl.read_csv(pictures / "budget.csv")["variant"])
    assert "matryoshka" not in set(pl.read_csv(pictures / "budget.csv")["variant"])
