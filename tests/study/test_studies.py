"""What a study file means: it stands alone, and an overlay needs its study."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import copy_project, snakemake
from tests.study.studies import STUDIES, study_of
from workflow_scripts.study.catalogue import task_catalogue


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


def test_the_large_study_is_sound_and_scores_all_of_mtebs_english_retrieval() -> None:
    study = study_of([*STUDIES["medi"], "studies/medi-large.yaml"])
    catalogue = task_catalogue()
    for name, entry in catalogue.items():
        if entry["type"] == "Retrieval" and {"MTEB(eng, v1)", "MTEB(eng, v2)"} & set(entry["benchmarks"]):
            assert name in study.task_names
    assert study.task_names == study.tasks_cleaned_against


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
