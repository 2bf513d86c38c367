"""A bundle for classification: no index, and a classifier on what its codes decode to that is as right as was measured."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

from testing.real_tasks import classification_task, hashed, own_classification_task, saved, store_of
from tests.deploy.conftest import bundle_settings, leave_scores
from tests.deploy.test_bundle import blocks, run_lines, within_the_reports_interval
from workflow_scripts.artefact import read_json, write_digests, write_json
from workflow_scripts.coding.fit import Fitted
from workflow_scripts.curves.agreement import agreement_of
from workflow_scripts.curves.collect import Model
from workflow_scripts.curves.curves import answer, write_results
from workflow_scripts.deploy import check
from workflow_scripts.deploy.bundle import Settings, bundle
from workflow_scripts.deploy.numpy_lines import ADAPTOR
from workflow_scripts.scores.classification import Split, gather
from workflow_scripts.store import open_store
from workflow_scripts.study.sections.codecs import Codecs
from workflow_scripts.study.sections.intervals import Intervals
from workflow_scripts.study.sections.search import Search

WIDTH = 96


@pytest.fixture(scope="module")
def split(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split]:
    """The report's own bundle of questions by their kind, and what was measured."""
    results = tmp_path_factory.mktemp("classified") / "results" / "questions"
    task: Any = classification_task(shared_data / "mteb_cls" / "trec_coarse", per_label=16, trains=2000)
    fit = own_classification_task("Training", [(text, 0) for text in task.dataset["train"]["text"][:300]], [("x", 0)])
    stores = results / "embeddings" / "base" / "s0"
    for name, of in ((task.metadata.name, task), ("training_texts", fit)):
        store_of(of, stores / name, lambda texts: 3 * hashed(texts, WIDTH))
        write_digests(stores / name / "embeddings.sha256", [stores / name / "embeddings.arrow"])
    store, training = open_store(stores / task.metadata.name), np.array(open_store(stores / "training_texts").vectors)
    codecs = Codecs(transforms=["prefix", "pca"], precisions=["float32", "int4"])
    leave_scores(task, store, Fitted(WIDTH, training), codecs, Search(shortlist=[]), results)
    manifest = {"name": task.metadata.name, "type": "Classification", "metric": "accuracy", "chance": None}
    write_json(results / "tasks" / task.metadata.name / "task.json", manifest)
    model = {"reference": "org/model@main", "licence": "mit", "language": ["en"]}
    write_json(results / "models" / "base" / "s0" / "model.json", model)
    (results / "models" / "base" / "s0" / "model.sha256").touch()
    models, intervals = [Model("base", None, width=WIDTH)], Intervals(resamples=200)
    found = answer(results, models, [task.metadata.name], intervals, "questions")
    agreed = agreement_of(results, models, [task.metadata.name], intervals)
    write_results(results / "curves" / "curves.parquet", found, agreed)
    folder = results / "deploy" / "Classification"
    settings = bundle_settings("Classification", None, task_type="Classification", tasks=[task.metadata.name])
    bundle(Settings(**settings | {"widths": {"base": WIDTH}}), results, folder / "codec.json")
    return folder, gather(saved(task), store)[0]


def test_it_has_no_index_and_names_no_engine(split: tuple[Path, Split]) -> None:
    folder, _ = split
    assert not (folder / "index.faiss").exists()
    page = (folder / "README.md").read_text()
    assert not re.search("faiss|usearch|pgvector|query", page.split("## A classifier")[1])
    assert read_json(folder / "codec.json")["faiss"] is None
    assert read_json(folder / "codec.json")["bytes_in_memory"] < 4 * WIDTH


def test_the_readmes_classifier_is_as_right_as_was_measured(
    split: tuple[Path, Split], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, measured = split
    scores = []
    codes = run_lines(folder, "Codes with NumPy")
    assert capsys.readouterr().out.split() == ["1.0"]
    (lines,) = blocks(folder, "A classifier")
    for rows in measured.draws:
        names = codes | {"train": measured.train[rows], "labels": measured.train_labels[rows], "test": measured.test}
        exec(lines, names)  # noqa: S102  # the lines that the bundle's reader is given
        scores.append((names["predicted"] == measured.test_labels).mean())
    assert np.mean(scores) == pytest.approx(read_json(folder / "codec.json")["measured"]["score"], abs=2e-3)
    within_the_reports_interval(folder, float(np.mean(scores)))


def test_the_command_of_the_readme_checks_it_on_ones_own_rows(
    split: tuple[Path, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, measured = split
    for name, vectors, labels in (
        ("train", measured.train, measured.train_labels),
        ("test", measured.test, measured.test_labels),
    ):
        np.save(tmp_path / f"{name}.npy", vectors)
        with (tmp_path / f"{name}.csv").open("w") as file:
            csv.writer(file).writerows([["label"], *([label] for label in labels)])
    (command,) = blocks(folder, "On your own data")
    words = re.sub(r" (\w+\.(npy|csv))", rf" {tmp_path}/\1", command).split()
    assert words[:3] == ["python", "-m", check.__name__]
    monkeypatch.setattr(sys, "argv", words[2:])
    check.main()
    numbers = list(map(float, re.findall(r"\d\.\d+", capsys.readouterr().out)))
    accuracy, whole, share, low, high = numbers
    expected = (
        LogisticRegression().fit(measured.train, measured.train_labels).score(measured.test, measured.test_labels)
    )
    assert whole == pytest.approx(expected, abs=6e-4)
    assert share == pytest.approx(accuracy / whole, abs=2e-3)
    assert 0.5 < low < share < high < 1.3

    (tmp_path / "test.csv").write_text("label\n1\n")
    with pytest.raises(SystemExit):
        check.main()
    assert "test.csv: 1 labels for 499 vectors; expected one for each" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words[2:5], "--documents", "a.npy", "--queries", "b.npy"])
    with pytest.raises(SystemExit):
        check.main()
    assert "a bundle for Classification; give --train and --test" in capsys.readouterr().err


def test_a_bundle_with_an_adaptor_multiplies_rows_before_all_else(split: tuple[Path, Split], tmp_path: Path) -> None:
    folder, measured = split
    about, codec = read_json(folder / "codec.json"), load_file(folder / "codec.safetensors")
    turned = np.ascontiguousarray(np.eye(WIDTH, dtype=np.float32)[::-1])  # the last coordinate first
    save_file(codec | {ADAPTOR: turned}, tmp_path / "codec.safetensors")
    rows = measured.draws[0]
    train, labels = measured.train[rows], list(map(str, measured.train_labels[rows]))
    truth = list(map(str, measured.test_labels))
    expected = check.right(folder, about, train, labels, measured.test, truth)
    found = check.right(tmp_path, about, train[:, ::-1], labels, measured.test[:, ::-1], truth)
    np.testing.assert_array_equal(found, expected)
    assert 0.1 < expected[:, 0].mean() < 1
