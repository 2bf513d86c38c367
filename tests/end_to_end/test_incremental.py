"""What runs again after a change, on real dry-runs of a finished study; what a killed run leaves; and a study whose tasks are
encoded in parts, whose embeddings leave the disk when they are scored."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml

from testing.small_study import SMALL, logs, write_study
from tests.conftest import copy_project, snakemake


def planned(project: Path, study: str = "study.yaml") -> Counter[str]:
    """How many jobs of each rule a dry-run plans."""
    result = snakemake(project, "--cores", "2", "-n", "--configfile", study)
    assert result.returncode == 0, result.stderr
    if "Nothing to be done" in result.stderr + result.stdout:
        return Counter()
    jobs = re.search(r"Job stats:\n.*\n-+.*\n((?:\S+ +\d+\n)+)", result.stdout + result.stderr)
    assert jobs is not None, result.stdout
    counts = Counter({name: int(count) for name, count in re.findall(r"(\S+) +(\d+)", jobs[1])})
    del counts["total"], counts["all"]
    return counts


def changed(project: Path, small_model: Path, **changes: object) -> Counter[str]:
    write_study(project / "changed.yaml", small_model, **changes)
    return planned(project, "changed.yaml")


def test_a_finished_study_has_nothing_to_be_done(finished: Path) -> None:
    result = snakemake(finished, "--cores", "2", "--configfile", "study.yaml")
    assert "Nothing to be done" in result.stderr + result.stdout


def test_results_that_were_copied_without_snakemakes_records_are_done_after_one_touch(
    finished: Path, small_model: Path, tmp_path: Path
) -> None:
    clone = copy_project(tmp_path)
    shutil.copytree(finished / "results", clone / "results", dirs_exist_ok=True, copy_function=shutil.copyfile)
    write_study(clone / "study.yaml", small_model)
    touched = snakemake(clone, "--cores", "2", "--touch", "--configfile", "study.yaml")
    assert touched.returncode == 0, touched.stderr
    assert planned(clone) == Counter()


def test_every_artefact_of_the_contract_is_there(finished: Path) -> None:
    results = finished / "results" / "small"
    scores = pl.read_parquet(results / "scores/fixed/s0/WordNetExamples.parquet")
    assert {"study", "variant", "seed", "task", "task_type", "codec", "dim", "bytes", "metric", "score"} <= set(
        scores.columns
    )
    assert sorted(scores["dim"].unique()) == [8, 64, 384]
    for name in ("curves.parquet", "curves.svg", "curves.png", "report.html", "summary.json", "curves.csv"):
        assert (results / "curves" / name).stat().st_size > 0
    assert not list(results.rglob("*.part"))


def test_a_first_report_of_the_models_that_need_no_training_is_drawn_before_any_training_ends(finished: Path) -> None:
    results = finished / "results/small"
    page = results / "first/report.html"
    assert page.stat().st_mtime_ns < (results / "models/fixed/s0/model.json").stat().st_mtime_ns
    answer = json.loads((results / "first/summary.json").read_text())
    assert [model["name"] for model in answer["models"]] == ["base"]
    assert not answer["missing"]
    assert "A first report, of the models that need no training" in page.read_text()


def test_what_training_depends_on_draws_the_first_report_no_second_time(finished: Path, small_model: Path) -> None:
    training = SMALL["training"] | {"learning_rate": 0.001}
    jobs = changed(finished, small_model, training=training, seeds=[0, 1])
    assert jobs["train"] == 4
    assert "first_report" not in jobs


def test_adding_a_dimension_runs_no_training_and_no_encoding(finished: Path, small_model: Path) -> None:
    jobs = changed(finished, small_model, dimensions=[8, 32, 64, 384])
    assert set(jobs) == {"score", "mteb_results", "speed", "curves", "figures", "report", "first_report", "cards"}


def test_adding_a_task_runs_no_training(finished: Path, small_model: Path) -> None:
    jobs = changed(finished, small_model, tasks=["WordNetLexicographerFiles", "WordNetExamples", "SciFact"])
    assert set(jobs) == {
        *(
            "task",
            "embed",
            "embed_by_matrix",
            "score",
            "mteb_results",
            "curves",
            "figures",
            "report",
            "first_report",
            "cards",
        )
    }
    assert jobs["task"] == 1
    assert jobs["score"] == 4


def test_adding_a_variant_trains_only_that_variant(finished: Path, small_model: Path) -> None:
    variants = SMALL["variants"] | {"matryoshka": {"parent": "base", "nested": True}}
    jobs = changed(finished, small_model, variants=variants)
    assert jobs["train"] == 1
    assert jobs["embed"] == jobs["score"] == 2
    assert not set(jobs) & {"fetch", "pairs", "tokens", "task", "transform"}


def test_a_bundle_is_made_of_what_is_measured_and_runs_nothing_else(finished: Path, small_model: Path) -> None:
    choice = "prefix-16-float32@100>prefix-full-float32"
    deploy = {"bundles": {"small": {"choice": choice, "model": "fixed_rotated"}}}
    assert changed(finished, small_model, deploy=deploy) == Counter()
    write_study(finished / "deploy.yaml", small_model, deploy=deploy)
    result = snakemake(finished, "deploy", "--cores", "1", "--configfile", "deploy.yaml")
    assert result.returncode == 0, result.stderr + logs(finished)
    bundle = finished / "results" / "small" / "deploy" / "small"
    about = json.loads((bundle / "codec.json").read_text())
    assert about["choice"] == choice.replace("full", "384")
    assert about["bytes_in_memory"] == 64
    assert (bundle / "index.faiss").is_file()
    assert (
        "language: en" in (bundle / "model" / "README.md").read_text()
        or "- en" in (bundle / "model" / "README.md").read_text()
    )


def test_changing_two_settings_for_each_other_is_seen(finished: Path, small_model: Path) -> None:
    training = SMALL["training"] | {"weight_decay": 5e-5, "learning_rate": 0.05}
    assert changed(finished, small_model, training=training)["train"] == 2


def test_the_time_between_checkpoints_trains_nothing_again(finished: Path, small_model: Path) -> None:
    training = SMALL["training"] | {"checkpoint_minutes": 1}
    assert not {"train", "embed", "score"} & set(changed(finished, small_model, training=training))


def test_an_edit_of_the_users_own_model_fetches_it_again_and_makes_what_follows(
    finished: Path, small_model: Path
) -> None:
    config = small_model / "config.json"
    before = config.read_text()
    config.write_text(before + "\n")
    jobs = planned(finished)
    config.write_text(before)
    assert {"fetch", "train", "transform", "embed", "score", "curves"} <= set(jobs)
    assert not {"task", "pairs"} & set(jobs)
    assert planned(finished) == Counter()


def test_a_study_that_is_to_be_made_anew_is_held_against_its_budget(finished: Path, small_model: Path) -> None:
    budget = {"gpu_hours": 0.1, "tokens_per_second": 1000}
    assert changed(finished, small_model, budget=budget), "what is made already does not count"
    training = SMALL["training"] | {"learning_rate": 0.001, "steps": 6000}
    write_study(finished / "dear.yaml", small_model, budget=budget, training=training)
    result = snakemake(finished, "--cores", "1", "--configfile", "dear.yaml")
    assert result.returncode == 1
    assert "budget.gpu_hours: the study needs about" in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("room", "runs", "rests"),
    [
        ("curves", {"curves", "figures", "report", "cards"}, {"score", "embed", "train", "task", "pairs"}),
        ("scores", {"score", "curves", "report"}, {"embed", "train", "task", "pairs"}),
        ("embeddings", {"embed", "embed_by_matrix", "score", "curves"}, {"train", "task", "pairs", "tokens"}),
        ("models", {"fetch", "train", "transform", "embed", "score", "curves"}, {"task", "pairs"}),
        ("corpus", {"pairs", "tokens", "train", "embed", "score"}, {"task", "fetch"}),
        ("tasks", {"task", "embed", "score", "curves"}, {"train", "pairs", "fetch"}),
    ],
)
def test_editing_a_rooms_module_runs_that_room_and_what_follows(
    finished: Path, room: str, runs: set[str], rests: set[str]
) -> None:
    module = finished / "workflow_scripts" / room / "__init__.py"
    before = module.read_text()
    module.write_text(before + "# edited\n")
    jobs = planned(finished)
    module.write_text(before)
    assert runs <= set(jobs)
    assert not rests & set(jobs)


def test_edits_taken_back_touched_files_and_an_edited_test_run_nothing(finished: Path) -> None:
    now = time.time() + 5
    for file in [
        *finished.glob("workflow_scripts/**/*.py"),
        *finished.glob("rules/**/*.smk"),
        finished / "config.yaml",
    ]:
        os.utime(file, (now, now))
    with (finished / "tests/conftest.py").open("a") as test:
        test.write("# edited\n")
    assert planned(finished) == Counter()


def test_a_manifest_made_again_with_the_same_content_runs_nothing(finished: Path) -> None:
    digest = finished / "results/small/models/fixed/s0/model.sha256"
    content = digest.read_bytes()
    digest.unlink()
    digest.write_bytes(content)
    os.utime(digest, (time.time() + 5, time.time() + 5))
    assert planned(finished) == Counter()


def test_what_the_report_tells_of_another_room_makes_it_again_and_nothing_before_it(finished: Path) -> None:
    manifest = finished / "results/small/corpus/corpus.json"
    before = manifest.read_text()
    manifest.write_text(before.replace('"seconds": ', '"seconds": 1'))
    jobs = planned(finished)
    manifest.write_text(before)
    assert jobs == Counter({"curves": 1, "figures": 1, "report": 1, "cards": 1})  # each card tells of the frontier


def test_snakemakes_own_report_carries_the_figures_with_their_captions(finished: Path, tmp_path: Path) -> None:
    archive = tmp_path / "report.zip"
    result = snakemake(finished, "--configfile", "study.yaml", "--report", str(archive))
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(archive) as files:
        names = {Path(name).name for name in files.namelist()}
        page = files.read("report/report.html").decode()
    assert {"curves.svg", "curves.png", "report.html"} <= names
    assert "Share of the full-width score that is kept, against bytes a vector in memory" in page
    assert '"figure": "degradation curves", "format": "SVG"' in page


def test_deleting_one_score_makes_that_score_and_the_curves_again(finished: Path) -> None:
    score = finished / "results/small/scores/fixed/s0/WordNetExamples.parquet"
    before = score.read_bytes()
    score.unlink()
    jobs = planned(finished)
    assert jobs == Counter({"score": 1, "mteb_results": 1, "curves": 1, "figures": 1, "report": 1, "cards": 1})
    result = snakemake(finished, "--cores", "2", "--configfile", "study.yaml")
    assert result.returncode == 0, result.stderr + logs(finished)
    assert pl.read_parquet(score).equals(pl.read_parquet(before))
    assert planned(finished) == Counter()


KILL = """
import logging, os, signal

def kill_all_at_the_first_step(record):
    if "training starts" in record.getMessage():
        os.killpg(0, signal.SIGKILL)
    return True

logging.getLogger("matryoshka").addFilter(kill_all_at_the_first_step)
"""


def copy_without(finished: Path, target: Path, *folders: str) -> Path:
    """A copy of the finished study, Snakemake's records and all, without some of its results."""
    shutil.copytree(finished, target)
    for name in folders:
        shutil.rmtree(target / "results/small" / name)
    return target


@pytest.fixture
def killed(finished: Path, small_model: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the finished study that was to make a part of it anew, whose Snakemake was killed, jobs and all, where its
    training starts."""
    project = copy_without(finished, tmp_path / "project", "models/fixed", "embeddings", "scores")
    write_study(project / "study.yaml", small_model, variants={"fixed": {"parent": "base"}}, tasks=["WordNetExamples"])
    (tmp_path / "sitecustomize.py").write_text(KILL)  # Python imports it in every process of the run
    process = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "study.yaml"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    assert "training starts" not in (project / "results/small/logs/models/fixed_s0.log").read_text()
    yield project
    shutil.rmtree(project)


def test_a_killed_run_goes_on_with_the_same_command_to_the_scores_of_one_that_was_not_killed(
    killed: Path, finished: Path
) -> None:
    results = killed / "results/small"
    for digests in results.rglob("*.sha256"):
        for line in digests.read_text().splitlines():
            expected, name = line.split("  ", 1)
            assert hashlib.sha256((digests.parent / name).read_bytes()).hexdigest() == expected
    done = {file: file.stat().st_mtime_ns for file in results.glob("tasks/*/task.sha256")}
    assert done
    result = snakemake(killed, "--cores", "2", "--configfile", "study.yaml")
    assert result.returncode == 0, result.stderr + logs(killed)
    assert {file: file.stat().st_mtime_ns for file in done} == done, "what was finished was made again"
    assert planned(killed) == Counter()
    made = [path for path in results.glob("scores/*/s0/*.parquet") if "search" not in path.name]
    assert {path.parent.parent.name for path in made} == {"base", "fixed"}
    for scores in made:
        assert pl.read_parquet(scores).equals(pl.read_parquet(finished / scores.relative_to(killed))), scores


def test_one_embedding_job_and_one_score_job_per_model_and_task(finished: Path) -> None:
    (finished / "fresh.yaml").write_text(
        yaml.safe_dump(yaml.safe_load((finished / "study.yaml").read_text()) | {"study": "fresh"})
    )
    jobs = planned(finished, "fresh.yaml")
    assert jobs["score"] == jobs["embed"] + jobs["embed_by_matrix"] == 4 * 2


def test_existing_models_are_measured_without_training(small_model: Path, finished: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    hub = dict.fromkeys(("minilm_l6", "mpnet_base", "gte_base"))
    own = {"mine": {"parent": str(small_model), "objective": "none"}}
    overlay = {"variants": hub | own, "dimensions": [8, 64, 384], "tasks": ["WordNetExamples"]}
    overlay |= {"codecs": {"transforms": ["prefix"], "precisions": ["float32"]}, "search": {"shortlist": []}}
    (project / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    study = ("--cores", "2", "--configfile", "studies/measure.yaml", "overlay.yaml")
    plan = snakemake(project, *study, "-n")
    jobs = set(re.findall(r"^(?:local)?rule (\w+):", plan.stdout + plan.stderr, re.MULTILINE))
    assert {"fetch", "embed", "score", "curves", "report"} <= jobs
    assert not jobs & {"train", "pairs", "tokens"}
    wanted = "results/measure/scores/mine/s0/WordNetExamples.parquet"
    done = snakemake(project, *study, "--", wanted)
    assert done.returncode == 0, done.stderr + logs(project)
    # The same model is the base of the finished study: its scores do not hang on which study asks.
    columns = ["dim", "score"]
    here = pl.read_parquet(project / wanted).select(columns).sort(columns)
    there = pl.read_parquet(finished / "results" / "small" / "scores" / "base" / "s0" / "WordNetExamples.parquet")
    there = there.filter(pl.col("codec").str.ends_with("-float32"), transform="prefix").select(columns).sort(columns)
    assert here.height == 3
    assert here.equals(there)


# ---- tasks in parts, and embeddings that leave the disk

TURNED = {
    "variants": {"turned": {"parent": "base", "rotate": "pca", "objective": "none"}},
    "codecs": {"transforms": ["prefix", "pca"], "precisions": ["float32"]},
}
IN_PARTS = {"encoding": {"rows_per_job": 2000, "keep": "scores"}}
IN_ONE = {"encoding": {"keep": "scores"}}
PARTS = 2 + 3  # of 2,564 and 4,100 texts
AFTER_SCORES = {"mteb_results", "curves", "figures", "report", "cards"}


@pytest.fixture(scope="module")
def in_parts(finished: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished study whose embeddings and scores were made anew, of parts, up to the scores."""
    project = copy_without(finished, tmp_path_factory.mktemp("parts") / "project", "embeddings", "scores")
    write_study(project / "study.yaml", small_model, **TURNED, **IN_PARTS)
    result = snakemake(project, "--cores", "2", "--until", "score", "--configfile", "study.yaml")
    assert result.returncode == 0, result.stderr + logs(project)
    assert len(re.findall(r"^(?:local)?rule embed_part:", result.stdout + result.stderr, re.MULTILINE)) == PARTS
    return project


def test_embeddings_are_gone_and_nothing_is_encoded_again(in_parts: Path) -> None:
    folder = in_parts / "results/small/embeddings"
    left = {store.parent.name for store in folder.rglob("embeddings.arrow")}
    assert left == {"training_texts"}
    assert not list(folder.rglob("shards"))
    assert not list(folder.rglob("*-of-*.json"))
    assert len(list(folder.rglob("embeddings.json"))) == 2 * 3
    assert set(planned(in_parts)) == AFTER_SCORES


def test_a_score_that_is_deleted_encodes_its_own_task_alone(in_parts: Path) -> None:
    deleted = in_parts / "results/small/scores/base/s0/WordNetLexicographerFiles.parquet"
    before = deleted.read_bytes()
    deleted.unlink()
    jobs = planned(in_parts)
    deleted.write_bytes(before)
    assert (jobs["embed"], jobs["embed_part"]) == (1, 2)
    assert not set(jobs) & {"train", "fetch", "transform", "task", "pairs", "embed_training_texts"}


def test_embeddings_and_scores_are_those_of_one_job_a_task(in_parts: Path, finished: Path) -> None:
    results, whole = in_parts / "results/small", finished / "results/small"
    digests = list(results.glob("embeddings/base/s0/WordNet*/embeddings.sha256"))
    scores = list(results.glob("scores/base/s0/*.parquet"))
    assert (len(digests), len(scores)) == (2, 2 * 3)
    for digest in digests:
        assert digest.read_bytes() == (whole / digest.relative_to(results)).read_bytes()
    for table in scores:
        of_parts, of_whole = pl.read_parquet(table), pl.read_parquet(whole / table.relative_to(results))
        if "codec" in of_parts.columns:
            of_parts = of_parts.filter(~pl.col("codec").str.starts_with("pca-"))
        assert of_parts.equals(of_whole), table


def test_a_task_whose_number_of_jobs_changes_is_encoded_and_scored_again(in_parts: Path, small_model: Path) -> None:
    write_study(in_parts / "whole.yaml", small_model, **TURNED, **IN_ONE)
    jobs = planned(in_parts, "whole.yaml")
    made = Counter(embed=2, embed_by_matrix=2, score=4)
    assert {name: jobs[name] for name in made} == made
    assert set(jobs) == {*made, *AFTER_SCORES}
