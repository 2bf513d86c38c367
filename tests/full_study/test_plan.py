"""What studies/*.yaml ask for, and what it would cost, before anything is downloaded."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, copy_project, snakemake
from tests.full_study.conftest import FullHub
from workflow_scripts.launch import plan
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError

STUDIES = {
    "medi": ["studies/medi.yaml"],
    "measure": ["studies/measure.yaml"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


def study_of(files: list[str]) -> Study:
    """The study as Snakemake merges it: sections merge, lists replace."""
    merged: dict[str, object] = {}

    def merge(into: dict[str, object], new: dict[str, object]) -> None:
        for key, value in new.items():
            below = into.get(key)
            if isinstance(value, dict) and isinstance(below, dict):
                merge(below, value)
            else:
                into[key] = value

    for file in files or ["config.yaml"]:
        merge(merged, yaml.safe_load((ROOT / file).read_text()))
    return load_study(merged)


def job_table(text: str) -> dict[str, int]:
    """Rule -> jobs, from Snakemake's own table."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.mark.parametrize("name", ["medi", "measure"])
def test_a_dry_run_with_all_downloads_missing_takes_ten_seconds_at_most_and_is_what_the_plan_counts(
    project: Path, name: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = snakemake(project, "--dry-run", "--quiet", "rules", "--configfile", *STUDIES[name])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    # Processor time, so that a busy machine does not fail it; of wall time it is nearly all.
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds <= 10
    found = job_table(result.stdout + result.stderr)
    found.pop("all")
    assert found == plan.jobs(study_of(STUDIES[name]))


def test_no_job_but_the_local_rules_may_reach_the_hub(project: Path) -> None:
    local = {"all"}  # runs nothing
    for rules in (project / "rules").glob("*.smk"):
        for block in re.findall(r"^localrules:\n((?: +\w+,\n)+)", rules.read_text(), re.MULTILINE):
            local |= set(re.findall(r"\w+", block))
    files = [*STUDIES["medi"], "tests/full_study/sizes.yaml"]
    result = snakemake(project, "--dry-run", "--printshellcmds", "--configfile", *files)
    assert result.returncode == 0, result.stderr
    commands: dict[str, str] = {}
    for job in re.split(r"^\[.*\]$", result.stdout + result.stderr, flags=re.MULTILINE):
        name = re.search(r"^(?:local)?rule (\w+):", job, re.MULTILINE)
        if name and name[1] not in local and "Shell command:" in job:
            commands[name[1]] = job.split("Shell command:")[1].strip()
    assert set(commands) >= {"pairs", "tokens", "transform", "train", "embed", "embed_by_matrix", "score"}
    for rule, command in commands.items():
        assert command.startswith("export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1"), rule


def test_the_large_study_is_sound_and_scores_all_of_mtebs_english_retrieval() -> None:
    study = study_of([*STUDIES["medi"], "studies/medi-large.yaml"])
    catalogue = task_catalogue()
    for name, entry in catalogue.items():
        if entry["type"] == "Retrieval" and {"MTEB(eng, v1)", "MTEB(eng, v2)"} & set(entry["benchmarks"]):
            assert name in study.tasks
    assert study.tasks == study.tasks_cleaned_against


def test_an_overlay_without_its_study_is_refused_in_one_line(project: Path) -> None:
    result = snakemake(project, "--dry-run", "--configfile", "studies/medi-large.yaml")
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("configuration: ")]
    assert "missing" in line
    assert "--configfile STUDY OVERLAY" in line


def test_a_study_takes_nothing_from_the_embedded_one(project: Path, minilm: Path, tmp_path: Path) -> None:
    mine = {"study": "mine", "base": {"model": str(minilm)}, "dimensions": [8], "tasks": ["SciFact"]}
    mine["variants"] = {"fixed": {"parent": "base"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    result = snakemake(project, "--dry-run", "--printshellcmds", "--configfile", str(tmp_path / "mine.yaml"))
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    assert '"steps": 20000' in said
    assert '"temperature": 0.01' in said
    assert "matryoshka_from_fixed" not in said
    assert "results/embedded" not in said


def test_the_plan_prints_downloads_disk_jobs_and_hours_of_each_variant(
    project: Path, sound_hub: FullHub, tmp_path: Path
) -> None:
    overlay = tmp_path / "budget.yaml"
    overlay.write_text("budget: {tokens_per_second: 100000}")
    files = [*STUDIES["medi"], "tests/full_study/sizes.yaml", str(overlay)]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", *files, "--", "plan"],
        cwd=project,
        env={**os.environ, **sound_hub.hub.environment(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    page = result.stdout
    assert "Downloads (as the hub states)" in page
    shards = sum(len(p.read_bytes()) for p in sound_hub.hub.folder.glob("datasets/avsolatorio/medi-data/*/data/*"))
    assert re.search(rf"{shards / 1000:.1f} kB +avsolatorio/medi-data@", page)
    study = study_of(files[:2])
    for name in study.graph.models:
        assert re.search(
            rf"^ +{re.escape(name)} +1 +[\d,]+(?: +[\d,]+\.\d){{2}}(?: +[\d.]+\d\d){{3}}$", page, re.MULTILINE
        ), name
    assert f"{sum(plan.jobs(study).values())}  in all" in page
    assert not list((project / "results" / "medi").glob("corpus/**/*"))


def test_a_study_above_its_budget_is_refused_before_any_job_runs(project: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "budget.yaml"
    overlay.write_text("study: too_dear\nbudget: {tokens_per_second: 1000, gpu_hours: 0.001}")
    result = snakemake(project, "--cores", "1", "--configfile", "config.yaml", str(overlay))
    assert result.returncode == 1
    said = result.stdout + result.stderr
    assert re.search(
        r"budget\.gpu_hours: the study needs about [\d.]+ GPU-hours at 1,000 tokens/s, above the 0\.001", said
    )
    assert "Traceback" not in said
    assert not (project / "results" / "too_dear").exists() or not list(
        (project / "results" / "too_dear").rglob("*.sha256")
    )


def test_a_budget_without_a_throughput_asks_for_one(tmp_path: Path) -> None:
    study = load_study({**study_of([]).model_dump(), "budget": {"gpu_hours": 1.0}})
    assert "give budget.tokens_per_second" in (plan.refusal(study, tmp_path) or "")
    measured = {"tokens_per_second": 1e9, "gpu": "a GPU", "measured_for": plan._measured_for(study)}
    (tmp_path / "plan.json").write_text(json.dumps(measured))
    assert plan.refusal(study, tmp_path) is None
    longer = load_study({**study.model_dump(), "training": {**study.training.model_dump(), "max_length": 64}})
    assert "no throughput is known for this base and recipe" in (plan.refusal(longer, tmp_path) or "")
    (tmp_path / "plan.json").write_text(json.dumps(measured | {"gpu": None}))
    assert "where a GPU is" in (plan.refusal(study, tmp_path) or ""), "a processor's hours are not a GPU's"


def test_what_is_made_already_counts_as_spent_and_not_again(tmp_path: Path) -> None:
    study = study_of([])
    before = {cost.model: cost for cost in plan.costs(study, tmp_path)}
    made = tmp_path / "models" / "fixed" / "s0"
    made.mkdir(parents=True)
    (made / "model.json").write_text(json.dumps({"cost": {"seconds": 7200}}))
    (made / "model.sha256").write_text("")
    after = {cost.model: cost for cost in plan.costs(study, tmp_path)}
    assert before["fixed"].training_tokens > 0
    assert (after["fixed"].training_tokens, after["fixed"].spent_hours) == (0, 2.0)
    assert after["matryoshka"] == before["matryoshka"]
    again = {cost.model: cost for cost in plan.costs(study, tmp_path, {("fixed", 0, "")})}
    assert again["fixed"].training_tokens == before["fixed"].training_tokens
    assert again["fixed"].spent_hours == 2.0, "what is made again was spent all the same"


def test_a_calibration_measures_the_base_where_no_throughput_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plan, "CALIBRATION_SECONDS", 0.5)
    study = load_study({**study_of([]).model_dump(), "training": {"micro_tokens": 512}})
    rate, _ = plan.calibrate(study, tmp_path)
    assert rate > 10


def test_a_base_that_cannot_be_run_for_a_calibration_is_said_in_one_line(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 8}))
    study = load_study({**study_of([]).model_dump(), "base": {"model": str(base)}, "dimensions": [8], "training": {}})
    with pytest.raises(StudyError, match=r"the base cannot be run here to measure it \("):
        plan.calibrate(study, tmp_path)
