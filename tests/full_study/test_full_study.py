"""studies/medi.yaml, cut down in sizes only, through the hub from the first download to the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import ROOT, copy_project
from tests.full_study.conftest import FullHub
from tests.full_study.repositories import WIDTH, flat, study_reference
from tests.hub import Fault
from workflow_scripts.study.catalogue import task_catalogue
from workflow_scripts.study.sections.corpus import Corpus

SIZES = ["studies/medi.yaml", "tests/full_study/sizes.yaml"]
FEWER = [] if os.environ.get("FULL_STUDY") == "all" else ["tests/full_study/fewer.yaml"]


def run(full_hub: FullHub, home: Path, *command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, **full_hub.hub.environment(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


def logs(project: Path) -> str:
    files = sorted(project.glob("results/*/logs/**/*.log"))
    return "\n".join(f"--- {file}\n" + "\n".join(file.read_text().splitlines()[-8:]) for file in files)


def test_the_full_study_runs_from_the_hub_to_the_report(sound_hub: FullHub, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    files = [*SIZES, *FEWER]
    snakemake = ("snakemake", "--cores", "2", "--configfile", *files)
    # Where the hub is in reach: all that is downloaded, with trouble on the way that waiting mends.
    sound_hub.hub.faults += [
        Fault("status", "medi-data", status=503),
        Fault("cut", "model.safetensors", after_bytes=50_000),
        Fault("status", "scifact", status=429, headers={"Retry-After": "1"}),
    ]
    local = run(sound_hub, tmp_path / "home", *snakemake, "--until", "download_pairs", "fetch", "task", cwd=project)
    assert local.returncode == 0, local.stderr[-3000:] + logs(project)
    assert not [fault for fault in sound_hub.hub.faults if fault.times], "each fault was met"
    # Where it is not: everything else.
    sound_hub.hub.faults.append(Fault("status", status=500, times=10**6))
    sound_hub.hub.requests.clear()
    result = run(sound_hub, tmp_path / "home", *snakemake, cwd=project)
    assert result.returncode == 0, result.stderr[-3000:] + logs(project)
    assert sound_hub.hub.requests == []

    study = project / "results" / "medi"
    name, revision = study_reference("base", "model")
    base = json.loads((study / "models" / "base" / "s0" / "model.json").read_text())
    assert (base["reference"], base["revision"], base["width"]) == (f"{name}@{revision}", revision, WIDTH)
    corpus = json.loads((study / "corpus" / "corpus.json").read_text())
    dropped = sum(sum(by_task.values()) for by_task in corpus["drops"].values())
    assert corpus["rows_in"] == len(sound_hub.rows) == corpus["rows_out"] + dropped
    for task in corpus["decontaminated_against"]:
        manifest = json.loads((study / "tasks" / task / "task.json").read_text())
        assert manifest["revision"] == task_catalogue()[task]["revision"]
    for task in ["SciFact", *(["Banking77Classification"] if not FEWER else [])]:
        scores = pl.read_parquet(study / "scores" / "rotated_matryoshka" / "s0" / f"{task}.parquet")
        assert set(scores["dim"]) == {8, 16, 32, WIDTH}
        assert scores["score"].is_between(0, 1).all()
    assert (study / "curves" / "report.html").is_file()


def test_all_four_layouts_of_medi_give_the_same_pairs(sound_hub: FullHub, tmp_path: Path) -> None:
    found = {}
    settings = {"corpus": Corpus(source="medi").model_dump(), "evaluation": []}
    for number, (layout, reference) in enumerate(sound_hub.layouts.items()):
        folder = tmp_path / str(number)
        fetched = run(
            sound_hub,
            tmp_path / "home",
            "workflow_scripts.corpus.download",
            "--settings",
            json.dumps({"repository": reference}),
            "--output",
            str(folder / "source" / "source.json"),
        )
        assert fetched.returncode == 0, layout + fetched.stderr
        prepared = run(
            sound_hub,
            tmp_path / "home",
            "workflow_scripts.corpus.prepare",
            "--settings",
            json.dumps(settings),
            "--source",
            str(folder / "source" / "source.sha256"),
            "--output",
            str(folder / "corpus.json"),
        )
        assert prepared.returncode == 0, layout + prepared.stderr
        found[layout] = pl.read_parquet(folder / "pairs.parquet")
    expected = pl.DataFrame([flat(row) for row in sound_hub.rows])
    columns = sorted(expected.columns)
    first = found.pop("flat parquet").select(columns).sort(columns)
    assert 0 < len(first) <= len(expected)
    assert len(first.join(expected.unique(), on=columns, how="anti")) == 0
    for layout, pairs in found.items():
        assert pairs.select(columns).sort(columns).equals(first), layout


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("wrong_bytes", "test.jsonl"), "test.jsonl: checksum is wrong"),
        (Fault("token", times=99), "a token is needed"),
    ],
    ids=["wrong checksum", "401"],
)
def test_a_task_that_the_hub_spoils_or_withholds_leaves_no_task(
    sound_hub: FullHub, tmp_path: Path, fault: Fault, said: str
) -> None:
    sound_hub.hub.faults.append(fault)
    command = (
        "workflow_scripts.tasks.prepare",
        "--settings",
        json.dumps({"task": "Banking77Classification"}),
        "--output",
        str(tmp_path / "task" / "task.json"),
    )
    result = run(sound_hub, tmp_path / "home", *command)
    assert result.returncode == 1
    assert said in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "task").rglob("task.*"))
    if fault.kind == "wrong_bytes":  # no cache keeps them either: the next run gets the right ones
        assert run(sound_hub, tmp_path / "home", *command).returncode == 0


def test_a_model_with_a_wrong_checksum_leaves_no_model_and_fetched_twice_has_one_digest(
    sound_hub: FullHub, tmp_path: Path
) -> None:
    name, revision = study_reference("base", "model")
    settings = json.dumps({"model": "base", "reference": f"{name}@{revision}", "width": WIDTH})
    command = ("workflow_scripts.models.fetch", "--settings", settings, "--output")
    sound_hub.hub.faults.append(Fault("wrong_bytes", "model.safetensors"))
    result = run(sound_hub, tmp_path / "home", *command, str(tmp_path / "a" / "s0" / "model.json"))
    assert result.returncode == 1
    assert "model.safetensors: checksum is wrong" in result.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.glob("a/s0/[!.]*"))
    digests = set()
    for folder in ("a", "b"):
        manifest = tmp_path / folder / "s0" / "model.json"
        fetched = run(sound_hub, tmp_path / "home", *command, str(manifest))
        assert fetched.returncode == 0, fetched.stderr
        digests.add(manifest.with_suffix(".sha256").read_text())
    assert len(digests) == 1
