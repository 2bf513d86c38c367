"""What a study file means: it stands alone, and an overlay needs its study."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks import dropout
from tests.conftest import ROOT, snakemake
from tests.study.studies import STUDIES, study_of
from workflow_scripts.study.catalogue import task_catalogue


def test_the_large_study_is_sound_and_scores_all_of_mtebs_english_retrieval() -> None:
    study = study_of([*STUDIES["medi"], "studies/medi-large.yaml"])
    catalogue = task_catalogue()
    for name, entry in catalogue.items():
        if entry["type"] == "Retrieval" and {"MTEB(eng, v1)", "MTEB(eng, v2)"} & set(entry["benchmarks"]):
            assert name in study.task_names
    assert study.task_names == study.tasks_cleaned_against


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("files", [STUDIES["crossover"], [*STUDIES["crossover"], "studies/crossover-local.yaml"]])
def test_the_crossover_is_cleaned_of_every_task_and_has_both_sides_of_each_type(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # the tasks of the overlay are paths
    study = study_of(files)
    assert sorted(study.tasks_cleaned_against) == sorted(study.task_names)
    sides = {(study.catalogue[name]["type"], name in (study.in_domain or [])) for name in study.task_names}
    assert sides == {(kind, side) for kind in ("Classification", "Retrieval") for side in (True, False)}


def test_models_with_less_training_in_their_line_come_first() -> None:
    graph = study_of(STUDIES["crossover"]).graph
    order = sorted(graph.models, key=graph.effort)
    assert order[:3] == ["base", "base_rotated", "base_adapted"]
    assert graph.effort("matryoshka_from_fixed_60") == (90, True)
    assert graph.effort("fixed_60_adapted") == graph.effort("fixed_60")
    assert max(map(order.index, [m for m in order if "_60" in m])) < min(
        map(order.index, [m for m in order if "250" in m])
    )


def test_the_studies_of_the_dropout_benchmark_are_sound(tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text(yaml.safe_dump(dropout.overlay("dropout_own", seeds=2)))
    study = study_of(["config.yaml", str(file)])
    assert set(study.variants) == set(dropout.TRAINED)
    assert study.training.dropout is None
    assert (study.codecs.transforms, study.codecs.precisions) == (["prefix"], ["float32"])


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
